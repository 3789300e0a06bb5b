"""@job: what it takes from the function, and what it refuses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import runs
from runs import AsyncStep, JobDefinition, Step, get_job, job
from runs.errors import JobDefinitionError, NotFoundError, RunsError, ValidationError
from runs.registry import registry
from tests.jobs.fake_step import FakeStep
from tests.support.engine import execute

pytestmark = pytest.mark.django_db


class Order(BaseModel):
    order_id: str


@dataclass
class Receipt:
    total: int = 0


def test_a_bare_decorator_takes_everything_from_the_function() -> None:
    @job
    def process_big_order(step: Step, payload: Order) -> Receipt:
        """Charge an order.

        And confirm it.
        """
        return Receipt()

    assert isinstance(process_big_order, JobDefinition)
    assert process_big_order.name == "process-big-order"
    assert process_big_order.title == "Process big order"
    assert process_big_order.description == "Charge an order.\n\nAnd confirm it."
    assert process_big_order.priority == 0
    assert process_big_order.tags == ()
    assert process_big_order.input_schema["properties"].keys() == {"order_id"}
    assert process_big_order.output_schema["properties"].keys() == {"total"}
    assert process_big_order.is_async is False
    assert get_job("process-big-order") is process_big_order


def test_options_win_over_the_function() -> None:
    @job(
        name="other.name_2",
        title="Other",
        input=Order,
        output=int,
        tags=["billing", "daily"],
        priority=-5,
    )
    def something(step: Step, payload: dict[str, str]) -> str:
        return 5  # type: ignore[return-value]

    assert (something.name, something.title, something.priority) == ("other.name_2", "Other", -5)
    assert something.tags == ("billing", "daily")
    run = execute(something, {"order_id": "o"})
    assert run.output == 5
    with pytest.raises(ValidationError, match="order_id"):
        something.trigger({})


def test_brackets_without_options_change_nothing() -> None:
    @job()
    def work(step: Step) -> None:
        pass

    assert work.name == "work"


def test_without_annotations_any_json_will_do() -> None:
    @job
    def anything(step, payload):  # type: ignore[no-untyped-def]
        return payload

    assert anything.input_schema == {}
    assert anything.output_schema == {}
    assert execute(anything, {"a": [1]}).output == {"a": [1]}


def test_an_async_function_is_a_job() -> None:
    @job
    async def work(step: AsyncStep) -> int:
        return 1

    assert work.is_async
    assert execute(work).output == 1


@pytest.mark.parametrize(
    "option",
    ["retries", "backoff", "timeout", "max_concurrency", "schedule", "retain_for", "nonsense"],
)
def test_an_option_that_would_be_ignored_is_refused(option: str) -> None:
    decorate: Any = job
    with pytest.raises(TypeError, match=option):
        decorate(**{option: 3})


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "-a", ".a", "ä", "a" * 201, "a\n"])
def test_a_name_that_can_not_stand_in_an_address_is_refused(name: str) -> None:
    with pytest.raises(JobDefinitionError, match="test_job_definition"):

        @job(name=name)
        def work(step: Step) -> None:
            pass

    assert registry.get(name) is None


@pytest.mark.parametrize("priority", [1.5, "1", None, True, 100_000])
def test_a_priority_must_be_a_small_whole_number(priority: Any) -> None:
    with pytest.raises(JobDefinitionError, match="priority"):

        @job(priority=priority)
        def work(step: Step) -> None:
            pass


@pytest.mark.parametrize("tags", ["billing", [1]], ids=str)
def test_tags_are_a_list_of_texts(tags: Any) -> None:
    with pytest.raises(JobDefinitionError, match="tags"):

        @job(tags=tags)
        def work(step: Step) -> None:
            pass


def test_a_handler_without_a_step_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match="step"):

        @job
        def work() -> None:
            pass


def test_an_unusable_type_is_an_error_that_names_job_and_place() -> None:
    class Unknown:
        pass

    @job(input=Unknown)
    def work(step: Step, payload: Any) -> None:
        pass

    with pytest.raises(JobDefinitionError) as caught:
        work.trigger({})
    assert "work" in str(caught.value)
    assert "test_job_definition.py" in str(caught.value)
    assert "input" in str(caught.value)


# Two definitions


def test_two_functions_of_one_name_are_an_error_that_names_both_places() -> None:
    @job(name="twin")
    def first(step: Step) -> None:
        pass

    with pytest.raises(JobDefinitionError) as caught:

        @job(name="twin")
        def second(step: Step) -> None:
            pass

    text = str(caught.value)
    assert "twin" in text
    assert text.count("tests/engine/test_job_definition.py:") == 2
    assert get_job("twin") is first


def test_the_same_function_imported_twice_is_no_error() -> None:
    def define() -> JobDefinition:
        @job
        def same(step: Step) -> None:
            pass

        return same

    first = define()
    second = define()
    assert first.source == second.source
    assert get_job("same").source == first.source


def decorated(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def test_a_handler_behind_a_decorator_is_told_from_another_behind_the_same() -> None:
    def make_first() -> Any:
        def work(step: Step) -> str:
            return "first"

        return work

    def make_second() -> Any:
        def work(step: Step) -> str:
            return "second"

        work.__qualname__ = make_first().__qualname__
        return work

    job(decorated(make_first()))
    with pytest.raises(JobDefinitionError, match="Two jobs"):
        job(decorated(make_second()))


def test_a_handler_behind_a_decorator_of_another_module_keeps_its_types_and_place() -> None:
    from tests.support.decorators import traced

    seen: list[Any] = []

    @job
    @traced
    def work(step: Step, payload: Order) -> Receipt:
        seen.append(payload)
        return Receipt(total=3)

    assert "test_job_definition.py" in work.source
    assert execute(work, {"order_id": "o"}).output == {"total": 3}
    assert seen == [Order(order_id="o")]


# Lookup and call


def test_an_unknown_name_is_not_found_and_the_known_ones_are_named() -> None:
    with pytest.raises(NotFoundError) as caught:
        get_job("no-such-job")
    assert "no-such-job" in str(caught.value)
    assert "slow-report" in str(caught.value)


def test_call_runs_the_bare_handler_with_a_validated_input() -> None:
    @job
    def work(step: Any, payload: Order) -> Receipt:
        step.log.info("called")
        return Receipt(total=len(payload.order_id))

    step = FakeStep()
    assert work.call(step, {"order_id": "abc"}) == Receipt(total=3)
    assert work.call(step, Order(order_id="ab")) == Receipt(total=2)
    with pytest.raises(ValidationError, match="order_id"):
        work.call(step, {})
    assert not runs.models.Run.objects.exists()


def test_call_runs_an_async_handler_too() -> None:
    @job
    async def work(step: AsyncStep, payload: int) -> int:
        return payload + 1

    assert work.call(None, 4) == 5


def test_the_version_of_the_code_changes_with_its_source() -> None:
    @job
    def one(step: Step) -> int:
        return 1

    @job
    def two(step: Step) -> int:
        return 2

    assert one.code_version != two.code_version
    assert execute(one).code_version == one.code_version


def test_what_job_authors_import_is_there() -> None:
    for name in (
        "job", "Step", "JobDefinition", "get_job", "wait_for_run", "trigger", "retry",
        "retrigger", "cancel", "delete_run", "purge_runs", "BatchItem",
    ):  # fmt: skip
        assert name in runs.__all__
        assert callable(getattr(runs, name))
        assert name in dir(runs)
    with pytest.raises(AttributeError, match="nonsense"):
        runs.nonsense  # noqa: B018


def test_the_errors_carry_status_and_code() -> None:
    from runs import errors

    promised = {
        "ValidationError": (400, "invalid-input"),
        "PermissionDeniedError": (403, "forbidden"),
        "NotFoundError": (404, "not-found"),
        "ConflictError": (409, "conflict"),
        "RunFailedError": (409, "run-failed"),
        "RunCancelledError": (409, "run-cancelled"),
        "WaitTimeoutError": (504, "wait-timeout"),
        "DuplicateStepError": (500, "duplicate-step"),
        "StepResultError": (500, "step-result"),
    }
    for name, (status, code) in promised.items():
        error = getattr(errors, name)
        assert issubclass(error, RunsError)
        assert (error.status, error.code) == (status, code)
        assert str(error("about x")) == "about x"
    everything = [e for e in vars(errors).values() if isinstance(e, type)]
    found = [e for e in everything if issubclass(e, RunsError)]
    assert len({error.code for error in found}) == len(found)
