"""History: what happened to a run, and who did it."""

from __future__ import annotations

from typing import Any

import pytest

import runs
from runs import Step, cancel, job, retrigger, retry
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, execute, kinds

pytestmark = pytest.mark.django_db


@pytest.fixture
def work() -> runs.JobDefinition:
    @job
    def work(step: Step, payload: str = "") -> None:
        step.run("a", step.log.info, "line")
        if payload == "fail" and step.attempt == 1:
            raise LookupError("gone")

    return work


def test_each_change_is_one_event_with_its_actor(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    run = work.trigger("fail", actor="ann")
    worker.take(run)
    worker.die()
    other_worker.take(run).execute()
    retry(run, actor="bob", reason="try again")
    held = worker.take(run)
    held.hand_over()
    cancel(run, actor="eve", reason="enough")
    retrigger(run, actor="joe", reason="from scratch")
    found = [(event.kind, event.actor, event.reason) for event in run.events.all()]
    assert found == [
        ("triggered", "ann", ""),
        ("started", "worker", ""),
        ("taken_over", "other worker", ""),
        ("failed", "other worker", ""),
        ("retried", "bob", "try again"),
        ("started", "worker", ""),
        ("handed_back", "worker", ""),
        ("cancelled", "eve", "enough"),
        ("retriggered", "joe", "from scratch"),
    ]
    assert list(run.events.order_by("seq")) == list(run.events.order_by("id"))
    assert list(run.events.order_by("created_at")) == list(run.events.order_by("id"))
    check_invariants()


def test_the_failure_is_told_in_short(work: runs.JobDefinition) -> None:
    run = execute(work, "fail")
    event = run.events.get(kind="failed")
    assert event.data["step"] is None
    assert event.data["error"] == "LookupError: gone"


def test_a_repeated_run_says_which_it_repeats(work: runs.JobDefinition) -> None:
    run = execute(work, "")
    copy = retrigger(run)
    assert copy.events.get().data == {"source": str(run.pk)}


def test_events_are_few(work: runs.JobDefinition) -> None:
    assert kinds(execute(work, "")) == ["triggered", "started", "completed"]


def test_steps_lines_and_events_share_one_gapless_count() -> None:
    @job
    def talk(step: Step) -> None:
        for number in range(4):
            step.log.info("before")
            step.run(f"s{number}", step.log.info, "inside")
        with pytest.raises(ZeroDivisionError):
            step.run("fails", lambda: 1 / 0)
        step.log.info("end")

    run = execute(talk)
    numbers = sorted(
        [
            *run.steps.values_list("seq", flat=True),
            *run.logs.values_list("seq", flat=True),
            *run.events.values_list("seq", flat=True),
        ]
    )
    assert numbers == list(range(1, run.seq + 1))
    assert len(numbers) == 3 + 5 + 9


def test_a_text_that_could_not_be_stored_is_cleaned(work: runs.JobDefinition) -> None:
    run = work.trigger("", actor="a\x00\ud800")
    cancel(run, actor="x" * 500, reason="why\x00")
    first, last = run.events.all()
    assert first.actor == "a\ufffd\ufffd"
    assert (last.actor, last.reason) == ("x" * 200, "why\ufffd")


def test_a_user_is_named_by_the_user_name(work: runs.JobDefinition, django_user_model: Any) -> None:
    ann = django_user_model.objects.create_user("ann")
    run = work.trigger("", actor=ann)
    cancel(run, actor=ann)
    assert set(run.events.values_list("actor", flat=True)) == {"ann"}


def test_nobody_in_particular_is_named_too(work: runs.JobDefinition) -> None:
    run = work.trigger("")
    cancel(run, actor="")
    assert "" not in set(run.events.values_list("actor", flat=True))
    drain()
