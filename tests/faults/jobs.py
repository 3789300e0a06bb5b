"""The jobs of these tests, found by the workers that they start."""

from __future__ import annotations

import ctypes
import decimal
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, TypedDict

from django.db import connection, transaction
from django.utils import timezone, translation

from runs import AsyncStep, Step, job
from runs.engine import database
from runs.engine.execution import current_step
from runs.models import Job
from tests.faults.hostile import HOSTILE
from tests.faults.hostile.leaving import LEFT, let_go
from tests.support.crashapp.jobs import note, witnessed


@job(name="hostile")
def hostile(step: Step, name: str) -> Any:
    """Do what that row of the table does."""
    return HOSTILE[name].handler(step)


@job(name="hostile-async")
async def hostile_async(step: AsyncStep, name: str) -> Any:
    """The same in async code."""
    return await HOSTILE[name].handler(step)


@job(name="probe")
def probe(step: Step) -> dict[str, Any]:
    """What a run finds on its thread; the same each time, whatever was there before it."""
    told = let_go()
    try:
        return {"told": told, "thread": threading.get_ident(), **_surroundings(step)}
    finally:
        step.log.info("probed")


def _surroundings(step: Step) -> dict[str, Any]:
    found = {
        "open": database.in_callers_transaction(),
        "step": current_step.get(),
        "left": LEFT.get(),
        "zone": timezone.get_current_timezone_name(),
        "language": translation.get_language(),
        "precision": decimal.getcontext().prec,
        "titles": step.run("titles", _titles),
        "autocommit": connection.get_autocommit(),
    }
    with transaction.atomic():
        found["written"] = Job.objects.filter(pk="probe").update(title="by the probe")
        transaction.set_rollback(True)
    return found


def _titles() -> list[str]:
    return sorted(Job.objects.filter(name__in=("probe", "hostile")).values_list("title", flat=True))


def _compute(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def _hash(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1_000_000)


def _sleep_in_c(seconds: float) -> None:
    ctypes.CDLL(None).usleep(int(seconds * 1_000_000))


def _wait_for_a_process(seconds: float) -> None:
    subprocess.run(["sleep", str(seconds)], check=True)


#: What bodies do for so many seconds that let other threads have the interpreter.
SLOW: dict[str, Callable[[float], None]] = {
    "sleeps": time.sleep,
    "computes in Python": _compute,
    "computes in C": _hash,
    "sleeps in C": _sleep_in_c,
    "waits for a process": _wait_for_a_process,
}


@job(name="slow")
def slow(step: Step, payload: tuple[str, float]) -> list[str]:
    """Take long in the first of two steps; the output is the token of each body."""
    how, seconds = payload
    with witnessed(step):
        return [
            step.run("step-0", _slow_body, step, "step-0", how, seconds),
            step.run("step-1", _slow_body, step, "step-1", how, 0),
        ]


def _slow_body(step: Step, name: str, how: str, seconds: float) -> str:
    token = uuid.uuid4().hex
    note("start", step, name, token=token)
    SLOW[how](seconds)
    note("end", step, name, token=token)
    return token


def _overflow() -> None:
    """The interpreter's stack, which a recursion limit protects otherwise."""
    sys.setrecursionlimit(10**9)
    json.loads("[" * 10**7)


#: What ends the process, without any farewell.
KILLERS: dict[str, Callable[[], object]] = {
    "exits with 0": lambda: os._exit(0),
    "exits with 3": lambda: os._exit(3),
    "kills itself, as the kernel does when memory is short": lambda: os.kill(
        os.getpid(), signal.SIGKILL
    ),
    "aborts": os.abort,
    "reads where nothing is": lambda: ctypes.string_at(0),
    "overflows the stack": _overflow,
}


@job(name="killer")
def killer(step: Step, how: str) -> None:
    """Take the process with it, in its second step."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    step.run("first", str)
    step.run("second", KILLERS[how])


class Talk(TypedDict):
    """So many lines, with a pause after each, in seconds; every so many have a witness."""

    lines: int
    pause: float
    every: int


@job(name="talker")
def talker(step: Step, payload: Talk) -> None:
    """Log lines with numbers, witnessed just before they are logged."""
    step.run("talk", _talk, step, payload)


def _talk(step: Step, talk: Talk) -> None:
    for number in range(talk["lines"]):
        if number % talk["every"] == 0:
            note("logs", step, number=number)
        step.log.info("line", {"number": number})
        time.sleep(talk["pause"])


class Toil(TypedDict):
    """So many steps, each of which takes so long and logs so many lines."""

    steps: int
    seconds: float
    lines: int
    #: The first attempt fails, before its last step.
    fails: bool


@job(name="toil")
def toil(step: Step, payload: Toil) -> list[str]:
    """Honest work; the output is the token of each body."""
    done = []
    for number in range(payload["steps"]):
        if payload["fails"] and step.attempt == 1 and number == payload["steps"] - 1:
            raise RuntimeError("as planned")
        name = f"part-{number}"
        done.append(step.run(name, _part, step, name, payload))
        step.progress(number + 1, payload["steps"])
    return done


def _part(step: Step, name: str, work: Toil) -> str:
    token = uuid.uuid4().hex
    note("start", step, name, token=token)
    for line in range(work["lines"]):
        step.log.info("at work", {"line": line})
    time.sleep(work["seconds"])
    return token


def _race(step: Step) -> str:
    return step.run("a", str, "done")


racer = job(name="racer")(_race)
other_racer = job(name="other-racer")(_race)
third_racer = job(name="third-racer")(_race)

RACERS = (racer, other_racer, third_racer)
JOBS = (hostile, hostile_async, probe, slow, killer, talker, toil, *RACERS)
