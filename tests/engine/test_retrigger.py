"""Running again: a new run like a terminal one, which stays as it is."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

import runs
from runs import Step, cancel, delete_run, job, retrigger
from runs.errors import ConflictError, NotFoundError, ValidationError
from runs.models import Label, Run
from runs.registry import registry
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, execute, kinds, reload

pytestmark = pytest.mark.django_db


class Order(BaseModel):
    order_id: str


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def end(calls: list[str]) -> runs.JobDefinition:
    """Ends as its input says."""

    @job
    def end(step: Step, payload: str) -> str:
        step.run("a", calls.append, "a")
        step.progress(1, 2)
        if payload == "failed":
            raise LookupError
        if payload == "cancelled":
            cancel(step.run_id)
        return "done"

    return end


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled"])
def test_any_terminal_run_gives_a_new_run_like_it(
    outcome: str, end: runs.JobDefinition, calls: list[str]
) -> None:
    source = execute(
        end, outcome, labels={"k": "v"}, idempotency_key="i", concurrency_key="c", priority=4
    )
    assert source.status == outcome
    copy = retrigger(source, actor="ann")
    assert copy.pk != source.pk
    assert copy.disposition == "created"
    stored = reload(copy)
    assert (stored.job, stored.input, stored.labels) == ("end", outcome, {"k": "v"})
    assert (stored.concurrency_key, stored.idempotency_key) == ("c", None)
    assert (stored.status, stored.attempt, stored.priority) == ("pending", 1, 4)
    assert (stored.progress, stored.step_count, stored.output) == (None, 0, None)
    assert stored.source_id == source.pk
    assert stored.triggered_by == "ann"
    assert Label.objects.filter(run=copy, key="k", value="v").exists()
    drain()
    assert calls == ["a", "a"]  # no step result is reused
    assert reload(copy).status == outcome


def test_the_original_is_untouched_but_for_its_history(end: runs.JobDefinition) -> None:
    source = execute(end, "failed")
    before = Run.objects.values().get()
    steps = list(source.steps.values())
    copy = retrigger(source, actor="ann", reason="again")
    after = Run.objects.filter(pk=source.pk).values().get()
    assert after == before | {"seq": before["seq"] + 1}
    assert list(source.steps.values()) == steps
    assert kinds(source)[-1] == "retriggered"
    assert kinds(copy) == ["triggered"]
    event = source.events.last()
    assert event is not None
    assert (event.actor, event.reason, event.data) == ("ann", "again", {"run": str(copy.pk)})
    check_invariants()


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_run_that_is_not_over_is_a_conflict(
    status: str, end: runs.JobDefinition, worker: HandWorker
) -> None:
    run = end.trigger("completed")
    if status == "running":
        worker.take(run)
    with pytest.raises(ConflictError, match=status):
        retrigger(run)
    assert Run.objects.count() == 1


def test_a_job_that_is_gone_is_not_found(end: runs.JobDefinition) -> None:
    run = execute(end, "completed")
    registry.remove("end")
    with pytest.raises(NotFoundError, match="end"):
        retrigger(run)


def test_a_pending_run_with_its_key_is_a_conflict(end: runs.JobDefinition) -> None:
    source = execute(end, "completed", concurrency_key="c")
    retrigger(source)
    with pytest.raises(ConflictError):
        retrigger(source)
    assert Run.objects.count() == 2
    assert kinds(source).count("retriggered") == 1
    check_invariants()


def test_the_old_input_is_validated_against_today_s_schema() -> None:
    def work(step: Step, payload: Any) -> None:
        pass

    run = execute(job(name="work", input=dict[str, int])(work), {"a": 1})
    registry.remove("work")
    job(name="work", input=Order)(work)
    with pytest.raises(ValidationError, match="order_id"):
        retrigger(run)
    assert Run.objects.count() == 1
    assert kinds(run)[-1] == "completed"


def test_the_link_outlives_the_original(end: runs.JobDefinition) -> None:
    source = execute(end, "completed")
    copy = retrigger(source)
    delete_run(source)
    assert reload(copy).source_id == source.pk


def test_a_run_may_be_run_again_while_the_old_body_of_a_cancelled_one_still_works(
    end: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    source = end.trigger("completed", concurrency_key="c")
    held = worker.take(source)
    cancel(source)
    copy = retrigger(source)
    assert other_worker.claim() is None
    held.release()
    other_worker.take(copy)
