"""A write that is committed and whose answer is lost: tried again, it changes nothing more.

With a real server and a connection that breaks: ``tests/faults/test_lost_answers.py``.
"""

# step.log takes a message and data; to ruff it looks like a logger.
# ruff: noqa: G004

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError

from runs import Step, job
from runs.engine import database, persistence
from runs.engine.database import Hot
from runs.engine.endings import Ending
from runs.engine.failures import Failure
from runs.engine.operations import cancel
from runs.models import Run
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, Held, messages

pytestmark = pytest.mark.django_db


@pytest.fixture
def held(worker: HandWorker) -> Held:
    @job
    def by_hand(step: Step) -> None:
        pass

    return worker.take(by_hand.trigger())


@pytest.fixture
def run(held: Held) -> Run:
    return Run.objects.get(pk=held.claim.run_id)


class Answers:
    """How many of the next transactions are committed without an answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lost = 0
        self._write = database.hot_write
        monkeypatch.setattr(database, "hot_write", self._or_silence)
        # Of a test case's transaction, the connection must not be dropped.
        monkeypatch.setattr(database, "drop_broken_connection", lambda: None)
        monkeypatch.setattr(persistence, "_RETRY_DELAYS", (0.001, 0.001))

    @contextmanager
    def _or_silence(self, **options: Any) -> Iterator[Hot]:
        with self._write(**options) as hot:
            yield hot
        if self.lost:
            self.lost -= 1
            raise OperationalError("the connection is lost")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


def fails(text: str) -> None:
    raise RuntimeError(text)


def test_lines_are_stored_once(held: Held, run: Run, answers: Answers) -> None:
    held.step.log.info("a")
    held.step.log.info("b")
    answers.lost = 1
    held.execution.flush()
    held.step.log.info("c")
    held.execution.flush()
    assert messages(run) == ["a", "b", "c"]
    check_invariants()


def test_lines_are_stored_once_whatever_writes_them_next(
    held: Held, run: Run, answers: Answers
) -> None:
    for number in range(2):
        held.step.log.info(f"before {number}")
        answers.lost = 1
        held.execution.flush()
        held.step.log.info(f"between {number}")
        held.step.run(f"step {number}", str)
    held.step.log.info("last")
    answers.lost = 1
    held.execution.flush()
    held.execute()
    assert messages(run) == ["before 0", "between 0", "before 1", "between 1", "last"]
    check_invariants()


def test_lines_that_are_lost_indeed_are_stored(
    held: Held, run: Run, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.step.log.info("same")
    held.execution.flush()
    held.step.log.info("same")
    with monkeypatch.context() as away:
        away.setattr(database, "hot_write", no_database)
        held.execution.flush()
        held.execution.flush()
    held.execution.flush()
    assert messages(run) == ["same", "same"]
    check_invariants()


def no_database(**_: Any) -> Any:
    raise OperationalError("away")


def test_an_answer_may_be_lost_again(held: Held, run: Run, answers: Answers) -> None:
    for text in "abc":
        held.step.log.info(text)
        answers.lost = 1
        held.execution.flush()
        # This time the answer to the question whether they are there.
        answers.lost = 1
        held.execution.flush()
    held.execution.flush()
    assert messages(run) == ["a", "b", "c"]
    check_invariants()


def test_a_checkpoint_is_stored_once_with_its_lines(held: Held, run: Run, answers: Answers) -> None:
    held.step.log.info("before")
    answers.lost = 1
    assert held.step.run("a", lambda: 1) == 1
    held.step.log.info("after")
    held.execute()
    assert messages(run) == ["before", "after"]
    run.refresh_from_db()
    assert (run.status, run.step_count) == ("completed", 1)
    check_invariants()


def test_so_is_a_step_that_fails_again_and_again(held: Held, run: Run, answers: Answers) -> None:
    for attempt in range(3):
        held.step.log.info(f"attempt {attempt}")
        answers.lost = 1
        with pytest.raises(RuntimeError):
            held.step.run("a", fails, "as planned")
    assert held.step.run("a", lambda: 1) == 1
    assert messages(run) == ["attempt 0", "attempt 1", "attempt 2"]
    assert run.steps.get().attempts == 4
    check_invariants()


def test_lines_of_a_checkpoint_are_stored_once_also_if_the_run_is_cancelled_meanwhile(
    held: Held, run: Run, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.engine.persistence.time.sleep", lambda _: cancel(run.pk))

    def body() -> None:
        held.step.log.info("in the step")
        answers.lost = 1

    @job
    def cancelled(step: Step) -> None:
        held.step.run("a", body)

    held.claim.job = cancelled.name
    held.execute()
    assert messages(run) == ["in the step"]
    check_invariants()


@pytest.mark.parametrize("ending", [Ending(), Ending(failure=Failure("X", "y", "z"))])
def test_a_run_ends_once(held: Held, run: Run, answers: Answers, ending: Ending) -> None:
    held.step.log.info("last words")
    answers.lost = 1
    held.execution.finish(ending)
    run.refresh_from_db()
    assert run.status == ("failed" if ending.failure else "completed")
    assert messages(run) == ["last words"]
    check_invariants()
