"""Handlers that log, report and name what nobody can store."""

from __future__ import annotations

import math
from typing import Any

from runs import Step
from tests.faults.hostile.raising import Unprintable
from tests.faults.hostile.returning import cycle, nest
from tests.faults.hostile.table import hostile


class Lines(list[Any]):
    """Has a length that is none."""

    def __len__(self) -> int:
        raise SystemExit("from len()")

    def __iter__(self) -> Any:
        raise KeyboardInterrupt


@hostile("logs binary", log=r"�PNG�.*")
def log_binary(step: Step) -> None:
    step.log.info(b"\x89PNG\x00\xff".decode("latin-1").replace("\x89", "\ud800"), {})


@hostile("logs bytes", log=r"b'\\x89PNG\\x00' .*'unstorable': True.*")
def log_bytes(step: Step) -> None:
    step.log.info(b"\x89PNG\x00", {"raw": b"\x00\xff"})  # type: ignore[arg-type]


@hostile("logs 10 MB", log=r"x{20000}… \(9,980,000 more characters cut\).*")
def log_much(step: Step) -> None:
    step.log.info("x" * 10_000_000, {"data": "y" * 10_000_000})


@hostile("logs what has no text", log="<Unprintable whose text can't be made: RuntimeError> .*")
def log_unprintable(step: Step) -> None:
    step.log.error(Unprintable(), Unprintable())  # type: ignore[arg-type]


@hostile("logs data that no JSON holds", log=".*'unstorable': True.*")
def log_anything(step: Step) -> None:
    for data in (cycle(), nest(10_000), math.nan, {1: 2}, {"a": object()}, Lines(), Step):
        step.log.warning("data", {"data": data})


@hostile("logs more lines than the buffer holds", log="line 10999 None")
def log_many(step: Step) -> None:
    for number in range(11_000):
        step.log.info(f"line {number}")  # noqa: G004


@hostile("reports progress that is no number", log="")
def report_anything(step: Step) -> None:
    for value in (math.nan, math.inf, 10**5000, "half", None, cycle(), Unprintable(), Lines()):
        step.progress(value, value, value)  # type: ignore[arg-type]


@hostile("reports progress a hundred thousand times", output=99_999)
def report_often(step: Step) -> int:
    for number in range(100_000):
        step.progress(number, 100_000, "x" * 1000)
    return number


@hostile("names steps as nobody can", output="refused refused refused refused refused refused")
def name_steps(step: Step) -> str:
    names: list[Any] = ["", "x" * 501, "\x00", "\ud800", None, Unprintable()]
    said: list[str] = []
    body: Any = said.append
    for name in names:
        try:
            step.run(name, body, "executed")
        except Exception as error:
            said.append("refused" if type(error).__name__ == "ValidationError" else repr(error))
    return " ".join(said)


@hostile("calls a step with what can't be called", error=r"TypeError: 'int' object .*in step a\)")
def call_a_number(step: Step) -> None:
    step.run("a", 42)  # type: ignore[call-overload]
