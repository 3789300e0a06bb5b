"""Log lines and progress: buffered, never in the way of the run."""

# step.log takes a message and data; to ruff it looks like a logger.
# ruff: noqa: G004, G010

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from runs import Step, job
from runs.engine import buffer, checkpoints
from runs.models import LogEntry, Run
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, Held, execute, messages, reload

pytestmark = pytest.mark.django_db


@pytest.fixture
def held(worker: HandWorker) -> Held:
    @job
    def by_hand(step: Step) -> None:
        pass

    return worker.take(by_hand.trigger())


def lines(held: Held) -> list[LogEntry]:
    held.execution.flush()
    return list(LogEntry.objects.filter(run=held.claim.run_id))


# Log


def test_a_line_has_level_message_data_and_time(held: Held) -> None:
    before = datetime.now(UTC)
    held.step.log.info("one", {"a": [1, None]})
    held.step.log.warn("two")
    held.step.log.error("three", {})
    held.step.log.warning("four")
    found = lines(held)
    assert [(line.level, line.message, line.data) for line in found] == [
        ("info", "one", {"a": [1, None]}),
        ("warn", "two", None),
        ("error", "three", {}),
        ("warn", "four", None),
    ]
    for line in found:
        assert before <= line.created_at <= datetime.now(UTC)
    assert [line.pk for line in found] == sorted(line.pk for line in found)
    check_invariants()


def test_a_line_carries_the_name_of_the_step_it_came_from(held: Held) -> None:
    def outer() -> None:
        held.step.log.info("outer")
        held.step.run("inner", held.step.log.info, "inner")
        held.step.log.info("outer again")

    held.step.log.info("before")
    held.step.run("outer", outer)
    held.step.log.info("after")
    assert [(line.message, line.step) for line in lines(held)] == [
        ("before", None),
        ("outer", "outer"),
        ("inner", "inner"),
        ("outer again", "outer"),
        ("after", None),
    ]


def test_lines_keep_their_order_across_checkpoints() -> None:
    @job
    def talk(step: Step) -> None:
        for number in range(5):
            step.log.info(f"{number} before")
            step.run(f"s{number}", step.log.info, f"{number} inside")
        step.log.info("end")

    run = execute(talk)
    expected = [f"{n} {when}" for n in range(5) for when in ("before", "inside")]
    assert messages(run) == [*expected, "end"]
    assert list(run.logs.order_by("seq")) == list(run.logs.all())
    check_invariants()


def test_the_line_of_a_failing_step_and_of_a_failing_handler_are_kept() -> None:
    @job
    def fail(step: Step) -> None:
        def body() -> None:
            step.log.error("inside")
            raise LookupError

        try:
            step.run("a", body)
        except LookupError:
            step.log.error("outside")
        raise ValueError

    assert messages(execute(fail)) == ["inside", "outside"]


def test_data_is_kept_as_it_was_when_it_was_logged(held: Held) -> None:
    data = {"rows": [1]}
    held.step.log.info("a", data)
    data["rows"].append(2)
    assert lines(held)[0].data == {"rows": [1]}


@pytest.mark.parametrize(
    "data",
    [
        {"a": object()}, {"a": {1, 2}}, {"a": float("nan")},
        {"when": datetime(2026, 1, 1, tzinfo=UTC)}, {"d": Decimal(1)},
        object(), {(1, 2): 3}, b"x", ValueError("x"),
    ],
)  # fmt: skip
def test_a_datum_that_can_not_be_stored_is_kept_as_its_text_and_marked(
    held: Held, data: Any
) -> None:
    held.step.log.info("odd", data)
    [line] = lines(held)
    assert line.message == "odd"
    assert line.data == {"text": str(data), "unstorable": True}


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_not_even_a_datum_without_a_text_harms_the_run() -> None:
    loop: list[Any] = []
    loop.append(loop)

    @job
    def talk(step: Step) -> str:
        step.log.info("odd", {"a": Unprintable()})
        step.log.info("loop", {"a": loop})
        step.log.info(Unprintable())  # type: ignore[arg-type]
        step.log.info(5)  # type: ignore[arg-type]
        step.progress(Unprintable(), Unprintable(), Unprintable())  # type: ignore[arg-type]
        return "fine"

    run = execute(talk)
    assert (run.status, run.output, run.error) == ("completed", "fine", None)
    assert run.logs.count() == 4
    assert messages(run)[3] == "5"


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "\udfff", "ä😀\u2028"])
def test_any_text_can_be_logged_and_spoils_no_other_line(held: Held, text: str) -> None:
    held.step.log.info("before")
    held.step.log.info(text, {"text": text, text: 1})
    held.step.log.info("after")
    held.step.progress(1, 2, text)
    found = [line.message for line in lines(held)]
    clean = text.replace("\x00", "\ufffd").replace("\ud800", "\ufffd").replace("\udfff", "\ufffd")
    assert found == ["before", clean, "after"]
    progress = Run.objects.get().progress
    assert progress["message"] == clean


def test_what_is_too_long_is_cut_and_says_so(held: Held) -> None:
    limit = held.execution._max_log
    held.step.log.info("x" * (limit + 7), {"a": "y" * limit})
    [line] = lines(held)
    assert line.message.startswith("x" * limit)
    assert line.message.endswith("(7 more characters cut)")
    assert line.data["unstorable"] is True
    assert len(line.data["text"]) < limit + 100


def test_the_limit_of_a_line_is_in_bytes(settings: Settings, worker: HandWorker) -> None:
    settings.MAX_LOG_BYTES = 100

    @job
    def talk(step: Step) -> None:
        step.log.info("ä" * 100, {"a": "ä" * 80})

    [line] = execute(talk).logs.all()
    assert len(line.message.partition("…")[0].encode()) <= 100
    assert len(line.data["text"].partition("…")[0].encode()) <= 100


def test_lines_are_written_with_the_next_checkpoint(held: Held) -> None:
    held.step.log.info("a")
    assert not LogEntry.objects.exists()
    held.step.run("s", lambda: None)
    assert LogEntry.objects.count() == 1


def test_lines_are_written_with_a_failed_step(held: Held) -> None:
    held.step.log.info("a")
    with pytest.raises(ZeroDivisionError):
        held.step.run("s", lambda: 1 / 0)
    assert LogEntry.objects.count() == 1


def test_a_full_buffer_is_written_at_once(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "MAX_LINES", 10)
    for number in range(25):
        held.step.log.info(str(number))
    assert LogEntry.objects.count() == 20
    assert [line.message for line in lines(held)] == [str(number) for number in range(25)]


@pytest.mark.django_db(transaction=True)
def test_a_line_logged_in_a_transaction_that_is_rolled_back_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buffer, "MAX_LINES", 1)

    @job
    def talk(step: Step) -> None:
        step.run("a", body, step)

    def body(step: Step) -> None:
        with transaction.atomic():
            step.log.info("kept")
            transaction.set_rollback(True)

    assert messages(execute(talk)) == ["kept"]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_progress_without_lines_is_one_statement(held: Held) -> None:
    held.step.progress(1, 2)
    with CaptureQueriesContext(connection) as captured:
        held.execution.flush()
    assert [query["sql"].split()[0] for query in captured] == ["UPDATE"]


def test_a_line_that_comes_after_the_end_is_kept() -> None:
    steps: list[Step] = []

    @job
    def talk(step: Step) -> None:
        steps.append(step)

    run = execute(talk)
    steps[0].log.info("from a thread that outlived the handler")
    assert messages(run) == ["from a thread that outlived the handler"]
    check_invariants()


def test_a_database_that_is_away_costs_no_line(
    held: Held, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("away")

    held.step.log.info("a")
    held.step.progress(1, 2)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(checkpoints, "flush", away)
        held.execution.flush()
    held.step.log.info("b")
    assert [line.message for line in lines(held)] == ["a", "b"]
    assert Run.objects.get().progress["current"] == 1
    assert "away" in caplog.text


def test_logs_of_earlier_attempts_stay_and_lines_outside_steps_come_again() -> None:
    from runs import retry
    from runs.testing import drain

    @job
    def talk(step: Step) -> None:
        step.log.info("outside")
        step.run("a", step.log.info, "inside")
        if step.attempt == 1:
            raise LookupError

    run = execute(talk)
    retry(run)
    drain()
    assert messages(run) == ["outside", "inside", "outside"]


# Progress


def test_progress_is_readable_while_the_run_executes(held: Held) -> None:
    held.step.progress(3, 10, "three")
    held.execution.flush()
    assert Run.objects.get().progress == {"current": 3, "total": 10, "message": "three"}


def test_the_last_value_wins(held: Held) -> None:
    for number in range(100):
        held.step.progress(number, 100, f"at {number}")
    held.step.progress(99)
    held.execution.flush()
    assert Run.objects.get().progress == {"current": 99, "total": None, "message": None}


def test_progress_works_inside_steps_and_is_written_with_the_checkpoint(held: Held) -> None:
    held.step.run("a", held.step.progress, 1, 2)
    assert Run.objects.get().progress["current"] == 1


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_progress_stays_after_the_end(outcome: str) -> None:
    @job
    def report(step: Step) -> None:
        step.progress(7.5, 10, "nearly")
        if outcome == "failed":
            raise LookupError

    run = execute(report)
    assert run.status == outcome
    assert run.progress == {"current": 7.5, "total": 10, "message": "nearly"}


def test_progress_stays_over_a_recovery(held: Held, other_worker: HandWorker) -> None:
    held.step.progress(1, 2)
    held.execution.flush()
    dead = HandWorker()
    dead.id = held.claim.owner
    dead.die()
    other_worker.take()
    assert Run.objects.get().progress["current"] == 1


@pytest.mark.parametrize("value", [-5, 10**30, 0.1])
def test_there_is_no_range_check(held: Held, value: Any) -> None:
    held.step.progress(value, 3)
    held.execution.flush()
    assert Run.objects.get().progress["total"] == 3


@pytest.mark.parametrize("value", ["half", None, object(), float("nan"), [1], Decimal("1.5")])
def test_a_value_that_is_no_number_is_kept_as_its_text_and_marked(held: Held, value: Any) -> None:
    held.step.progress(value, 3, "m")
    held.execution.flush()
    progress = Run.objects.get().progress
    assert progress["current"] == str(value)
    assert (progress["total"], progress["message"]) == (3, "m")
    assert progress["unstorable"] is True


def test_a_stale_holder_s_progress_is_not_stored(held: Held, other_worker: HandWorker) -> None:
    dead = HandWorker()
    dead.id = held.claim.owner
    dead.die()
    new = other_worker.take()
    new.step.progress(1, 2)
    new.execution.flush()
    held.step.progress(2, 2)
    held.execution.flush()
    assert Run.objects.get().progress["current"] == 1


def test_progress_and_log_are_cheap_enough_for_a_tight_loop(held: Held) -> None:
    """A hundredth of what is promised, so that a busy machine can't fail it."""
    began = time.perf_counter()
    for number in range(5_000):
        held.step.progress(number, 5_000)
        held.step.log.info("line")
    assert time.perf_counter() - began < 5_000 / 300
    assert len(lines(held)) == 5_000
    assert reload(Run.objects.get()).progress["current"] == 4_999


def test_the_lines_are_on_disk_a_moment_after_they_were_logged(held: Held) -> None:
    """What the docs promise of a SIGKILL; the heartbeat does the writing."""
    from runs.engine import heartbeat

    assert timedelta(seconds=heartbeat.FLUSH_SECONDS) <= timedelta(milliseconds=250)
