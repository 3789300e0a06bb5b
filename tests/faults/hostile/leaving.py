"""Handlers that leave something behind: on their thread, their connection, in their process."""

from __future__ import annotations

import asyncio
import decimal
import functools
import multiprocessing
import os
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.db import connection, connections, transaction
from django.utils import timezone, translation

from runs import AsyncStep, Step
from runs.engine.execution import current_step
from runs.models import Job
from tests.faults.hostile.table import hostile

LEFT: ContextVar[str] = ContextVar("LEFT", default="")

#: Threads that live on when their run is over; the next probe lets them go.
lingering: list[threading.Thread] = []
#: What they found when they went on working.
told: list[str] = []
go_on = threading.Event()

_OPEN = "OpenTransactionError: Job hostile ended with a transaction open.*"
_OPEN_IN_STEP = "OpenTransactionError: Step 'a' left a transaction open.*in step a.*"


def change_a_job() -> None:
    """A write that must not stay."""
    Job.objects.update(title="spoilt")


def open_atomic() -> None:
    transaction.atomic().__enter__()
    change_a_job()


def begin() -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    change_a_job()


def switch_autocommit_off() -> None:
    connection.ensure_connection()
    transaction.set_autocommit(False)
    change_a_job()


def break_a_transaction() -> None:
    """An error inside makes PostgreSQL refuse all that follows."""
    open_atomic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM nowhere")


def _at_the_end(harm: Callable[[], None], step: Step) -> str:
    harm()
    return "done"


def _in_step(harm: Callable[[], None], step: Step) -> str:
    step.run("a", harm)
    return step.run("b", str, "after it")


_TRANSACTIONS = {
    "a transaction open": open_atomic,
    "a plain BEGIN open": begin,
    "autocommit off": switch_autocommit_off,
}

for _what, _harm in _TRANSACTIONS.items():
    hostile(f"leaves {_what}", error=_OPEN)(functools.partial(_at_the_end, _harm))
    hostile(f"leaves {_what} in a step", error=_OPEN_IN_STEP)(functools.partial(_in_step, _harm))


@hostile("leaves a broken transaction open", error=".*nowhere.*")
def leave_broken_transaction(step: Step) -> None:
    break_a_transaction()


@hostile("leaves a broken transaction open in a step", error=".*nowhere.*in step a.*")
def leave_broken_transaction_in_step(step: Step) -> None:
    step.run("a", break_a_transaction)


@hostile("swallows the error of a broken transaction", error=_OPEN)
def swallow_broken_transaction(step: Step) -> None:
    try:
        break_a_transaction()
    except Exception:
        return


def close() -> None:
    connection.close()


def close_all() -> None:
    connections.close_all()


def close_underneath() -> None:
    connection.ensure_connection()
    connection.connection.close()


def cut_the_line() -> None:
    """As the network, or the server, does it."""
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        connection.connection.close()
        return
    with connections.create_connection("default").cursor() as other:
        other.execute(
            "SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid]
        )


def forget_it() -> None:
    connection.connection = None


def make_it_read_only() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("SET default_transaction_read_only = on")


def hide_the_tables() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("CREATE TEMP TABLE runs_run (a)")
        else:
            cursor.execute("SET search_path TO nowhere")


_BREAKS = {
    "closes its connection": close,
    "closes all connections": close_all,
    "closes its connection behind Django's back": close_underneath,
    "has its connection cut": cut_the_line,
    "forgets its connection": forget_it,
    "makes its connection read-only": make_it_read_only,
    "hides the tables from its connection": hide_the_tables,
}

for _what, _harm in _BREAKS.items():
    hostile(f"{_what} in a step", output="after it")(functools.partial(_in_step, _harm))
    hostile(f"{_what} at the end", output="done")(functools.partial(_at_the_end, _harm))


@hostile("leaves settings on its thread", output="done")
def leave_settings(step: Step) -> str:
    LEFT.set("something")
    current_step.set("a step")
    timezone.activate("Asia/Tokyo")
    translation.activate("de")
    decimal.getcontext().prec = 1
    return "done"


@hostile("leaves an event loop and a task of it", output="done")
async def leave_task(step: AsyncStep) -> str:
    asyncio.get_running_loop().create_task(asyncio.sleep(60))
    return "done"


@hostile("leaves a thread that goes on with its steps", output="done")
def leave_stepping_thread(step: Step) -> str:
    def go() -> None:
        go_on.wait(30)
        try:
            step.run("late", told.append, "a late body was executed")
        except BaseException as error:
            told.append(type(error).__name__)
        step.log.info("late line")
        step.progress(1, 1)
        connection.close()

    _leave(go)
    return "done"


@hostile("leaves a thread with a transaction open", output="done")
def leave_writing_thread(step: Step) -> str:
    begun = threading.Event()

    def go() -> None:
        try:
            with transaction.atomic():
                Job.objects.filter(pk="nobody").count()
                begun.set()
                go_on.wait(30)
            told.append("committed")
        finally:
            connection.close()

    if connection.vendor == "sqlite":  # whose one writer must not wait for the probe
        return "done"
    _leave(go)
    begun.wait(10)
    return "done"


def _leave(go: Any) -> None:
    go_on.clear()
    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    lingering.append(thread)


def let_go() -> list[str]:
    """Let the threads that were left behind end; what they have found."""
    go_on.set()
    for thread in lingering:
        thread.join(10)
    lingering.clear()
    found = list(told)
    told.clear()
    return found


@hostile("forks, and the child returns", output="the parent's")
def fork_and_return(step: Step) -> str:
    child = os.fork()
    if child == 0:
        return "the child's"
    os.waitpid(child, 0)
    return "the parent's"


@hostile("forks in a step, and the child goes on with it", output=["the parent's", "b"])
def fork_in_step(step: Step) -> list[str]:
    def fork() -> str:
        child = os.fork()
        if child == 0:
            return "the child's"
        os.waitpid(child, 0)
        return "the parent's"

    return [step.run("a", fork), step.run("b", str, "b")]


@hostile("forks, and the child fails", output="the parent's")
def fork_and_fail(step: Step) -> str:
    child = os.fork()
    if child == 0:
        raise ValueError("in the child")
    os.waitpid(child, 0)
    return "the parent's"


def _count_jobs(answer: Any) -> None:
    answer.send(Job.objects.count() > 0)


@hostile("forks a process that uses the database", output=True)
def fork_process(step: Step) -> bool:
    context: Any = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    Job.objects.count()
    process = context.Process(target=_count_jobs, args=[there])
    process.start()
    process.join(20)
    return bool(here.poll() and here.recv())
