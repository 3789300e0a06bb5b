"""Where the type of a step's result is looked for."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from pydantic import BaseModel

from runs.errors import StepResultError
from tests.engine.results import resume
from tests.support.engine import Held

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeChecking

pytestmark = pytest.mark.django_db

T = TypeVar("T")


def typed(value: str) -> Decimal:
    return Decimal(value)


async def typed_async(value: str) -> Decimal:
    return Decimal(value)


def decorated(fn: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> T:
        return fn(*args, **kwargs)

    return wrapper


class Maker:
    def make(self, value: str) -> Decimal:
        return Decimal(value)

    @classmethod
    def make_class(cls, value: str) -> Decimal:
        return Decimal(value)

    @staticmethod
    def make_static(value: str) -> Decimal:
        return Decimal(value)

    def __call__(self, value: str) -> Decimal:
        return Decimal(value)


@pytest.mark.parametrize(
    "fn",
    [
        typed,
        typed_async,
        functools.partial(typed),
        functools.partial(functools.partial(typed)),
        decorated(typed),
        Maker().make,
        Maker.make_class,
        Maker.make_static,
        Maker(),
        functools.partial(Maker().make),
    ],
    ids=lambda fn: getattr(fn, "__qualname__", type(fn).__name__),
)
def test_the_annotation_is_found_behind_wrappers(held: Held, fn: Callable[..., Any]) -> None:
    assert held.step.run("a", fn, "1.10") == Decimal("1.10")
    result = resume(held).step.run("a", fn, "1.10")
    assert type(result) is Decimal


def test_a_local_class_of_the_handler_is_an_annotation(held: Held) -> None:
    class Local(BaseModel):
        when: date

    def make() -> Local:
        return Local(when=date(2026, 1, 2))

    assert held.step.run("a", make) == Local(when=date(2026, 1, 2))
    assert type(resume(held).step.run("a", make)) is Local


def only_checked() -> OnlyForTypeChecking:
    return 5  # type: ignore[return-value]


def broken_union() -> list[int] | "Unknown":  # type: ignore[name-defined]  # noqa: F821, UP037
    return [5]


def not_a_type() -> 5:  # type: ignore[valid-type]
    return 5


def awaitable() -> Awaitable[int]:
    async def make() -> int:
        return 5

    return make()


@pytest.mark.parametrize("fn", [only_checked, not_a_type, awaitable])
def test_an_annotation_that_says_nothing_counts_as_none(held: Held, fn: Callable[..., Any]) -> None:
    assert held.step.run("a", fn) == 5
    assert resume(held).step.run("a", fn) == 5


def test_an_annotation_that_can_not_even_be_evaluated_counts_as_none(held: Held) -> None:
    assert held.step.run("a", broken_union) == [5]


def test_builtins_and_classes_are_functions_too(held: Held) -> None:
    assert held.step.run("a", len, [1, 2]) == 2
    assert held.step.run("b", max, 1, 5) == 5
    assert held.step.run("c", dict, a=1) == {"a": 1}
    assert held.step.run("d", "x".upper) == "X"
    assert held.step.run("e", OrderedDict, a=1) == {"a": 1}


def test_a_lambda_returns_json(held: Held) -> None:
    assert held.step.run("a", lambda: [1]) == [1]


def count() -> Iterator[int]:
    yield 1


def test_a_generator_is_no_result(held: Held) -> None:
    with pytest.raises(StepResultError, match="generator"):
        held.step.run("a", count)


def test_a_value_typed_as_anything_is_json(held: Held) -> None:
    def any_value() -> Any:
        return [1]

    def an_object() -> object:
        return [1]

    assert held.step.run("a", any_value) == [1]
    assert held.step.run("b", an_object) == [1]
