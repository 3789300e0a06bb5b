"""Same value, the first time and every time: what step.run returns is the checkpoint."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import pytest
from pydantic import BaseModel, field_validator
from pytest_django import Settings

from runs import Step, job
from runs.errors import DuplicateStepError, StepResultError
from runs.models import Step as StepRow
from tests.engine.results import never, resume, returning, typed_never
from tests.support.engine import HandWorker, Held, execute

pytestmark = pytest.mark.django_db

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Rank(enum.IntEnum):
    FIRST = 1


class Address(BaseModel):
    street: str
    since: date


@dataclass
class Money:
    amount: Decimal
    currency: str = "EUR"
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Frozen:
    when: datetime


class Point(NamedTuple):
    x: int
    y: float


class Shape(TypedDict):
    corners: list[tuple[int, int]]


class Box(BaseModel, Generic[T]):
    item: T


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Small(BaseModel):
    a: int


class Large(Small):
    b: int = 2


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (datetime, datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)),
        (date, date(2026, 1, 2)),
        (timedelta, timedelta(days=1, microseconds=5)),
        (Decimal, Decimal("1.10")),
        (uuid.UUID, uuid.UUID(int=7)),
        (Path, Path("a/b")),
        (bytes, b"\xff\x00\x80"),
        (list[bytes], [b"\xff", b""]),
        (Colour, Colour.RED),
        (Rank, Rank.FIRST),
        (tuple[int, str], (1, "a")),
        (tuple[int, ...], (1, 2, 3)),
        (set[int], {1, 2}),
        (frozenset[str], frozenset({"a"})),
        (dict[int, date], {1: date(2026, 1, 2)}),
        (Address, Address(street="s", since=date(2026, 1, 2))),
        (list[Address], [Address(street="s", since=date(2026, 1, 2))]),
        (Address | None, None),
        (Address | None, Address(street="s", since=date(2026, 1, 2))),
        (Money, Money(Decimal("9.99"), tags={"a"})),
        (Frozen, Frozen(datetime(2026, 1, 2, tzinfo=UTC))),
        (Point, Point(1, 2.5)),
        (Shape, {"corners": [(1, 2)]}),
        (Box[Decimal], Box[Decimal](item=Decimal("1.5"))),
        (Node, Node(value=1, children=[Node(value=2)])),
        (type(None), None),
        (bool, False),
        (int, 10**25),
        (float, 1e16),
        (str, "\x00 ä 😀"),
    ],
)
def test_an_annotated_result_keeps_its_type_at_first_and_on_replay(
    held: Held, annotation: Any, value: Any
) -> None:
    first = held.step.run("a", returning(value, annotation))
    second = resume(held).step.run("a", typed_never(annotation))
    for result in (first, second):
        assert result == value
        assert type(result) is type(value)


@pytest.mark.parametrize(
    "value",
    [None, True, 5, 1.5, "text", [1, [2]], {"a": {"b": [None]}}, 10**30, 1e16, -0.0, "\u2028\x00"],
)
def test_json_needs_no_annotation(held: Held, value: Any) -> None:
    first = held.step.run("a", returning(value))
    second = resume(held).step.run("a", never)
    assert first == second == value
    assert type(first) is type(second) is type(value)


def test_the_first_result_is_the_decoded_checkpoint_not_the_object_itself(held: Held) -> None:
    value: dict[str, list[int]] = {"a": [1]}
    first = held.step.run("a", returning(value))
    assert first == value
    assert first is not value
    first["a"].append(2)
    assert resume(held).step.run("a", never) == {"a": [1]}


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 1, tzinfo=UTC), Decimal(1), {1, 2}, (1, 2), {1: "a"}, b"x", object(),
        float("nan"), [float("inf")], {"a": (1,)}, Money(Decimal(1)), print, Address, 1j,
        {None: 1}, {"a": {1: 2}}, Colour.RED,
    ],
)  # fmt: skip
def test_what_is_not_json_fails_the_step_and_says_which_type_and_what_to_do(
    held: Held, value: Any
) -> None:
    with pytest.raises(StepResultError) as caught:
        held.step.run("the step", returning(value))
    text = str(caught.value)
    assert "'the step'" in text
    assert type(value).__name__ in text
    assert "annotate" in text
    stored = StepRow.objects.get()
    assert (stored.status, stored.error_type) == ("failed", "StepResultError")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "5"),
        (str, 5),
        (list[int], [1, "x"]),
        (Address, {"street": "s"}),
        (float, float("nan")),
        (float | None, float("inf")),
        (Small, Large(a=1)),  # its `b` would be lost
        (type(None), 1),
        (dict[str, Any], {"a": (1,)}),
        (list, [datetime(2026, 1, 1, tzinfo=UTC)]),
        (str, "\ud800"),
    ],
)
def test_a_value_that_does_not_come_back_as_it_was_is_refused(
    held: Held, annotation: Any, value: Any
) -> None:
    with pytest.raises(StepResultError, match=r"'a'"):
        held.step.run("a", returning(value, annotation))


class Picky(BaseModel):
    value: str

    @field_validator("value")
    @classmethod
    def look_up(cls, value: str) -> str:
        return {"known": "known"}[value]  # a KeyError is no ValueError


class EvilEquality:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("can't compare")

    __hash__ = None  # type: ignore[assignment]


def test_whatever_a_type_raises_fails_the_step_as_a_result_that_can_not_be_stored(
    held: Held,
) -> None:
    with pytest.raises(StepResultError, match="'a'"):
        held.step.run("a", returning(Picky.model_construct(value="other"), Picky))
    assert StepRow.objects.get().error_type == "StepResultError"


def test_a_value_whose_comparison_raises_is_refused(held: Held) -> None:
    class Dict(dict[str, int]):
        __eq__ = EvilEquality.__eq__
        __hash__ = None

    with pytest.raises(StepResultError, match="'a'"):
        held.step.run("a", returning(Dict(a=1)))


def test_after_a_refused_result_the_name_may_be_tried_again(held: Held) -> None:
    with pytest.raises(StepResultError):
        held.step.run("a", returning({1, 2}))
    assert held.step.run("a", returning([1, 2])) == [1, 2]


def test_a_refused_result_fails_the_run_naming_the_step() -> None:
    @job
    def wrong(step: Step) -> None:
        step.run("a", returning(object()))

    run = execute(wrong)
    assert (run.status, run.error_type, run.error_step) == ("failed", "StepResultError", "a")


def test_a_result_above_the_limit_is_refused(held: Held, settings: Settings) -> None:
    settings.MAX_RESULT_BYTES = 100
    small = HandWorker()
    held.execution.max_result = 100
    held.step.run("fits", returning("x" * 98))
    for number, value in enumerate(("x" * 99, "ä" * 50)):
        with pytest.raises(StepResultError, match="MAX_RESULT_BYTES"):
            held.step.run(f"large-{number}", returning(value))
    assert small.claim() is None


def test_an_output_above_the_limit_fails_the_run(settings: Settings) -> None:
    settings.MAX_RESULT_BYTES = 100

    @job
    def large(step: Step) -> str:
        return "x" * 99

    run = execute(large)
    assert run.error is not None
    assert "MAX_RESULT_BYTES" in run.error


def test_a_stored_value_that_no_longer_fits_is_an_error_and_never_runs_again_on_its_own(
    held: Held,
) -> None:
    held.step.run("a", returning("text", str))
    again = resume(held)
    with pytest.raises(StepResultError, match=r"'a'"):
        again.step.run("a", typed_never(int))
    assert StepRow.objects.get().output == "text"
    with pytest.raises((StepResultError, DuplicateStepError)):
        again.step.run("a", typed_never(int))


def test_a_stored_value_whose_type_raises_anything_is_a_step_result_error(held: Held) -> None:
    held.step.run("a", returning({"value": "other"}))
    with pytest.raises(StepResultError, match=r"'a'"):
        resume(held).step.run("a", typed_never(Picky))


def test_what_is_stored_reads_as_json_values(held: Held) -> None:
    held.step.run("a", returning(Money(Decimal("1.5"), tags={"x"}), Money))
    assert StepRow.objects.get().output == {"amount": "1.5", "currency": "EUR", "tags": ["x"]}
