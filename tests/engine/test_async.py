"""Async handlers and async step functions."""

# step.log takes a message and data; to ruff it looks like a logger.
# ruff: noqa: G004

from __future__ import annotations

import asyncio
import contextvars
from datetime import date
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from pydantic import BaseModel

from runs import AsyncStep, Step, cancel, job, retry
from runs.models import Run
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, execute, messages, reload

pytestmark = pytest.mark.django_db(transaction=True)


class Day(BaseModel):
    day: date


@pytest.fixture
def calls() -> list[Any]:
    return []


async def double(value: int) -> int:
    await asyncio.sleep(0)
    return value * 2


def test_an_async_handler_awaits_its_steps() -> None:
    @job
    async def compute(step: AsyncStep, payload: Day) -> dict[str, Any]:
        assert isinstance(step, AsyncStep)
        a = await step.run("async", double, 2)
        b = await step.run("plain", lambda: 5)
        return {"sum": a + b, "day": payload.day.isoformat(), "job": step.job_name}

    run = execute(compute, {"day": "2026-01-02"})
    assert run.error is None
    assert run.output == {"sum": 9, "day": "2026-01-02", "job": "compute"}
    assert list(run.steps.values_list("name", "index")) == [("async", 0), ("plain", 1)]


def test_a_sync_handler_may_run_async_functions_in_steps() -> None:
    @job
    def compute(step: Step) -> int:
        return step.run("async", double, 4) + step.run("lambda", lambda: double(1))

    assert execute(compute).output == 10


def test_a_typed_result_keeps_its_type_in_an_async_handler() -> None:
    seen: list[Any] = []

    async def make() -> Day:
        return Day(day=date(2026, 1, 2))

    @job
    async def compute(step: AsyncStep) -> None:
        seen.append(await step.run("a", make))

    execute(compute)
    assert seen == [Day(day=date(2026, 1, 2))]


def test_a_plain_function_in_an_async_handler_may_use_the_orm() -> None:
    @job
    async def count(step: AsyncStep) -> int:
        return await step.run("count", Run.objects.count)

    assert execute(count).output == 1


def test_log_and_progress_may_be_awaited_or_not() -> None:
    @job
    async def talk(step: AsyncStep) -> None:
        step.log.info("not awaited", {"a": 1})
        await step.log.warning("awaited")
        await step.log.error("bad")
        step.progress(1, 2)
        await step.progress(2, 2, "done")
        await step.raise_if_cancelled()

    run = execute(talk)
    assert run.error is None
    assert messages(run) == ["not awaited", "awaited", "bad"]
    assert [line.level for line in run.logs.all()] == ["info", "warn", "error"]
    assert run.progress == {"current": 2, "total": 2, "message": "done"}


def test_concurrent_steps_of_one_handler_are_all_stored_and_logs_name_the_right_one() -> None:
    async def work(step: AsyncStep, number: int) -> int:
        await asyncio.sleep(0.001 * (5 - number))
        step.log.info(f"in {number}")
        await asyncio.sleep(0.001)
        step.log.info(f"still in {number}")
        return number

    @job
    async def fan_out(step: AsyncStep) -> list[int]:
        step.log.info("outside")
        return list(await asyncio.gather(*[step.run(f"s{n}", work, step, n) for n in range(5)]))

    run = execute(fan_out)
    assert run.output == [0, 1, 2, 3, 4]
    for line in run.logs.exclude(message="outside"):
        assert line.step == f"s{line.message[-1]}"
    assert run.logs.get(message="outside").step is None
    check_invariants()


def test_one_name_in_two_concurrent_steps_is_refused_before_the_body_runs(
    calls: list[Any],
) -> None:
    async def work(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0.01)
        return number

    @job
    async def fan_out(step: AsyncStep) -> list[str]:
        found = await asyncio.gather(
            step.run("a", work, 1), step.run("a", work, 2), return_exceptions=True
        )
        return [type(result).__name__ for result in found]

    assert execute(fan_out).output == ["int", "DuplicateStepError"]
    assert calls == [1]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_failing_step_of_an_async_handler_is_stored_and_goes_on(is_async: bool) -> None:
    async def fail_async() -> None:
        raise LookupError("gone")

    def fail() -> None:
        raise LookupError("gone")

    @job
    async def handle(step: AsyncStep) -> str:
        try:
            await step.run("a", fail_async if is_async else fail)
        except LookupError as error:
            return f"caught {error}"
        return "missed"

    run = execute(handle)
    assert run.output == "caught gone"
    assert run.steps.get().error == "LookupError: gone"


def test_an_async_handler_is_resumed_by_a_retry(calls: list[Any]) -> None:
    async def body(name: str) -> str:
        calls.append(name)
        if name == "b" and calls.count("b") == 1:
            raise LookupError
        return name

    @job
    async def handle(step: AsyncStep) -> str:
        return "".join([await step.run(name, body, name) for name in ("a", "b", "c")])

    run = execute(handle)
    assert run.error_step == "b"
    retry(run)
    drain()
    assert reload(run).output == "abc"
    assert calls == ["a", "b", "b", "c"]


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(2),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        StopIteration(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["async step", "plain step", "handler", "sync handler"])
@pytest.mark.timeout(20)
def test_a_base_exception_of_its_own_fails_the_run(error: BaseException, where: str) -> None:
    async def leave() -> None:
        raise error

    def leave_plain() -> None:
        raise error

    @job
    async def handle(step: AsyncStep) -> None:
        if where == "handler":
            raise error
        await step.run("a", leave if where == "async step" else leave_plain)

    @job
    def handle_sync(step: Step) -> None:
        step.run("a", leave)

    run = execute(handle_sync if where == "sync handler" else handle)
    assert run.status == "failed"
    name = type(error).__name__
    # In a coroutine, Python itself turns StopIteration into a RuntimeError.
    assert run.error_type == (name if name != "StopIteration" else "RuntimeError")
    assert run.error is not None
    assert name in run.error
    if where != "handler" and name != "CancelledError":  # which names nobody's fault
        assert run.error_step == "a"


@pytest.mark.parametrize("way", ["plain", "gather", "task group"])
@pytest.mark.timeout(20)
def test_a_cancel_ends_an_async_handler_whatever_it_swallows(way: str, calls: list[Any]) -> None:
    async def body(name: str, step: AsyncStep) -> None:
        calls.append(name)
        if name == "a":
            await sync_to_async(cancel)(step.run_id)

    @job
    async def stubborn(step: AsyncStep) -> str:
        try:
            if way == "plain":
                await step.run("a", body, "a", step)
            elif way == "gather":
                await asyncio.gather(step.run("a", body, "a", step), return_exceptions=True)
            else:
                async with asyncio.TaskGroup() as group:
                    group.create_task(step.run("a", body, "a", step))
        except BaseException:
            pass
        try:
            await step.run("b", body, "b", step)
        except BaseException:
            pass
        return "made it"

    run = execute(stubborn)
    assert calls == ["a"]
    assert (run.status, run.output) == ("cancelled", None)
    assert not run.steps.exists()
    check_invariants()


def test_context_variables_reach_the_step_s_function() -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")

    async def read_async() -> str:
        return tenant.get()

    @job
    async def handle(step: AsyncStep) -> list[str]:
        tenant.set("acme")
        return [await step.run("a", tenant.get), await step.run("b", read_async)]

    @job
    def handle_sync(step: Step) -> list[str]:
        tenant.set("acme")
        return [step.run("a", tenant.get), step.run("b", read_async)]

    assert execute(handle).output == ["acme", "acme"]
    assert execute(handle_sync).output == ["acme", "acme"]


def test_an_async_handler_leaves_no_transaction_open_to_the_next_run() -> None:
    @job
    async def careless(step: AsyncStep) -> None:
        await step.run("a", transaction.set_autocommit, False)

    run = execute(careless)
    assert run.error_type == "OpenTransactionError"
    assert connection.get_autocommit()


def test_an_async_run_is_handed_over_between_its_steps(
    worker: HandWorker, calls: list[Any]
) -> None:
    async def body(name: str) -> None:
        calls.append(name)
        held.execution.handing_over = True

    @job
    async def handle(step: AsyncStep) -> None:
        for name in ("a", "b"):
            await step.run(name, body, name)

    run = handle.trigger()
    held = worker.take(run)
    held.execute()
    assert calls == ["a"]
    assert (reload(run).status, reload(run).lease_owner) == ("running", None)
    drain()
    assert calls == ["a", "b"]
    assert reload(run).status == "completed"
