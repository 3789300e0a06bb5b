"""Jobs that leave evidence outside the engine, and misbehave where their plan says so."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from runs import AsyncStep, Step, job
from runs.engine import database
from tests.support.crashapp import killing

Steps = Step | AsyncStep


class StepPlan(BaseModel):
    """What the body of one step does, in this order."""

    #: Only the first body of this step does the rest; later ones return at once.
    first_only: bool = False
    #: In an async job: on the event loop, which nothing else gets meanwhile.
    on_the_loop: bool = False
    #: Forks a child that lives for a minute, and writes its id into this file.
    forks: str = ""
    seconds: float = 0
    #: Waits until this file exists.
    waits_for: str = ""
    #: Waits until the run is cancelled, as `step.cancelled` tells.
    until_cancelled: bool = False
    #: Keeps the interpreter's lock until somebody writes to this FIFO.
    holds_gil: str = ""
    #: Leaves a thread behind that lives for so many seconds.
    leaves_thread: float = 0
    #: Ends the process, without any farewell.
    exits: bool = False
    #: Fails.
    raises: bool = False


class Plan(BaseModel):
    steps: list[StepPlan]


@job(name="crash-plan")
def crash_plan(step: Step, plan: Plan) -> list[str]:
    """One step after the other; the output is the token of each body that counted."""
    with witnessed(step):
        return [
            step.run(f"step-{number}", perform, step, f"step-{number}", part)
            for number, part in enumerate(plan.steps)
        ]


@job(name="crash-plan-async")
async def crash_plan_async(step: AsyncStep, plan: Plan) -> list[str]:
    """The same in an async handler."""
    with witnessed(step):
        return [
            await step.run(
                f"step-{number}",
                perform_on_the_loop if part.on_the_loop else perform,
                step,
                f"step-{number}",
                part,
            )
            for number, part in enumerate(plan.steps)
        ]


JOBS = (crash_plan, crash_plan_async)

killing.install_if_told()


def perform(step: Steps, name: str, plan: StepPlan) -> str:
    """A body: evidence of its start, what the plan says, evidence of its end."""
    token = uuid.uuid4().hex
    harmless = plan.first_only and _started_before(step, name)
    note("start", step, name, token=token)
    if not harmless:
        _misbehave(step, plan)
    note("end", step, name, token=token)
    return token


async def perform_on_the_loop(step: AsyncStep, name: str, plan: StepPlan) -> str:
    """The same, and it awaits nothing."""
    return perform(step, name, plan)


def _misbehave(step: Steps, plan: StepPlan) -> None:
    if plan.forks:
        _fork(Path(plan.forks))
    time.sleep(plan.seconds)
    while plan.waits_for and not Path(plan.waits_for).exists():
        time.sleep(0.01)
    while plan.until_cancelled and not step.cancelled:
        time.sleep(0.01)
    if plan.holds_gil:
        # Not while another thread is in the middle of a write: SQLite would stay locked for all.
        with database._sqlite_writer:
            # PyDLL, unlike CDLL, keeps the interpreter's lock during the call.
            ctypes.PyDLL(None).open(plan.holds_gil.encode(), os.O_RDONLY)
    if plan.leaves_thread:
        threading.Thread(target=time.sleep, args=(plan.leaves_thread,), daemon=False).start()
    if plan.exits:
        os._exit(42)
    if plan.raises:
        raise RuntimeError("as planned")


def _fork(file: Path) -> None:
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    file.write_text(str(child))


@contextmanager
def witnessed(step: Steps) -> Iterator[None]:
    """Evidence of the handler's begin and end, and of how it ended."""
    note("enter", step)
    try:
        yield
    except BaseException as error:
        note("leave", step, how=type(error).__name__)
        raise
    note("leave", step, how="return")


def note(event: str, step: Steps, name: str | None = None, **more: Any) -> None:
    """Append a line; one write to a file opened for appending, so lines don't mix."""
    line = {
        "event": event,
        "run": str(step.run_id),
        "step": name,
        "attempt": step.attempt,
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        # One clock for all processes of a machine.
        "at": time.clock_gettime(time.CLOCK_MONOTONIC),
        "clock": time.time(),
        **more,
    }
    file = os.open(_evidence(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


def _started_before(step: Steps, name: str) -> bool:
    path = _evidence()
    if not path.exists():
        return False
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return any(
        line["event"] == "start" and line["run"] == str(step.run_id) and line["step"] == name
        for line in lines
    )


def _evidence() -> Path:
    return Path(os.environ["CRASH_EVIDENCE"])
