"""What a handler returns, and how its run ends."""

from __future__ import annotations

from typing import Any

import pytest

from runs import Step, job
from runs.engine import endings
from runs.models import Run
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import (
    HandWorker,
    execute,
    messages,
    reload,
)

pytestmark = pytest.mark.django_db


# Completion


def test_an_end_whose_commit_s_answer_was_lost_is_the_end(
    worker: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    @job
    def done(step: Step) -> int:
        step.log.info("once")
        return 5

    real, tries = endings.end_run, []

    def finish(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        tries.append(1)
        if len(tries) == 1:
            raise OperationalError("the server went away after the commit")

    monkeypatch.setattr(endings, "end_run", finish)
    run = done.trigger()
    held = worker.take(run)
    held.execute()
    assert reload(run).output == 5
    assert messages(run) == ["once"]
    assert not held.step.cancelled
    check_invariants()


def test_a_run_completes_with_what_the_handler_returns() -> None:
    @job
    def done(step: Step) -> dict[str, int]:
        step.run("a", lambda: None)
        return {"rows": 3}

    run = execute(done)
    assert (run.status, run.output, run.error) == ("completed", {"rows": 3}, None)
    assert run.finished_at is not None
    assert run.started_at is not None
    assert run.finished_at >= run.started_at
    assert (run.lease_owner, run.lease_expires_at, run.due_at) == (None, None, None)
    assert run.steps.count() == 1  # steps stay


def test_returning_nothing_completes_the_run_with_no_output() -> None:
    @job
    def done(step: Step) -> None:
        pass

    run = execute(done)
    assert (run.status, run.output) == ("completed", None)


def test_an_output_that_does_not_fit_the_schema_fails_the_run() -> None:
    @job
    def wrong(step: Step) -> int:
        return step.run("a", lambda: "text")  # type: ignore[return-value]

    run = execute(wrong)
    assert run.status == "failed"
    assert run.error_message is not None
    assert run.error_message.startswith("Invalid output")
    assert run.output is None
    assert run.error_step is None


def test_an_output_that_is_not_json_fails_the_run() -> None:
    @job
    def wrong(step):  # type: ignore[no-untyped-def]
        return object()

    run = execute(wrong)
    assert run.error_message is not None
    assert run.error_message.startswith("Invalid output")
    assert run.error_step is None


def test_the_parsed_output_is_stored() -> None:
    @job(output=dict[str, float])
    def shape(step: Step) -> Any:
        return {"a": "1.5", "b": 2}

    assert execute(shape).output == {"a": 1.5, "b": 2.0}


def test_a_stored_input_that_no_longer_fits_fails_the_run_and_says_so() -> None:
    @job(input=int)
    def count(step: Step, payload: Any) -> None:
        raise AssertionError("never called")

    run = count.trigger(5)
    Run.objects.filter(pk=run.pk).update(input={"old": True})
    drain()
    failed = reload(run)
    assert failed.status == "failed"
    assert failed.error is not None
    assert "input" in failed.error


def test_a_handler_without_an_input_is_called_with_the_step_alone() -> None:
    @job
    def alone(step: Step) -> str:
        return step.job_name

    assert execute(alone).output == "alone"
