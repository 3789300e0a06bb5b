"""Following runs record by record."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from runs.live import BEGINNING, Ended, Feeds, Place, Selection, place_after
from runs.models import Run
from tests.live.following import (
    Scenario,
    begun,
    event,
    follow,
    heard,
    log,
    make,
    news_of,
    silence,
    step,
    told,
)
from tests.pages import factories
from tests.processes import until

__all__ = ["follow"]

pytestmark = pytest.mark.django_db(transaction=True)

Follow = Callable[[Scenario], None]


def everything() -> Selection:
    return Selection.of(Run.objects.all(), hides_none=True)


def test_a_run_is_followed_from_its_beginning_or_from_now(follow: Follow) -> None:
    async def scenario(feeds: Feeds) -> None:
        run = await make(begun)
        await make(step, run, "fetch")
        await make(log, run, "fetched")
        whole = feeds.follow_run(run.pk, 0)
        now = feeds.follow_run(run.pk, run.seq)
        assert [told(each) for each in await heard(whole, 4)] == [
            (1, "triggered"), (2, "started"), (3, "fetch"), (4, "fetched"),
        ]  # fmt: skip
        await make(log, run, "more")
        assert [told(each) for each in await heard(now, 1)] == [(5, "more")]
        assert [told(each) for each in await heard(whole, 1)] == [(5, "more")]
        await silence(now)
        assert (whole.seq, now.seq) == (5, 5)

    follow(scenario)


def test_records_have_their_run_and_what_changed_its_status(follow: Follow) -> None:
    async def scenario(feeds: Feeds) -> None:
        run = await make(begun, job="import", labels={"tenant": "acme"})
        for kind in ("handed_back", "started", "coalesced", "failed", "retriggered", "retried"):
            await make(event, run, kind)
        await make(step, run, "fetch")
        feed = feeds.follow_run(run.pk, 0)
        records = await heard(feed, 9)
        assert [(told(each)[1], each.status) for each in records if each.status] == [
            ("triggered", "pending"), ("started", "running"),
            ("failed", "failed"), ("retried", "pending"),
        ]  # fmt: skip
        assert {(each.run.job, each.run.labels["tenant"]) for each in records} == {
            ("import", "acme")
        }
        assert records[0].run.input == {"n": 1}

    follow(scenario)


def test_all_runs_are_followed_from_now_in_the_order_of_each(follow: Follow) -> None:
    async def scenario(feeds: Feeds) -> None:
        old = await make(begun)
        feed = feeds.follow_runs(everything())
        news = await feed.next(5)
        assert news is not None
        assert not news
        assert feed.place == news.end
        await make(step, old, "fetch")
        new = await make(begun)
        records = await heard(feed, 3)
        assert {(each.run.pk, *told(each)) for each in records} == {
            (old.pk, 3, "fetch"), (new.pk, 1, "triggered"), (new.pk, 2, "started"),
        }  # fmt: skip

    follow(scenario)


def test_who_comes_back_to_all_runs_goes_on_at_any_record(follow: Follow) -> None:
    async def scenario(feeds: Feeds) -> None:
        runs = [await make(begun) for _ in range(3)]
        for run in runs:
            await make(log, run, "hello")
        feed = feeds.follow_runs(everything(), Place(BEGINNING))
        news = await news_of(feed)
        assert [told(each)[0] for each in news.records] == [1, 2, 3] * 3
        texts = [str(place_after(news, each)) for each in news.records]
        await make(log, runs[0], "later")
        for number, text in enumerate(texts):
            place = Place.parse(text)
            assert str(place) == text
            back = feeds.follow_runs(everything(), place)
            found = await heard(back, 9 - number)
            assert [told(each) for each in found[:-1]] == [
                told(each) for each in news.records[number + 1 :]
            ]
            assert told(found[-1]) == (4, "later")
            back.close()

    follow(scenario)


def test_a_selection_is_followed_and_nothing_else(follow: Follow) -> None:
    async def scenario(feeds: Feeds) -> None:
        mine = Run.objects.filter(job="mine").with_labels({"tenant": "acme"})
        feed = feeds.follow_runs(Selection.of(mine))
        none = feeds.follow_runs(Selection.of(Run.objects.none()))
        await feed.next(5)
        for job, tenant in (("mine", "other"), ("other", "acme"), ("mine", "acme")):
            await make(begun, job=job, labels={"tenant": tenant})
        records = await heard(feed, 2)
        assert {(each.run.job, each.run.labels["tenant"]) for each in records} == {("mine", "acme")}
        await silence(none)

    follow(scenario)


def test_progress_and_the_current_step_are_told_and_the_last_before_the_end(
    follow: Follow,
) -> None:
    def end(run: Run) -> None:
        Run.objects.filter(pk=run.pk).update(
            status="completed", progress={"current": 3}, due_at=None, finished_at=run.created_at
        )
        event(run, "completed")

    async def scenario(feeds: Feeds) -> None:
        run = await make(begun)
        one, all_runs = feeds.follow_run(run.pk, run.seq), feeds.follow_runs(everything())
        await all_runs.next(5)
        await silence(one)
        await make(Run.objects.filter(pk=run.pk).update, current_step="fetch")
        for feed in (one, all_runs):
            [move] = (await news_of(feed)).moves
            assert (move.run.current_step, move.step, move.progress) == ("fetch", True, False)
        await make(Run.objects.filter(pk=run.pk).update, progress={"current": 1})
        for feed in (one, all_runs):
            [move] = (await news_of(feed)).moves
            assert (move.run.progress, move.progress) == ({"current": 1}, True)
        await make(end, run)
        for feed in (one, all_runs):
            news = await news_of(feed)
            assert [move.run.progress for move in news.moves] == [{"current": 3}]
            assert [each.status for each in news.records] == ["completed"]

    follow(scenario)


def test_who_comes_in_the_middle_is_told_the_progress(follow: Follow) -> None:
    async def scenario(feeds: Feeds) -> None:
        run = await make(begun, progress={"current": 1}, current_step="fetch")
        feed = feeds.follow_run(run.pk, run.seq)
        [move] = (await news_of(feed)).moves
        assert (move.run.progress, move.run.current_step) == ({"current": 1}, "fetch")

    follow(scenario)


def test_what_was_looked_at_before_the_end_is_not_told_after_it(follow: Follow) -> None:
    """Who is slow may have collected older progress than what they then read with the end."""

    async def scenario(feeds: Feeds) -> None:
        run = await make(begun, progress={"current": 1})
        feed = feeds.follow_run(run.pk, run.seq)
        await asyncio.to_thread(until, lambda: feed.joined, "the first look")
        await asyncio.sleep(0.05)  # it has delivered what it found
        change = {"status": "completed", "progress": {"current": 4}, "due_at": None}
        await make(Run.objects.filter(pk=run.pk).update, finished_at=run.created_at, **change)
        await make(event, run, "completed")
        progress = []
        while (news := await feed.next(0.6)) is not None:
            progress += [move.run.progress for move in news.moves]
        assert progress
        assert set(map(str, progress)) == {str({"current": 4})}

    follow(scenario)


def test_a_run_that_is_deleted_is_told_to_its_followers(follow: Follow) -> None:
    async def scenario(feeds: Feeds) -> None:
        run = await make(begun)
        feed = feeds.follow_run(run.pk, run.seq)
        await silence(feed)
        await make(Run.objects.filter(pk=run.pk).delete)
        assert [each.run for each in (await news_of(feed)).gone] == [run.pk]
        late = feeds.follow_run(run.pk, 0)
        assert [each.run for each in (await news_of(late)).gone] == [run.pk]

    follow(scenario)


def test_a_deletion_by_this_process_is_told_to_who_may_know_of_it(follow: Follow) -> None:
    from runs import delete_run

    async def scenario(feeds: Feeds) -> None:
        run = await make(factories.run, job="import", labels={"a": "b"})
        some = feeds.follow_runs(Selection.of(Run.objects.filter(job="import")))
        feed = feeds.follow_runs(everything())
        await feed.next(5)
        await make(delete_run, run)
        [gone] = (await news_of(feed)).gone
        assert (gone.run, gone.job, gone.labels) == (run.pk, "import", {"a": "b"})
        await silence(some)

    follow(scenario)


def test_a_slow_follower_holds_little_and_loses_nothing(
    follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.live.following._MAX_QUEUED", 2)
    monkeypatch.setattr(Feeds, "pause", 0.02)

    async def scenario(feeds: Feeds) -> None:
        run = await make(begun)
        one, all_runs = feeds.follow_run(run.pk, run.seq), feeds.follow_runs(everything())
        await all_runs.next(5)
        await silence(one, 0.2)
        for number in range(8):
            await make(log, run, f"line {number}")
            await asyncio.sleep(0.06)
        for feed in (one, all_runs):
            assert len(feed._queue) <= 2
            records = await heard(feed, 8)
            assert [told(each) for each in records] == [
                (number + 3, f"line {number}") for number in range(8)
            ]
            await silence(feed, 0.2)

    follow(scenario)


def test_too_much_at_once_is_read_page_by_page(
    follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.live.look._MAX_ROWS", 5)
    monkeypatch.setattr("runs.live.reading._MAX_ROWS", 3)

    def write(run: Run) -> None:
        with transaction.atomic():
            for number in range(6):
                log(run, f"line {number}")
                step(run, f"step {number}")

    async def scenario(feeds: Feeds) -> None:
        runs = [await make(begun) for _ in range(2)]
        one, all_runs = feeds.follow_run(runs[0].pk, 2), feeds.follow_runs(everything())
        await all_runs.next(5)
        for run in runs:
            await make(write, run)
        assert [each.seq for each in await heard(one, 12)] == list(range(3, 15))
        records = await heard(all_runs, 24)
        for run in runs:
            own = [each.seq for each in records if each.run.pk == run.pk]
            assert own == list(range(3, 15))

    follow(scenario)


def test_closing_ends_every_feed(follow: Follow) -> None:
    async def scenario(feeds: Feeds) -> None:
        run = await make(begun)
        one, all_runs = feeds.follow_run(run.pk, 0), feeds.follow_runs(everything())
        await heard(one, 2)
        feeds.close()
        for feed in (one, all_runs):
            with pytest.raises(Ended):
                await silence(feed, 5)

    follow(scenario)


@pytest.mark.postgres
def test_what_is_committed_late_is_told_late_and_once(follow: Follow) -> None:
    inserted, commit = threading.Event(), threading.Event()

    def slow_trigger() -> None:
        try:
            with transaction.atomic():
                begun(job="late")
                inserted.set()
                commit.wait(10)
        finally:
            connection.close()

    async def scenario(feeds: Feeds) -> None:
        feed = feeds.follow_runs(everything())
        await feed.next(5)
        thread = threading.Thread(target=slow_trigger)
        thread.start()
        assert await asyncio.to_thread(inserted.wait, 5)
        await make(begun, job="early")
        assert {each.run.job for each in await heard(feed, 2)} == {"early"}
        place = Place.parse(str(feed.place))
        assert place is not None
        assert place.start.cursors[0].holes
        commit.set()
        await asyncio.to_thread(thread.join)
        back = feeds.follow_runs(everything(), place)
        for each in (feed, back):
            assert {record.run.job for record in await heard(each, 2)} == {"late"}
            await silence(each)

    follow(scenario)


@pytest.mark.postgres
def test_who_begins_beside_an_open_transaction_hears_of_it_too(follow: Follow) -> None:
    inserted, commit = threading.Event(), threading.Event()

    def slow_trigger() -> None:
        try:
            with transaction.atomic():
                begun(job="late")
                inserted.set()
                commit.wait(10)
        finally:
            connection.close()

    async def scenario(feeds: Feeds) -> None:
        thread = threading.Thread(target=slow_trigger)
        thread.start()
        assert await asyncio.to_thread(inserted.wait, 5)
        await make(begun, job="early")
        feed = feeds.follow_runs(everything())
        assert await feed.next(5) is not None
        commit.set()
        await asyncio.to_thread(thread.join)
        assert {record.run.job for record in await heard(feed, 2)} == {"late"}
        await silence(feed)

    follow(scenario)
