"""Cancelling and retrying, from another process, what a worker executes."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import cancel, delete_run, retry
from runs.errors import ConflictError
from runs.models import Run, RunStatus
from tests.support.crash import Cluster, now, state, trigger
from tests.support.crashapp.jobs import StepPlan


def test_cancelled_body_learns_of_it(cluster: Cluster) -> None:
    cluster.start()
    # One handler that is async, too: its steps learn of it in the same way.
    runs = [
        trigger(0, StepPlan(until_cancelled=True), 0, asynchronous=asynchronous)
        for asynchronous in (False, True)
    ]
    for run in runs:
        cluster.body(run, 1)
        cancel(run)
        at = now()
        cluster.until(lambda run=run: cluster.evidence().handlers_of(run)[0].how, "its end")  # type: ignore[misc]
        [handler] = cluster.evidence().handlers_of(run)
        [body] = cluster.evidence().of(run, 1)
        assert body.ended
        assert body.ended < at + 2
        assert handler.how == "Cancelled"
        assert not cluster.evidence().of(run, 2)
    cluster.until(lambda: all(is_free(run) for run in runs), "the bodies have stopped")
    for run in runs:
        assert run.status == RunStatus.CANCELLED
        assert names(run) == ["step-0"]


def test_key_and_retry_wait_for_the_old_body(cluster: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    cluster.start()
    run = trigger(0, StepPlan(waits_for=str(gate), first_only=True), 0, concurrency_key="k")
    cluster.body(run, 1)
    cancel(run)
    same_key = trigger(0, concurrency_key="k", labels={"behind": "yes"})
    with pytest.raises(ConflictError):
        delete_run(run)
    with pytest.raises(ConflictError, match="pending"):
        retry(run)  # one pending run of a job and key
    cancel(same_key)
    other_key = trigger(StepPlan(waits_for=str(gate)), 0, concurrency_key="other")
    cluster.body(other_key, 0)
    cancel(other_key)
    behind = trigger(0, concurrency_key="other")
    retry(run)
    # The worker has free slots and looks for work, for longer than a round of the sweep.
    cluster.completed(trigger(1.2))
    evidence = cluster.evidence()
    assert len(evidence.handlers_of(run)) == 1, state(run)
    assert not evidence.of(same_key)
    assert not evidence.of(behind)

    gate.touch()
    cluster.completed(run, behind, timeout=5)
    evidence = cluster.evidence()
    [held] = evidence.handlers_of(other_key)
    assert evidence.handlers_of(behind)[0].entered >= held.left
    delete_run(other_key)
    old, new = evidence.handlers_of(run)
    assert (old.attempt, new.attempt) == (1, 2)
    assert old.how == "Cancelled"
    assert new.entered >= old.left
    assert [len(evidence.of(run, step)) for step in range(3)] == [1, 2, 1]
    run.refresh_from_db()
    assert run.attempt == 2
    assert run.output[1] == evidence.of(run, 1)[1].token  # the old body's result was dropped
    assert is_free(run)


def is_free(run: Run) -> bool:
    """Whether no body works on it any more, as the database says."""
    run.refresh_from_db()
    return run.lease_owner is None and run.held_key is None


def names(run: Run) -> list[str]:
    return list(run.steps.order_by("index").values_list("name", flat=True))
