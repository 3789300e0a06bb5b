"""Handlers and bodies that raise: things that are no errors, and errors that bite."""

from __future__ import annotations

import asyncio
import functools
import resource
from pathlib import Path
from typing import Any, NoReturn

from runs import AsyncStep, Step
from runs.engine import control
from tests.faults.hostile.table import hostile

TEN_MEGABYTES = 10_000_000


def throw(error: BaseException) -> NoReturn:
    raise error


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Unspeakable(Exception):
    def __str__(self) -> str:
        return 42  # type: ignore[return-value]  # noqa: PLE0307


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


class Equal(Exception):
    """Says of everything that it is the same, and has no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("incomparable")


class NamelessType(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__qualname__"):
            raise AttributeError(name)
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=NamelessType):
    pass


class Traceless(Exception):
    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise ValueError("no traceback")

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise ValueError("no cause")


class Rude(BaseException):
    pass


def with_notes() -> Exception:
    error = ValueError("with notes")
    notes: list[Any] = [object(), Unprintable(), "\ud800\x00"]
    error.__notes__ = notes
    return error


def chain(length: int) -> Exception:
    error = ValueError("the last")
    for number in range(length):
        later = ValueError(f"number {number}")
        later.__cause__, error = error, later
    return error


def circle() -> Exception:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def nest(depth: int) -> Exception:
    error: Exception = ValueError("the innermost")
    for _ in range(depth):
        error = ExceptionGroup("group", [error])
    return error


#: What is raised, made anew for each run, and what the run's error must be.
_ERRORS: dict[str, tuple[Any, str]] = {
    "SystemExit": (lambda: SystemExit(3), "SystemExit: 3"),
    "KeyboardInterrupt": (KeyboardInterrupt, "KeyboardInterrupt: "),
    "GeneratorExit": (GeneratorExit, "GeneratorExit: "),
    "StopIteration": (lambda: StopIteration(1), "StopIteration: 1"),
    "StopAsyncIteration": (StopAsyncIteration, "StopAsyncIteration: "),
    "CancelledError": (asyncio.CancelledError, "CancelledError: "),
    "a BaseException of its own": (lambda: Rude("x"), "Rude: x"),
    "MemoryError": (MemoryError, "MemoryError: "),
    "the engine's own Cancelled": (lambda: control.Cancelled("me"), "Cancelled: me"),
    "the engine's own LeaseLost": (lambda: control.LeaseLost("me"), "LeaseLost: me"),
    "the engine's own HandOver": (lambda: control.HandOver("me"), "HandOver: me"),
    "an error whose text raises": (Unprintable, "Unprintable: <Unprintable whose .*RuntimeError>"),
    "an error whose text is a number": (Unspeakable, "Unspeakable: <Unspeakable .*TypeError>"),
    "an error whose text never ends": (Endless, "Endless: <Endless .*RecursionError>"),
    "an error that can't be compared": (lambda: Equal("x"), "Equal: x"),
    "an error whose type has no name": (Nameless, "<a type without a name>: "),
    "an error without a traceback": (lambda: Traceless("x"), "Traceless: x"),
    "an error of 10 MB": (
        lambda: ValueError("x" * TEN_MEGABYTES),
        r"ValueError: x{10000}… \(9,990,000 more characters cut\)",
    ),
    "an error of binary": (lambda: ValueError("\x00\ud800\xff"), "ValueError: ��ÿ"),
    "an error with notes of anything": (with_notes, "ValueError: with notes"),
    "an error with a thousand causes": (lambda: chain(1000), "ValueError: number 999"),
    "an error with ten thousand causes": (lambda: chain(10_000), "ValueError: number 9999"),
    "an error that caused itself": (circle, "ValueError: one"),
    "groups in groups in groups": (lambda: nest(500), r"ExceptionGroup: group \(1 sub-exception\)"),
    "an error with a name of 10 MB": (
        lambda: type("x" * TEN_MEGABYTES, (Exception,), {})("y"),
        "x{200}: y",
    ),
}


def _raise_in_handler(make: Any, step: Step) -> None:
    throw(make())


def _raise_in_step(make: Any, step: Step) -> None:
    step.run("a", lambda: throw(make()))


def _raise_late(make: Any, step: Step) -> str:
    """The handler survives its step's error, and its next step is as good as new."""
    try:
        step.run("a", lambda: throw(make()))
    except BaseException:
        return step.run("b", str, "well")
    return "not raised"


for _name, (_make, _error) in _ERRORS.items():
    hostile(f"raises {_name}", error=_error)(functools.partial(_raise_in_handler, _make))
    # A reason to stop is none of a step's errors.
    _of_step = "" if "the engine's own" in _name else r" \(in step a\)"
    hostile(f"raises {_name} in a step", error=_error + _of_step)(
        functools.partial(_raise_in_step, _make)
    )
    hostile(f"raises {_name} in a step and goes on", output="well")(
        functools.partial(_raise_late, _make)
    )


@hostile("recurses without end", error="RecursionError: maximum recursion depth exceeded.*")
def recurse(step: Step) -> None:
    recurse(step)


@hostile("asks for more memory than there is", error=r"MemoryError:  \(in step a\)")
def allocate(step: Step) -> None:
    step.run("a", bytearray, 1 << 60)


def eat_memory() -> None:
    """With a limit to what this process may have, or the machine would go down."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + 200_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    eaten = []
    try:
        while True:
            eaten.append(bytearray(1_000_000))
    finally:
        eaten.clear()
        resource.setrlimit(resource.RLIMIT_AS, before)


@hostile("eats all memory", error=r"MemoryError:  \(in step a\)")
def eat(step: Step) -> None:
    step.run("a", eat_memory)


@hostile("raises SystemExit in async code", error="SystemExit: 3")
async def exit_in_async(step: AsyncStep) -> None:
    raise SystemExit(3)


@hostile("raises KeyboardInterrupt in an async step", error=r"KeyboardInterrupt:  \(in step a\)")
async def interrupt_in_async(step: AsyncStep) -> None:
    async def body() -> None:
        raise KeyboardInterrupt

    await step.run("a", body)


@hostile("stops the event loop", error=".*(stopped|completed).*")
async def stop_the_loop(step: AsyncStep) -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.1)


@hostile("closes the event loop", error="RuntimeError: Cannot close a running event loop")
async def close_the_loop(step: AsyncStep) -> None:
    asyncio.get_running_loop().close()
