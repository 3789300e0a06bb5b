"""The jobs that are measured. Imported by the processes of a measurement only."""

from __future__ import annotations

import time

from runs import Step, job

#: How long a step of ``waiting`` takes.
WAIT_SECONDS = 0.05


def same(number: int) -> int:
    """A step that does nothing."""
    return number


def moment() -> float:
    """A step that says when it ran."""
    return time.time()


@job(name="bench-baseline")
def baseline(step: Step) -> None:
    """Never executed: its runs are the rows that the baseline writes to."""


@job(name="bench-steps")
def steps(step: Step, count: int) -> float:
    """Many steps; the seconds that they took."""
    began = time.perf_counter()
    for number in range(count):
        step.run(f"step-{number:05}", same, number)
    return time.perf_counter() - began


@job(name="bench-three")
def three(step: Step, number: int) -> int:
    """Three steps."""
    first = step.run("first", same, number)
    second = step.run("second", same, first + 1)
    return step.run("third", same, second + 1)


@job(name="bench-pickup")
def pickup(step: Step) -> float:
    """The time of the first step."""
    return step.run("first", moment)


@job(name="bench-resume")
def resume(step: Step, count: int) -> float:
    """Many steps, then one that fails in the first attempt; the time of that one."""
    for number in range(count):
        step.run(f"step-{number:05}", same, number)
    if step.attempt == 1:
        raise InterruptedError("as planned")
    return step.run("new", moment)


@job(name="bench-progress")
def progress(step: Step, count: int) -> float:
    """A tight loop that reports progress; the seconds that it took."""
    began = time.perf_counter()
    for number in range(count):
        step.progress(number + 1, count)
    return time.perf_counter() - began


@job(name="bench-log")
def log(step: Step, count: int) -> float:
    """A tight loop that logs; the seconds that it took."""
    began = time.perf_counter()
    for number in range(count):
        step.log.info(f"line {number}")  # noqa: G004 (a line of the run's log)
    return time.perf_counter() - began


@job(name="bench-waiting")
def waiting(step: Step, _: int) -> None:
    """Three steps that wait, as for an answer of another system."""
    for name in ("first", "second", "third"):
        step.run(name, time.sleep, WAIT_SECONDS)


@job(name="bench-followed")
def followed(step: Step, seconds: float) -> None:
    """Two steps a second, for so many seconds, each with its progress."""
    for number in range(round(seconds * 2)):
        step.run(f"step-{number:05}", time.sleep, 0.5)
        step.progress(number + 1, round(seconds * 2))
