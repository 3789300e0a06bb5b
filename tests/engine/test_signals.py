"""Events as Django signals: which, in which order, with what; and receivers that raise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.dispatch import Signal

import runs
from runs import Step, cancel, delete_run, job, purge_runs, retrigger, retry, signals
from runs.models import Run
from runs.testing import drain
from tests.support.engine import HandWorker, execute, reload

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = [
    "run_triggered", "run_coalesced", "run_started", "run_progressed", "run_completed",
    "run_failed", "run_cancelled", "run_retried", "run_deleted", "step_started",
    "step_completed", "step_failed", "step_cancelled", "log_written", "lease_lost",
]  # fmt: skip


class Heard:
    """All signals, in the order in which they came."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._receivers: list[tuple[Signal, Any]] = []

    def connect(self) -> None:
        for name in NAMES:
            signal: Signal = getattr(signals, name)

            def receive(sender: Any, name: str = name, **kwargs: Any) -> None:
                self.events.append((name, {"sender": sender, **kwargs}))

            signal.connect(receive, weak=False)
            self._receivers.append((signal, receive))

    def disconnect(self) -> None:
        for signal, receive in self._receivers:
            signal.disconnect(receive)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def get(self, name: str) -> dict[str, Any]:
        [kwargs] = [kwargs for heard, kwargs in self.events if heard == name]
        return kwargs

    def clear(self) -> None:
        self.events.clear()


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    heard.connect()
    yield heard
    heard.disconnect()


@pytest.fixture
def work() -> runs.JobDefinition:
    @job
    def work(step: Step, payload: str = "") -> str:
        step.run("a", body, step)
        step.progress(1, 2, "half")
        if payload == "fail":
            step.run("b", lambda: 1 / 0)
        return "done"

    def body(step: Step) -> int:
        step.log.info("line", {"x": 1})
        return 5

    return work


def test_a_normal_run_from_trigger_to_end(heard: Heard, work: runs.JobDefinition) -> None:
    run = execute(work, "", labels={"tenant": "acme"})
    assert heard.names == [
        "run_triggered", "run_started", "step_started", "log_written", "step_completed",
        "run_progressed", "run_completed",
    ]  # fmt: skip
    for _, kwargs in heard.events:
        assert kwargs["sender"] is Run
        assert kwargs["run_id"] == run.pk
        assert kwargs["job"] == "work"
        assert kwargs["labels"] == {"tenant": "acme"}
    assert heard.get("run_triggered")["input"] == ""
    assert heard.get("run_started")["attempt"] == 1
    assert heard.get("step_started")["step"] == "a"
    completed = heard.get("step_completed")
    assert (completed["step"], completed["index"], completed["output"]) == ("a", 0, 5)
    line = heard.get("log_written")
    assert (line["step"], line["level"], line["message"], line["data"]) == (
        "a", "info", "line", {"x": 1},
    )  # fmt: skip
    assert heard.get("run_progressed")["progress"] == {
        "current": 1, "total": 2, "message": "half",
    }  # fmt: skip
    assert heard.get("run_completed")["output"] == "done"


def test_a_failing_run(heard: Heard, work: runs.JobDefinition) -> None:
    execute(work, "fail")
    assert heard.names[-3:] == ["step_started", "step_failed", "run_failed"]
    assert heard.get("step_failed")["step"] == "b"
    assert heard.get("step_failed")["error"] == "ZeroDivisionError: division by zero"
    assert heard.get("run_failed")["step"] == "b"
    assert "ZeroDivisionError" in heard.get("run_failed")["error"]


def test_a_retry_and_its_cached_steps(heard: Heard, work: runs.JobDefinition) -> None:
    run = execute(work, "fail")
    heard.clear()
    retry(run, actor="ann")
    assert heard.names == ["run_retried"]
    assert heard.get("run_retried")["attempt"] == 2
    assert heard.get("run_retried")["actor"] == "ann"
    heard.clear()
    drain()
    # Nothing is said of a step whose result was stored.
    assert heard.names == ["run_started", "run_progressed", "step_started", "step_failed",
                           "run_failed"]  # fmt: skip


def test_a_cancelled_run_says_so_once(heard: Heard) -> None:
    def body(step: Step) -> None:
        cancel(step.run_id, actor="ann")

    @job
    def work(step: Step) -> None:
        step.run("a", body, step)

    execute(work)
    assert heard.names == [
        "run_triggered", "run_started", "step_started", "run_cancelled", "step_cancelled",
    ]  # fmt: skip
    assert heard.get("run_cancelled")["actor"] == "ann"
    assert heard.get("step_cancelled")["step"] == "a"


def test_idempotent_and_coalesced_triggers(heard: Heard, work: runs.JobDefinition) -> None:
    run = work.trigger("", idempotency_key="i", concurrency_key="c", labels={"a": "b"})
    heard.clear()
    work.trigger("", idempotency_key="i")
    assert heard.names == []
    work.trigger("fail", concurrency_key="c", coalesce="skip", labels={"c": "d"})
    assert heard.names == ["run_coalesced"]
    kwargs = heard.get("run_coalesced")
    assert (kwargs["run_id"], kwargs["labels"]) == (run.pk, {"a": "b"})
    assert (kwargs["skipped_input"], kwargs["skipped_labels"]) == ("fail", {"c": "d"})


def test_run_again_delete_and_purge(heard: Heard, work: runs.JobDefinition) -> None:
    run = execute(work, "")
    heard.clear()
    copy = retrigger(run)
    assert heard.names == ["run_triggered"]
    assert heard.get("run_triggered")["run_id"] == copy.pk
    cancel(copy)
    heard.clear()
    delete_run(run, actor="ann")
    assert heard.names == ["run_deleted"]
    assert (heard.get("run_deleted")["run_id"], heard.get("run_deleted")["actor"]) == (
        run.pk, "ann",
    )  # fmt: skip
    heard.clear()
    from datetime import timedelta

    Run.objects.update(finished_at=Run.objects.get().created_at - timedelta(days=2))
    purge_runs(timedelta(days=1))
    assert heard.names == ["run_deleted"]


def test_a_batch_is_told_of_in_its_order_after_the_commit(
    heard: Heard, work: runs.JobDefinition
) -> None:
    with transaction.atomic():
        found = work.batch_trigger([""] * 3)
        assert heard.names == []
    assert [kwargs["run_id"] for _, kwargs in heard.events] == [run.pk for run in found]


def test_what_is_rolled_back_is_not_told_of(heard: Heard, work: runs.JobDefinition) -> None:
    run = execute(work, "fail")
    heard.clear()
    with transaction.atomic():
        work.trigger("")
        retry(run)
        transaction.set_rollback(True)
    assert heard.names == []


def test_a_lost_lease(
    heard: Heard, work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    held = worker.take(work.trigger(""))
    worker.die()
    other_worker.take()
    heard.clear()
    held.execute()
    assert heard.names.count("lease_lost") == 1
    assert not {"run_completed", "run_failed", "run_cancelled"} & set(heard.names)
    assert heard.get("lease_lost")["run_id"] == held.claim.run_id


@pytest.mark.parametrize("error", [LookupError("mine"), SystemExit(1), KeyboardInterrupt()])
@pytest.mark.parametrize("name", NAMES)
def test_a_receiver_that_raises_is_logged_and_harms_nothing(
    name: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def receive(**kwargs: Any) -> None:
        raise error

    def first(step: Step) -> None:
        step.log.info("line")
        step.progress(1)
        try:
            step.run("fails", lambda: 1 / 0)
        except ZeroDivisionError:
            pass

    @job
    def work(step: Step) -> str:
        step.run("a", first, step)
        return "done"

    signal: Signal = getattr(signals, name)
    signal.connect(receive, weak=False)
    try:
        run = work.trigger(concurrency_key="c")
        assert work.trigger(concurrency_key="c", coalesce="skip").pk == run.pk
        drain()
        assert (reload(run).status, reload(run).output) == ("completed", "done")
        cancelled = work.trigger()
        cancel(cancelled)
        retry(cancelled)
        drain()
        delete_run(cancelled)
    finally:
        signal.disconnect(receive)
    if name not in ("run_failed", "step_cancelled", "lease_lost"):
        assert type(error).__name__ in caplog.text


def test_one_receiver_that_raises_does_not_stop_the_others(work: runs.JobDefinition) -> None:
    calls: list[str] = []

    def bad(**kwargs: Any) -> None:
        calls.append("bad")
        raise LookupError

    def good(**kwargs: Any) -> None:
        calls.append("good")

    signals.run_completed.connect(bad)
    signals.run_completed.connect(good)
    try:
        execute(work, "")
    finally:
        signals.run_completed.disconnect(bad)
        signals.run_completed.disconnect(good)
    assert calls == ["bad", "good"]


def test_no_signal_is_missing() -> None:
    found = [name for name, value in vars(signals).items() if isinstance(value, Signal)]
    assert sorted(found) == sorted(NAMES)
