"""What a step or a handler that raises does to its run."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from runs import Step, job
from runs.errors import (
    OpenTransactionError,
)
from runs.models import Run
from runs.testing import drain
from tests.support.engine import (
    HandWorker,
    Held,
    execute,
    raising,
    reload,
    stored_step,
)

pytestmark = pytest.mark.django_db


# Failing


def test_a_raising_body_is_stored_and_its_exception_goes_on(held: Held) -> None:
    error = LookupError("no such order")
    with pytest.raises(LookupError) as caught:
        held.step.run("a", raising(error))
    assert caught.value is error
    stored = stored_step(held, "a")
    assert (stored.status, stored.index, stored.attempts) == ("failed", None, 1)
    assert (stored.error_type, stored.error_message) == ("LookupError", "no such order")
    assert stored.error == "LookupError: no such order"
    assert stored.error_traceback is not None
    assert "in body" in stored.error_traceback
    assert "LookupError: no such order" in stored.error_traceback
    assert Run.objects.get().step_count == 0


def test_the_handler_may_catch_it_and_complete() -> None:
    @job
    def careful(step: Step) -> str:
        try:
            step.run("a", raising(LookupError()))
        except LookupError:
            step.run("b", lambda: None)
        return "fine"

    run = execute(careful)
    assert (run.status, run.output, run.error) == ("completed", "fine", None)


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(5), BaseException("x")],
)
def test_a_body_that_raises_a_base_exception_of_its_own_fails_the_run_type_named(
    error: BaseException,
) -> None:
    @job
    def leave(step: Step) -> None:
        step.run("a", raising(error))

    run = execute(leave)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.startswith(f"{type(error).__name__}: ")
    assert run.error.endswith("(in step a)")
    assert run.steps.get().error_type == type(error).__name__


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_handler_that_raises_a_base_exception_of_its_own_fails_the_run_type_named(
    error: BaseException,
) -> None:
    @job
    def leave(step: Step) -> None:
        raise error

    run = execute(leave)
    assert run.status == "failed"
    assert run.error_type == type(error).__name__
    assert run.error_step is None


def test_any_exception_that_leaves_the_handler_fails_the_run_at_once(worker: HandWorker) -> None:
    @job
    def fail(step: Step) -> None:
        raise ZeroDivisionError("by hand")

    run = execute(fail)
    assert (run.status, run.output, run.attempt) == ("failed", None, 1)
    assert run.error == "ZeroDivisionError: by hand"
    assert run.error_traceback is not None
    assert 'raise ZeroDivisionError("by hand")' in run.error_traceback
    assert run.finished_at is not None
    assert (run.lease_owner, run.lease_expires_at) == (None, None)
    assert worker.claim() is None


def test_the_error_names_the_step_that_failed() -> None:
    @job
    def fail(step: Step) -> None:
        step.run("good", lambda: None)
        step.run("charge", raising(ValueError("no money")))

    run = execute(fail)
    assert run.error == "ValueError: no money (in step charge)"
    assert run.error_step == "charge"


def test_an_earlier_failure_that_was_caught_is_not_blamed() -> None:
    @job
    def fail(step: Step) -> None:
        try:
            step.run("first", raising(LookupError("caught")))
        except LookupError:
            pass
        step.run("second", raising(ValueError("this one")))

    assert execute(fail).error_step == "second"

    @job
    def fail_itself(step: Step) -> None:
        try:
            step.run("first", raising(LookupError("caught")))
        except LookupError:
            pass
        raise ValueError("of the handler's own")

    run = execute(fail_itself)
    assert run.error_step is None
    assert run.error == "ValueError: of the handler's own"


def test_an_error_raised_from_a_step_s_error_names_that_step() -> None:
    @job
    def fail(step: Step) -> None:
        try:
            step.run("first", raising(LookupError("cause")))
        except LookupError as error:
            raise ValueError("consequence") from error

    run = execute(fail)
    assert run.error == "ValueError: consequence (in step first)"
    assert run.error_traceback is not None
    assert "LookupError: cause" in run.error_traceback


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


@pytest.mark.parametrize(
    "error",
    [
        Unprintable(),
        ValueError("a\x00b \ud800"),
        ValueError("x" * 200_000),
        ExceptionGroup("many", [ValueError(str(n)) for n in range(100)]),
        RecursionError(),
    ],
)
def test_any_exception_can_be_stored(error: Exception) -> None:
    @job
    def fail(step: Step) -> None:
        step.run("a", raising(error))

    run = execute(fail)
    assert run.status == "failed"
    assert run.error_type == type(error).__name__
    assert run.error_message is not None
    assert len(run.error_message) < 11_000
    assert run.error_traceback is not None
    assert len(run.error_traceback) < 51_000


# Transactions


@pytest.mark.django_db(transaction=True)
def test_a_step_inside_the_handler_s_own_transaction_is_refused(calls: list[Any]) -> None:
    @job
    def wrap(step: Step) -> None:
        with transaction.atomic():
            step.run("a", calls.append, 1)

    run = execute(wrap)
    assert calls == []
    assert run.error is not None
    assert run.error.startswith("OpenTransactionError: Step 'a'")
    assert "transaction" in run.error


def test_the_refusal_works_also_inside_a_test_case_s_transaction(held: Held) -> None:
    with transaction.atomic(), pytest.raises(OpenTransactionError):
        held.step.run("a", lambda: 1)
    held.step.run("a", lambda: 1)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_inside_the_step_is_fine(django_user_model: Any) -> None:
    @job
    def wrap(step: Step) -> None:
        step.run("a", inside)

    def inside() -> None:
        with transaction.atomic():
            django_user_model.objects.create(username="ann")

    assert execute(wrap).status == "completed"
    assert django_user_model.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["handler", "step", "autocommit"])
def test_a_transaction_left_open_fails_the_run_and_reaches_no_other(
    where: str, django_user_model: Any
) -> None:
    def leave_open() -> None:
        if where == "autocommit":
            transaction.set_autocommit(False)
        else:
            transaction.atomic().__enter__()
        django_user_model.objects.create(username="lost")

    @job
    def careless(step: Step) -> None:
        if where == "handler":
            leave_open()
        else:
            step.run("a", leave_open)

    @job
    def innocent(step: Step) -> None:
        step.run("a", lambda: None)

    run, next_run = careless.trigger(), innocent.trigger()
    drain()
    assert not connection.in_atomic_block
    assert connection.get_autocommit()
    assert reload(run).error_type == "OpenTransactionError"
    assert reload(next_run).status == "completed"
    assert not django_user_model.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_body_that_fails_in_a_transaction_is_stored_as_failed() -> None:
    @job
    def fail(step: Step) -> None:
        step.run("a", body)

    def body() -> None:
        with transaction.atomic():
            raise LookupError("inside")

    run = execute(fail)
    assert run.error == "LookupError: inside (in step a)"
    assert run.steps.get().error == "LookupError: inside"
