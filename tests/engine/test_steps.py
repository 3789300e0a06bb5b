"""step.run: once per run and name, checkpointed, resumed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

import runs
from runs import Step, job, retry
from runs.engine import checkpoints, execution
from runs.errors import (
    DuplicateStepError,
    OpenTransactionError,
    RunsError,
    StepResultError,
    ValidationError,
)
from runs.models import Run
from runs.models import Step as StepRow
from tests.faults.invariants import check_invariants
from tests.support.engine import (
    HandWorker,
    Held,
    execute,
    messages,
    raising,
    stored_step,
)

pytestmark = pytest.mark.django_db


def resumed(held: Held) -> Held:
    """The same run in the hands of another worker, after the first one died."""
    dead, successor = HandWorker(), HandWorker("successor")
    dead.id = held.claim.owner
    dead.die()
    found = successor.claim()
    assert found is not None
    assert found.claim.run_id == held.claim.run_id
    return found


# Running


def test_a_step_calls_its_function_with_the_arguments_and_returns_the_result(held: Held) -> None:
    def add(a: int, b: int = 0, *, name: str = "", fn: int = 0) -> dict[str, Any]:
        return {"sum": a + b, "name": name, "fn": fn}

    result = held.step.run("add", add, 1, b=2, name="n", fn=5)
    assert result == {"sum": 3, "name": "n", "fn": 5}


def test_a_completed_step_is_stored_with_index_result_and_times(held: Held) -> None:
    before = datetime.now(UTC)
    held.step.run("a", lambda: [1, {"x": None}])
    stored = stored_step(held, "a")
    assert (stored.index, stored.status, stored.attempts) == (0, "completed", 1)
    assert stored.output == [1, {"x": None}]
    assert stored.error is None
    assert before <= stored.started_at <= stored.finished_at <= datetime.now(UTC)
    run = Run.objects.get()
    assert run.step_count == 1


def test_the_result_is_stored_before_the_next_step_begins(held: Held) -> None:
    held.step.run("a", lambda: 1)
    assert held.step.run("b", lambda: stored_step(held, "a").output) == 1


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
    assert stored_step(held, "a").output == 1


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
    stored = stored_step(held, "a")
    assert (stored.status, stored.attempts, stored.index, stored.output, stored.error) == (
        "completed", 3, 0, "now", None,
    )  # fmt: skip
    with pytest.raises(DuplicateStepError):
        held.step.run("a", lambda: 1)


def test_a_step_that_is_tried_again_gets_a_new_id_and_keeps_its_attempts(held: Held) -> None:
    with pytest.raises(LookupError):
        held.step.run("a", raising(LookupError("not yet")))
    failed = stored_step(held, "a")
    held.step.run("b", lambda: 1)
    held.step.run("a", lambda: 2)
    stored = stored_step(held, "a")
    assert stored.pk > stored_step(held, "b").pk > failed.pk
    assert stored.seq > stored_step(held, "b").seq
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
    assert stored_step(held, name).output == 1
    assert resumed(held).step.run(name, lambda: 2) == 1


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
