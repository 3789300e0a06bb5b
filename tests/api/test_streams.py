"""What the event streams tell, and from where on."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from django.utils import timezone

from runs import cancel, retry
from runs.live import Position
from runs.models import Run
from runs.registry import JobDefinition
from runs.testing import drain
from tests.api.listening import listening, play
from tests.live.following import begun, event, log, make, step
from tests.support.sse import Event

pytestmark = pytest.mark.django_db(transaction=True)


def shorts(events: Any) -> list[tuple[str, str]]:
    return [event.short for event in events]


def end(run: Run, status: str = "completed", **values: Any) -> None:
    """What the engine writes when a run ends."""
    Run.objects.filter(pk=run.pk).update(
        status=status, due_at=None, finished_at=timezone.now(), lease_owner=None, **values
    )
    event(run, status)


# One run


def test_a_run_s_stream_begins_with_the_run_as_it_is_and_ends_with_it(secret: str) -> None:
    async def scenario() -> None:
        run = await make(begun, job="import")
        await make(log, run, "before")
        async with listening(f"/runs/{run.pk}/events", secret) as stream:
            assert stream.headers["Content-Type"] == "text/event-stream"
            assert stream.headers["X-Accel-Buffering"] == "no"
            first = await stream.next()
            assert (first.id, *first.short) == ("3", "run", "running")
            assert first.data["run_id"] == first.data["id"] == str(run.pk)
            assert first.data["job"] == "import"
            assert stream.parser.retry == 2_000
            await make(step, run, "fetch", output={"n": 1})
            await make(log, run, "fetched", step="fetch", data={"n": 1})
            await make(end, run, output=[1])
            done, line, last = await stream.rest()
            assert (done.id, done.event, done.data["output"]) == ("4", "step", {"n": 1})
            assert (line.id, line.event, line.data["data"]) == ("5", "log", {"n": 1})
            assert done.data["run_id"] == line.data["run_id"] == str(run.pk)
            assert (last.id, *last.short, last.data["output"]) == ("6", "run", "completed", [1])
            assert stream.parser.retry is not None
            assert stream.parser.retry >= 3_600_000

    play(scenario)


def test_a_run_that_is_over_is_told_as_it_is_and_no_more(secret: str) -> None:
    async def scenario() -> None:
        run = await make(begun)
        await make(end, run, "failed", error_type="E", error_message="m")
        async with listening(f"/runs/{run.pk}/events", secret) as stream:
            [only] = await stream.rest()
            assert (only.id, *only.short) == ("3", "run", "failed")
            assert only.data["error"]["type"] == "E"
            assert stream.parser.retry is not None
            assert stream.parser.retry >= 3_600_000
        # Which is what a browser does after each end.
        async with listening(f"/runs/{run.pk}/events", secret, last_event_id="3") as stream:
            assert (stream.status, stream.body) == (204, b"")

    play(scenario)


def test_after_zero_everything_is_told_from_the_beginning(
    secret: str, jobs: dict[str, JobDefinition]
) -> None:
    run = jobs["parcel"].trigger({"name": "lost"})
    drain()
    retry(run)
    drain()

    async def scenario() -> None:
        async with listening(f"/runs/{run.pk}/events?after=0", secret) as stream:
            told = await stream.rest()
        told = [each for each in told if each.event != "progress"]
        assert shorts(told) == [
            ("run", "pending"), ("run", "running"), ("step", "pack-0"), ("step", "pack-1"),
            ("log", "Packed"), ("run", "failed"),
            ("run", "pending"), ("run", "running"), ("log", "Packed"), ("step", "send"),
            ("run", "failed"),
        ]  # fmt: skip
        ids = [int(each.id) for each in told]
        assert ids == sorted(set(ids))
        statuses = [each.data for each in told if each.event == "run"]
        assert [each["attempt"] for each in statuses] == [1, 1, 1, 2, 2, 2]
        assert [each["started_at"] is None for each in statuses] == [True, *[False] * 5]
        assert [each["finished_at"] is None for each in statuses] == [
            True, True, False, True, True, False,
        ]  # fmt: skip
        failed = statuses[2]
        assert (failed["error"]["type"], failed["error"]["step"]) == ("LookupError", "send")
        assert failed["error"]["message"] == statuses[5]["error"]["message"]
        assert failed["duration_ms"] >= 0
        assert statuses[5]["error"]["traceback"]

    play(scenario)


def test_a_client_goes_on_after_the_message_that_it_names(secret: str) -> None:
    """The header goes before: a browser sends it to the address that it began with."""

    async def scenario() -> None:
        run = await make(begun)
        for number in range(3):
            await make(log, run, f"line {number}")
        path = f"/runs/{run.pk}/events"
        for query, headers in (
            ("", {"last_event_id": "4"}),
            ("?after=4", {}),
            ("?after=0", {"last_event_id": "4"}),
        ):
            async with listening(path + query, secret, **headers) as stream:
                assert (await stream.next()).short == ("log", "line 2")

    play(scenario)


def test_a_retried_run_s_stream_goes_on(secret: str, jobs: dict[str, JobDefinition]) -> None:
    run = jobs["anything"].trigger(1)
    cancel(run)

    async def scenario() -> None:
        async with listening(f"/runs/{run.pk}/events", secret, last_event_id="2") as stream:
            assert stream.status == 204
        await make(retry, run)
        async with listening(f"/runs/{run.pk}/events", secret, last_event_id="2") as stream:
            assert (await stream.next()).short == ("run", "pending")
            await make(drain)
            assert shorts(await stream.rest()) == [("run", "running"), ("run", "completed")]

    play(scenario)


def test_what_a_cancelled_run_logged_late_can_be_asked_for(secret: str) -> None:
    async def scenario() -> None:
        run = await make(begun)
        await make(end, run, "cancelled")
        await make(log, run, "too late")
        async with listening(f"/runs/{run.pk}/events?after=3", secret) as stream:
            assert shorts(await stream.rest(5)) == [("log", "too late")]

    play(scenario)


def test_progress_is_told_now_and_then_and_the_last_of_it_always(secret: str) -> None:
    async def scenario() -> None:
        run = await make(begun)
        rows = Run.objects.filter(pk=run.pk)
        async with listening(f"/runs/{run.pk}/events", secret) as stream:
            await stream.next()
            first = {"current": 1, "total": 90, "message": "a"}
            await make(rows.update, progress=first)
            told = await stream.next()
            assert (told.id, told.event) == ("2", "progress")
            assert told.data == {"run_id": str(run.pk), **first}
            began = asyncio.get_running_loop().time()
            for number in range(2, 90):
                await make(rows.update, progress={"current": number})
            await make(end, run, progress={"current": 90})
            *told_later, last, over = await stream.rest()
            seconds = asyncio.get_running_loop().time() - began
            assert len(told_later) <= seconds / 0.25 + 1
            assert last.data["current"] == 90
            assert over.short == ("run", "completed")

    play(scenario)


def test_the_stream_of_a_run_that_is_deleted_ends(secret: str) -> None:
    async def scenario() -> None:
        run = await make(begun)
        async with listening(f"/runs/{run.pk}/events", secret) as stream:
            await stream.next()
            await make(Run.objects.filter(pk=run.pk).delete)
            assert await stream.rest() == []
        async with listening(f"/runs/{run.pk}/events", secret, last_event_id="2") as stream:
            assert stream.status == 404

    play(scenario)


# All runs


def test_all_runs_are_told_from_the_answer_s_beginning_on(
    secret: str, jobs: dict[str, JobDefinition]
) -> None:
    jobs["anything"].trigger("before")

    async def scenario() -> None:
        async with listening("/events", secret) as stream:
            run = await make(jobs["anything"].trigger, "now")
            first = await stream.next()
            assert first.data["run_id"] == str(run.pk)
            assert first.short == ("run", "pending")
            assert first.data["input"] == "now"

    play(scenario)


def test_a_client_comes_back_to_all_runs_after_any_message(
    secret: str, jobs: dict[str, JobDefinition]
) -> None:
    def things(told: list[Event]) -> list[tuple[Any, ...]]:
        return [(each.data["run_id"], *each.short) for each in told if each.event != "progress"]

    async def scenario() -> None:
        async with listening("/events", secret) as stream:
            for number in range(3):
                await make(jobs["parcel"].trigger, {"name": "x", "count": number + 1})
            await make(drain)
            told: list[Event] = []
            while len(things(told)) < 21:
                told.append(await stream.next())
        for number in range(0, len(told) - 1, 5):
            rest = things(told[number + 1 :])
            last_id = told[number].id
            async with listening("/events?after=0", secret, last_event_id=last_id) as stream:
                found: list[Event] = []
                while len(things(found)) < len(rest):
                    found.append(await stream.next())
                assert things(found) == rest

    play(scenario)


def test_after_zero_all_runs_are_told_from_the_beginning_of_time(
    secret: str, jobs: dict[str, JobDefinition]
) -> None:
    runs = [jobs["anything"].trigger(number) for number in range(3)]
    drain()

    async def scenario() -> None:
        async with listening("/events?after=0", secret) as stream:
            told = await stream.take(9)
            assert shorts(told) == [
                ("run", "pending"), ("run", "running"), ("run", "completed"),
            ] * 3  # fmt: skip
            assert [each.data["run_id"] for each in told[::3]] == [str(run.pk) for run in runs]
            first = told[0].data
            assert (first["output"], first["finished_at"], first["started_at"]) == (None,) * 3

    play(scenario)


async def heard(query: str, secret: str) -> list[Event]:
    """What the stream of all runs tells of what has been; quick beats say when that is all."""
    now = str(await make(Position.now))
    async with listening(f"/events?after=0&{query}", secret) as stream:
        async with asyncio.timeout(20):
            while stream.parser.last_id != now:
                await stream.part()
        return stream.waiting


def test_filters_are_those_of_the_list(
    quick_checks: None, secret: str, jobs: dict[str, JobDefinition]
) -> None:
    acme, gold = {"tenant": "acme"}, {"tier": "gold"}
    made = {
        jobs["parcel"].trigger({"name": "a"}, labels=acme).pk: "a",
        jobs["parcel"].trigger({"name": "needle"}, labels=gold).pk: "b",
        jobs["anything"].trigger(3, labels=acme | gold).pk: "c",
    }
    drain()
    expected = {
        "job=parcel": "ab",
        "job=parcel&job=anything": "abc",
        "label=tenant:acme": "ac",
        "label=tenant:acme&job=parcel": "a",
        "label=tenant:acme&label=tier:gold": "c",
        "q=needle": "b",
        "since=1h": "abc",
        "until=1h": "",
    }

    async def scenario() -> None:
        queries = (heard(query, secret) for query in expected)
        for query, told in zip(expected, await asyncio.gather(*queries), strict=True):
            names = {made[uuid.UUID(each.data["run_id"])] for each in told}
            assert "".join(sorted(names)) == expected[query], query

    play(scenario)


def test_the_status_that_counts_is_that_of_the_message(
    quick_checks: None, secret: str, jobs: dict[str, JobDefinition]
) -> None:
    jobs["parcel"].trigger({"name": "x", "count": 1})
    drain()
    expected = {
        "status=completed": [("run", "completed")],
        "status=pending&status=failed": [("run", "pending")],
        "status=running": [
            ("run", "running"), ("step", "pack-0"), ("log", "Packed"), ("step", "send"),
            ("progress", "0"),
        ],
    }  # fmt: skip

    async def scenario() -> None:
        queries = (heard(query, secret) for query in expected)
        for query, told in zip(expected, await asyncio.gather(*queries), strict=True):
            assert shorts(told) == expected[query], query

    play(scenario)


def test_an_event_that_changes_no_status_is_no_message(secret: str) -> None:
    async def scenario() -> None:
        run = await make(begun)
        for kind in ("handed_back", "started", "taken_over", "coalesced"):
            await make(event, run, kind)
        await make(end, run)
        async with listening(f"/runs/{run.pk}/events?after=0", secret) as stream:
            assert shorts(await stream.rest()) == [
                ("run", "pending"), ("run", "running"), ("run", "completed"),
            ]  # fmt: skip

    play(scenario)
