"""step.run: once per run and name, checkpointed, resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, transaction

import runs
from runs import Step, job, retry
from runs.engine import checkpoints, endings, execution
from runs.errors import (
    DuplicateStepError,
    OpenTransactionError,
    RunsError,
    StepResultError,
    ValidationError,
)
from runs.models import Run
from runs.models import Step as StepRow
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, Held, execute, messages, reload

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls() -> list[Any]:
    return []


@pytest.fixture
def held(worker: HandWorker) -> Held:
    """A run just claimed, for tests that call the step object themselves."""

    @job
    def by_hand(step: Step) -> None:
        pass

    return worker.take(by_hand.trigger(labels={"tenant": "acme"}))


def resumed(held: Held) -> Held:
    """The same run in the hands of another worker, after the first one died."""
    dead, successor = HandWorker(), HandWorker("successor")
    dead.id = held.claim.owner
    dead.die()
    found = successor.claim()
    assert found is not None
    assert found.claim.run_id == held.claim.run_id
    return found


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def row(held: Held, name: str) -> StepRow:
    return StepRow.objects.get(run=held.claim.run_id, name=name)


# Running


def test_a_step_calls_its_function_with_the_arguments_and_returns_the_result(held: Held) -> None:
    def add(a: int, b: int = 0, *, name: str = "", fn: int = 0) -> dict[str, Any]:
        return {"sum": a + b, "name": name, "fn": fn}

    result = held.step.run("add", add, 1, b=2, name="n", fn=5)
    assert result == {"sum": 3, "name": "n", "fn": 5}


def test_a_completed_step_is_stored_with_index_result_and_times(held: Held) -> None:
    before = datetime.now(UTC)
    held.step.run("a", lambda: [1, {"x": None}])
    stored = row(held, "a")
    assert (stored.index, stored.status, stored.attempts) == (0, "completed", 1)
    assert stored.output == [1, {"x": None}]
    assert stored.error is None
    assert before <= stored.started_at <= stored.finished_at <= datetime.now(UTC)
    run = Run.objects.get()
    assert run.step_count == 1


def test_the_result_is_stored_before_the_next_step_begins(held: Held) -> None:
    held.step.run("a", lambda: 1)
    assert held.step.run("b", lambda: row(held, "a").output) == 1


def test_on_resume_a_completed_step_returns_its_result_without_a_call(
    held: Held, calls: list[Any]
) -> None:
    def work() -> dict[str, int]:
        calls.append("work")
        return {"a": 1}

    first = held.step.run("a", work)
    again = resumed(held)
    assert again.step.run("a", work) == first == {"a": 1}
    assert calls == ["work"]
    assert StepRow.objects.count() == 1
    assert Run.objects.get().step_count == 1


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_none_false_zero_and_empty_are_results_like_any_other(
    held: Held, value: Any, calls: list[Any]
) -> None:
    def work() -> Any:
        calls.append(1)
        return value

    first = held.step.run("a", work)
    second = resumed(held).step.run("a", work)
    assert first == value
    assert second == value
    assert type(first) is type(second) is type(value)
    assert calls == [1]


def test_steps_match_by_name_alone(held: Held, calls: list[Any]) -> None:
    def work(name: str) -> str:
        calls.append(name)
        return name

    for name in ("a", "b", "c"):
        held.step.run(name, str, name)
    again = resumed(held)
    for name in ("new", "c", "a", "also new"):
        assert again.step.run(name, work, name) == name
    assert calls == ["new", "also new"]


def test_indexes_are_the_order_of_first_completion_without_gaps_also_after_a_resume(
    held: Held,
) -> None:
    for name in ("a", "b"):
        held.step.run(name, lambda: None)
    with pytest.raises(LookupError):
        held.step.run("fails", raising(LookupError()))
    held.step.run("c", lambda: None)
    again = resumed(held)
    for name in ("c", "d", "a", "fails", "e"):
        again.step.run(name, lambda: None)
    found = dict(StepRow.objects.values_list("name", "index"))
    assert found == {"a": 0, "b": 1, "c": 2, "d": 3, "fails": 4, "e": 5}
    check_invariants()


def test_the_run_shows_the_step_that_it_is_in(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "SHOWN_AFTER", 0)

    def look() -> str | None:
        held.execution.flush()
        return Run.objects.get().current_step

    assert held.step.run("a", look) == "a"
    held.execution.flush()
    assert Run.objects.get().current_step is None


def test_a_step_that_has_just_begun_costs_no_write_to_show_it(held: Held) -> None:
    def look() -> str | None:
        held.execution.flush()
        return Run.objects.get().current_step

    def outer() -> str | None:
        held.execution._running["outer"] -= execution.SHOWN_AFTER
        return held.step.run("inner", look)

    assert held.step.run("short", look) is None
    assert held.step.run("outer", outer) == "outer", "not the one in it, which has just begun"


def test_storing_one_checkpoint_twice_changes_nothing(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a commit got lost, and the checkpoint is tried again."""
    from django.db import OperationalError

    real = checkpoints.put_step
    tries: list[Any] = []

    def put_step(*args: Any) -> None:
        tries.append(args)
        real(*args)
        if len(tries) == 1:
            raise OperationalError("the server went away after the commit")

    monkeypatch.setattr(checkpoints, "put_step", put_step)
    held.step.log.info("before")
    assert held.step.run("a", lambda: 5) == 5
    assert held.step.run("b", lambda: 6) == 6
    assert list(StepRow.objects.values_list("name", "index")) == [("a", 0), ("b", 1)]
    held.execution.flush()
    assert messages(Run.objects.get()) == ["before"]
    check_invariants()


# Names


def test_a_second_step_of_one_name_is_refused_before_its_body_runs(
    held: Held, calls: list[Any]
) -> None:
    held.step.run("a", lambda: 1)
    with pytest.raises(DuplicateStepError, match="'a'"):
        held.step.run("a", lambda: calls.append("again"))
    assert calls == []
    assert row(held, "a").output == 1


def test_a_name_of_a_replayed_step_is_refused_too(held: Held) -> None:
    held.step.run("a", lambda: 1)
    again = resumed(held)
    again.step.run("a", lambda: 1)
    with pytest.raises(DuplicateStepError):
        again.step.run("a", lambda: 1)


def test_a_duplicate_name_fails_the_run(calls: list[Any]) -> None:
    @job
    def twice(step: Step) -> None:
        step.run("a", calls.append, 1)
        step.run("a", calls.append, 2)

    run = execute(twice)
    assert run.status == "failed"
    assert calls == [1]
    assert run.error is not None
    assert run.error.startswith("DuplicateStepError: ")
    assert "'a'" in run.error
    assert str(run.pk) in run.error


def test_a_step_may_not_use_the_name_of_the_one_it_is_in(held: Held) -> None:
    with pytest.raises(DuplicateStepError):
        held.step.run("a", lambda: held.step.run("a", lambda: 1))


def test_after_a_failed_step_its_name_may_be_tried_again_in_the_same_attempt(held: Held) -> None:
    for _ in range(2):
        with pytest.raises(LookupError):
            held.step.run("a", raising(LookupError("not yet")))
    assert held.step.run("a", lambda: "now") == "now"
    stored = row(held, "a")
    assert (stored.status, stored.attempts, stored.index, stored.output, stored.error) == (
        "completed", 3, 0, "now", None,
    )  # fmt: skip
    with pytest.raises(DuplicateStepError):
        held.step.run("a", lambda: 1)


def test_a_step_that_is_tried_again_gets_a_new_id_and_keeps_its_attempts(held: Held) -> None:
    with pytest.raises(LookupError):
        held.step.run("a", raising(LookupError("not yet")))
    failed = row(held, "a")
    held.step.run("b", lambda: 1)
    held.step.run("a", lambda: 2)
    stored = row(held, "a")
    assert stored.pk > row(held, "b").pk > failed.pk
    assert stored.seq > row(held, "b").seq
    assert (stored.attempts, stored.index) == (2, 1)
    assert StepRow.objects.filter(run=held.claim.run_id).count() == 2


@pytest.mark.parametrize("name", ["", None, 5, "n" * 501, "a\x00b", "\ud800"])
def test_a_name_that_can_not_be_one_is_refused(held: Held, name: Any, calls: list[Any]) -> None:
    with pytest.raises(ValidationError, match=r"[Ss]tep"):
        held.step.run(name, lambda: calls.append(1))
    assert calls == []


@pytest.mark.parametrize("name", ["n" * 500, "ä 😀", "a/b: 'c' \"d\" %s {x}", " "])
def test_any_other_text_is_a_name(held: Held, name: str) -> None:
    held.step.run(name, lambda: 1)
    assert row(held, name).output == 1
    assert resumed(held).step.run(name, lambda: 2) == 1


# Failing


def test_a_raising_body_is_stored_and_its_exception_goes_on(held: Held) -> None:
    error = LookupError("no such order")
    with pytest.raises(LookupError) as caught:
        held.step.run("a", raising(error))
    assert caught.value is error
    stored = row(held, "a")
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


# Nesting


def test_steps_nest_and_the_inner_is_stored_first(held: Held, calls: list[Any]) -> None:
    def outer() -> int:
        calls.append("outer")
        return held.step.run("inner", inner) + 1

    def inner() -> int:
        calls.append("inner")
        return 1

    assert held.step.run("outer", outer) == 2
    assert dict(StepRow.objects.values_list("name", "index")) == {"inner": 0, "outer": 1}
    again = resumed(held)
    assert again.step.run("outer", lambda: calls.append("never")) == 2
    assert calls == ["outer", "inner"]


def test_an_inner_step_that_is_done_is_replayed_inside_an_outer_that_is_not(held: Held) -> None:
    with pytest.raises(LookupError):
        held.step.run(
            "outer", lambda: (held.step.run("inner", lambda: 7), raising(LookupError())())
        )
    again = resumed(held)
    assert again.step.run("outer", lambda: again.step.run("inner", lambda: 99)) == 7


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


# Who am I


def test_the_step_knows_its_run(held: Held) -> None:
    run = Run.objects.get()
    assert held.step.run_id == run.pk
    assert held.step.attempt == 1
    assert held.step.job_name == "by-hand"
    assert held.step.labels == {"tenant": "acme"}
    assert held.step.cancelled is False
    held.step.raise_if_cancelled()


def test_attempts_count_retries_not_recoveries_or_hand_overs(held: Held) -> None:
    again = resumed(held)
    assert again.step.attempt == 1
    again.hand_over()
    third = HandWorker().take()
    assert third.step.attempt == 1
    runs.cancel(third.claim.run_id)
    third.release()
    retry(third.claim.run_id)
    assert HandWorker().take().step.attempt == 2


def test_changing_the_labels_of_the_step_changes_nothing(held: Held) -> None:
    labels: Any = held.step.labels
    try:
        labels["x"] = "y"
    except TypeError:
        pass  # a read-only view would do as well
    assert held.step.labels == {"tenant": "acme"}


@pytest.mark.parametrize(
    "name",
    ["options", "sleep", "sleep_until", "wait_for", "invoke", "map", "transaction", "all"],
)
def test_what_comes_later_does_not_exist_yet(held: Held, name: str) -> None:
    assert not hasattr(held.step, name)
    assert not hasattr(runs.AsyncStep(held.execution), name)


def test_step_errors_are_errors_of_this_package(held: Held) -> None:
    for error in (DuplicateStepError, StepResultError, OpenTransactionError):
        assert issubclass(error, RunsError)


def test_a_result_that_comes_when_the_run_was_cancelled_is_dropped(held: Held) -> None:
    from runs.engine.control import Cancelled

    def body() -> int:
        runs.cancel(held.claim.run_id)
        return 1

    with pytest.raises(Cancelled):
        held.step.run("a", body)
    assert not StepRow.objects.exists()


def test_resuming_reads_all_steps_with_one_query(
    held: Held, django_assert_num_queries: Any
) -> None:
    for number in range(30):
        held.step.run(f"s{number}", lambda: 1)
    again = resumed(held)
    with django_assert_num_queries(0):
        for number in range(30):
            again.step.run(f"s{number}", lambda: 2)


def test_threads_of_a_step_body_do_not_disturb_it(held: Held) -> None:
    def body() -> int:
        found: list[int] = []
        thread = threading.Thread(target=found.append, args=(5,))
        thread.start()
        thread.join()
        return found[0]

    assert held.step.run("a", body) == 5
