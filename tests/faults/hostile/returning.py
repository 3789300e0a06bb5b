"""Handlers and bodies that return what can't be kept, or what bites whoever looks at it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

from runs import Step
from tests.faults.hostile.table import hostile


def cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def nest(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


class Incomparable(dict[str, int]):
    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("incomparable")

    __hash__ = None


class Undecided(dict[str, int]):
    """Compares like an array: neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return Vague()

    __hash__ = None


class Vague:
    def __bool__(self) -> bool:
        raise ValueError("the truth of this is ambiguous")


class Exiting(dict[str, int]):
    def items(self) -> Any:
        raise SystemExit("from items()")


class Cut(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


def generate() -> Iterator[int]:
    yield 1


async def sleep() -> None: ...


_CAN_NOT = "StepResultError: The result of step 'a', an? {type}, can't be stored: {why}"

#: What is returned, the type that the error names, and why it can't be kept.
_UNSTORABLE: dict[str, tuple[Callable[[], Any], str, str]] = {
    "a cycle": (cycle, "list", "Circular reference detected"),
    "NaN": (lambda: math.nan, "float", "it holds NaN or an infinite number"),
    "an infinite number": (lambda: [-math.inf], "list", "it holds NaN or an infinite number"),
    "ten thousand lists in one another": (
        lambda: nest(10_000), "list", "it is nested too deeply",
    ),
    "a whole number of 10,000 digits": (lambda: 10**9_999, "int", "Exceeds the limit"),
    "bytes": (lambda: b"\xff\x00", "bytes", "Object of type bytes"),
    "an object": (object, "object", "Object of type object"),
    "a generator": (generate, "generator", "Object of type generator"),
    "a set": (lambda: {1}, "set", "Object of type set"),
    "a value with keys that are no texts": (lambda: {1: 2}, "dict", "it comes back from JSON"),
    "a tuple": (lambda: (1, 2), "tuple", "it comes back from JSON"),
    "a value that can't be compared": (Incomparable, "Incomparable", ".*incomparable"),
    "a value that compares as neither": (Undecided, "Undecided", ".*ambiguous"),
    "a text that is never equal": (lambda: Cut("x"), "Cut", "it comes back from JSON"),
}  # fmt: skip


def _return_from_step(make: Callable[[], Any], step: Step) -> None:
    step.run("a", lambda: make())  # noqa: PLW0108 (which has no annotations)


def _return_from_handler(make: Callable[[], Any], step: Step) -> Any:
    return make()


for _name, (_make, _type, _why) in _UNSTORABLE.items():
    hostile(
        f"returns {_name} from a step",
        error=_CAN_NOT.format(type=_type, why=_why) + r".* \(in step a\)",
    )(functools.partial(_return_from_step, _make))
    hostile(
        f"returns {_name}",
        error=f"InvalidOutputError: Invalid output of hostile: (it )?{_why.removeprefix('it ')}.*",
    )(functools.partial(_return_from_handler, _make))


@hostile("returns 11 MB from a step", error=".*11,000,002 bytes; MAX_RESULT_BYTES.*in step a.*")
def return_much_from_step(step: Step) -> None:
    step.run("a", lambda: "x" * 11_000_000)


@hostile("returns 11 MB", error="InvalidOutputError: .*11,000,002 bytes; MAX_RESULT_BYTES.*")
def return_much(step: Step) -> str:
    return "x" * 11_000_000


@hostile("returns lone surrogates and NUL", output="\ud800\x00\udfff")
def return_surrogates(step: Step) -> str:
    return step.run("a", lambda: "\ud800\x00\udfff")


@hostile("returns what exits when it is looked at", error=r"SystemExit: from items\(\).*")
def return_exiting(step: Step) -> None:
    step.run("a", lambda: Exiting(a=1))


@hostile("returns a coroutine that nobody awaits", error="InvalidOutputError: .*coroutine.*")
def return_coroutine(step: Step) -> Any:
    return sleep()


@hostile("returns its own step object", error="InvalidOutputError: .*Step is not JSON.*")
def return_step(step: Step) -> Any:
    return step


@hostile("changes a result in place", output=[[1], [1, 2]])
def change_result(step: Step) -> Any:
    kept = [1]
    found = step.run("a", lambda: kept)
    found.append(2)
    return [kept, found]
