"""Waiting for a run, in whatever process it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

import runs
from runs import Step, cancel, delete_run, job, wait_for_run
from runs.engine import triggers
from runs.errors import (
    NotFoundError,
    OpenTransactionError,
    RunCancelledError,
    RunFailedError,
    RunsError,
    ValidationError,
    WaitTimeoutError,
)
from runs.models import LogEntry, Run
from runs.testing import drain
from tests.support.engine import HandWorker, execute, kinds

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def in_background() -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Call a function in another thread, as another process would."""
    threads: list[threading.Thread] = []

    def start(function: Callable[[], Any]) -> None:
        def call() -> None:
            try:
                function()
            finally:
                connection.close()

        thread = threading.Thread(target=call)
        threads.append(thread)
        thread.start()

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def end() -> runs.JobDefinition:
    """Ends as its input says."""

    @job
    def end(step: Step, payload: str) -> str:
        step.progress(1, 2, "half")
        step.run("a", step.log.info, "a line")
        if payload == "failed":
            raise LookupError("no such thing")
        if payload == "cancelled":
            cancel(step.run_id)
        return payload

    return end


def work_until(run_count: int) -> Callable[[], None]:
    """What a worker does until so many runs are over."""

    def work() -> None:
        while Run.objects.filter(finished_at__isnull=False).count() < run_count:
            drain()
            time.sleep(0.005)

    return work


def test_waiting_for_a_completed_run_returns_it(end: runs.JobDefinition) -> None:
    run = execute(end, "done")
    for name in (run, run.pk, str(run.pk)):
        found = wait_for_run(name)
        assert (found.status, found.output) == ("completed", "done")


def test_a_failed_run_raises_with_its_error(end: runs.JobDefinition) -> None:
    run = execute(end, "failed")
    with pytest.raises(RunFailedError) as caught:
        wait_for_run(run)
    assert "LookupError: no such thing" in str(caught.value)
    assert str(run.pk) in str(caught.value)


def test_a_cancelled_run_raises(end: runs.JobDefinition) -> None:
    run = execute(end, "cancelled")
    with pytest.raises(RunCancelledError, match=str(run.pk)):
        wait_for_run(run)


def test_a_missing_run_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        wait_for_run("01a203a5-d4e4-722d-b8fb-6b536952653f")


def test_a_run_that_is_deleted_meanwhile_is_not_found(
    end: runs.JobDefinition, in_background: Callable[[Callable[[], Any]], None]
) -> None:
    run = end.trigger("x")

    def delete() -> None:
        time.sleep(0.03)
        with transaction.atomic():
            cancel(run)
            delete_run(run)

    in_background(delete)
    with pytest.raises(NotFoundError, match=str(run.pk)):
        wait_for_run(run, timeout=10)


def test_the_end_is_seen_when_it_comes_from_elsewhere(
    end: runs.JobDefinition, in_background: Callable[[Callable[[], Any]], None]
) -> None:
    run = end.trigger("done")
    in_background(work_until(1))
    assert wait_for_run(run, timeout=10).output == "done"


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_a_timeout_raises_and_the_run_goes_on(end: runs.JobDefinition, timeout: float) -> None:
    run = end.trigger("done")
    with pytest.raises(WaitTimeoutError) as caught:
        wait_for_run(run, timeout=timeout)
    assert str(run.pk) in str(caught.value)
    assert f"{timeout:g} s" in str(caught.value)
    drain()
    assert wait_for_run(run, timeout=timeout).output == "done"


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_must_be_a_length_of_time(end: runs.JobDefinition, timeout: float) -> None:
    with pytest.raises(ValidationError, match="timeout"):
        wait_for_run(end.trigger("x"), timeout=timeout)


def test_waiting_inside_a_transaction_is_refused(end: runs.JobDefinition) -> None:
    run = execute(end, "done")
    with transaction.atomic():
        with pytest.raises(OpenTransactionError):
            wait_for_run(run)
        with pytest.raises(OpenTransactionError, match="end"):
            end.trigger_and_wait("x")
    assert Run.objects.count() == 1


# trigger_and_wait


def test_trigger_and_wait_returns_the_completed_run(
    end: runs.JobDefinition, in_background: Callable[[Callable[[], Any]], None]
) -> None:
    in_background(work_until(1))
    run = end.trigger_and_wait("done", timeout=10, labels={"a": "b"}, priority=3)
    assert (run.status, run.output, run.labels, run.priority) == (
        "completed", "done", {"a": "b"}, 3,
    )  # fmt: skip


def test_trigger_and_wait_tells_how_the_run_came_about(
    end: runs.JobDefinition, in_background: Callable[[Callable[[], Any]], None]
) -> None:
    in_background(work_until(1))
    first = end.trigger_and_wait("done", timeout=10, idempotency_key="k")
    assert first.disposition == "created"
    second = end.trigger_and_wait("other", timeout=10, idempotency_key="k")
    assert (second.pk, second.output, second.disposition) == (first.pk, "done", "idempotent")


def test_trigger_and_wait_on_a_coalesced_run_returns_that_run_s_output(
    end: runs.JobDefinition, in_background: Callable[[Callable[[], Any]], None]
) -> None:
    first = end.trigger("first", concurrency_key="c")

    def work() -> None:
        while "coalesced" not in kinds(first):
            time.sleep(0.005)
        drain()

    in_background(work)
    run = end.trigger_and_wait("second", timeout=10, concurrency_key="c", coalesce="skip")
    assert (run.pk, run.disposition, run.output) == (first.pk, "coalesced", "first")


@pytest.mark.parametrize(
    ("outcome", "error"), [("failed", RunFailedError), ("cancelled", RunCancelledError)]
)
def test_trigger_and_wait_raises_what_came_of_the_run(
    end: runs.JobDefinition,
    in_background: Callable[[Callable[[], Any]], None],
    outcome: str,
    error: type[RunsError],
) -> None:
    in_background(work_until(1))
    with pytest.raises(error):
        end.trigger_and_wait(outcome, timeout=10)
    with pytest.raises(WaitTimeoutError):
        end.trigger_and_wait("x", timeout=0)


def test_a_hit_on_a_failed_run_raises_at_once(end: runs.JobDefinition) -> None:
    lines: list[LogEntry] = []
    execute(end, "failed", idempotency_key="k")
    with pytest.raises(RunFailedError):
        end.trigger_and_wait("x", idempotency_key="k", on_log=lines.append)
    assert lines == []


# Callbacks


def test_progress_and_log_lines_are_passed_on_as_they_come(
    worker: HandWorker, in_background: Callable[[Callable[[], Any]], None]
) -> None:
    heard = threading.Semaphore(0)
    progress: list[dict[str, Any]] = []
    lines: list[LogEntry] = []

    def on_progress(value: dict[str, Any]) -> None:
        progress.append(value)
        heard.release()

    def on_log(line: LogEntry) -> None:
        lines.append(line)
        heard.release()

    @job
    def talk(step: Step) -> None:
        for number in range(3):
            step.progress(number, 3, f"at {number}")
            step.run(f"s{number}", step.log.info, f"line {number}")
            assert heard.acquire(timeout=10)
            assert heard.acquire(timeout=10)

    in_background(work_until(1))
    run = talk.trigger_and_wait(timeout=20, on_progress=on_progress, on_log=on_log)
    assert run.status == "completed"
    assert [value["message"] for value in progress] == ["at 0", "at 1", "at 2"]
    assert progress[0] == {"current": 0, "total": 3, "message": "at 0"}
    assert [(line.message, line.step, line.level) for line in lines] == [
        ("line 0", "s0", "info"),
        ("line 1", "s1", "info"),
        ("line 2", "s2", "info"),
    ]


def test_trigger_and_wait_hears_also_a_run_that_is_over_before_the_first_look(
    end: runs.JobDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = triggers.trigger

    def late(*args: Any, **options: Any) -> Run:
        run = real(*args, **options)
        drain()
        return run

    monkeypatch.setattr(triggers, "trigger", late)
    lines: list[LogEntry] = []
    progress: list[Any] = []
    end.trigger_and_wait("done", on_log=lines.append, on_progress=progress.append)
    assert [line.message for line in lines] == ["a line"]
    assert [value["message"] for value in progress] == ["half"]


def test_a_run_that_is_over_already_calls_nothing_back(end: runs.JobDefinition) -> None:
    run = execute(end, "done")
    heard: list[Any] = []
    for name in (run, run.pk):
        wait_for_run(name, on_log=heard.append, on_progress=heard.append)
    assert heard == []


def test_what_a_callback_raises_is_logged_and_waiting_goes_on(
    end: runs.JobDefinition,
    in_background: Callable[[Callable[[], Any]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(value: object) -> None:
        raise LookupError("a callback of mine")

    in_background(work_until(1))
    run = end.trigger_and_wait("done", timeout=10, on_log=fail, on_progress=fail)
    assert run.status == "completed"
    assert "a callback of mine" in caplog.text


# Queries


def test_a_job_finds_its_own_runs_only(end: runs.JobDefinition) -> None:
    @job
    def other(step: Step) -> None:
        pass

    mine, theirs = execute(end, "done"), other.trigger()
    assert end.get_run(mine.pk) == mine
    assert end.get_run(str(mine.pk)) == mine
    assert end.get_run(theirs.pk) is None
    assert end.get_run("nonsense") is None
    assert list(other.get_runs()) == [theirs]


def test_runs_are_filtered_by_status_labels_and_limit_newest_first(
    end: runs.JobDefinition,
) -> None:
    done = execute(end, "done", labels={"tenant": "a", "kind": "x"})
    failed = execute(end, "failed", labels={"tenant": "a"})
    pending = end.trigger("x", labels={"tenant": "b"})

    def found(**filters: Any) -> list[Run]:
        return list(end.get_runs(**filters))

    assert found() == [pending, failed, done]
    assert found(status="failed") == [failed]
    assert found(status=["failed", "completed"]) == [failed, done]
    assert found(status=[]) == [pending, failed, done]
    assert found(labels={}) == [pending, failed, done]
    assert found(labels={"tenant": "a"}) == [failed, done]
    assert found(labels={"tenant": "a", "kind": "x"}) == [done]
    assert found(labels={"tenant": "A"}) == []
    assert found(status="completed", labels={"tenant": "a"}, limit=5) == [done]
    assert found(limit=2) == [pending, failed]
    assert found(limit=0) == []


@pytest.mark.parametrize(
    "filters",
    [{"status": "leased"}, {"status": ["pending", ""]}, {"limit": -1}, {"limit": 1.5}],
)
def test_a_filter_that_can_not_be_is_refused(
    end: runs.JobDefinition, filters: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        end.get_runs(**filters)
