"""Cases that once went wrong: threads that runs share, hooks that write, odd callables."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection, transaction

import runs
from runs import AsyncStep, Step, job, retrigger, retry, signals
from runs.engine import control
from runs.errors import JobDefinitionError
from runs.models import Label
from runs.models import Step as StepRow
from runs.registry import registry
from tests.support.engine import HandWorker, execute, messages, reload


@pytest.mark.django_db(transaction=True)
def test_the_end_of_a_run_leaves_alone_a_thread_that_another_run_uses(worker: HandWorker) -> None:
    pool = ThreadPoolExecutor(1)
    begun, go_on = threading.Event(), threading.Event()

    @job
    def work(step: Step) -> None:
        pool.submit(step.run, "a", lambda: 1).result()

    @job
    def write(step: Step) -> None:
        pool.submit(step.run, "b", write_slowly).result()

    def write_slowly() -> str:
        with transaction.atomic():
            Label.objects.create(run=first, key="k", value="v")
            begun.set()
            assert go_on.wait(10)
        return "written"

    first, second = work.trigger(), write.trigger()
    held = worker.take(first)
    pool.submit(held.step.run, "a", lambda: 1).result(10)
    other = worker.take(second)
    body = threading.Thread(target=other.execute)
    body.start()
    assert begun.wait(10)
    held.execution.connections.close()  # as at its end
    go_on.set()
    body.join(10)
    pool.shutdown()
    assert reload(second).status == "completed"
    assert Label.objects.filter(run=first, key="k").exists()


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_triggers_a_follow_up_can(worker: HandWorker) -> None:
    @job
    def work(step: Step) -> None: ...

    @job
    def follow_up(step: Step) -> None: ...

    run = execute(work)

    def trigger_follow_up(**kwargs: Any) -> None:
        if kwargs["job"] == "work":
            follow_up.trigger()

    signals.run_triggered.connect(trigger_follow_up)
    done = threading.Thread(target=retrigger, args=[run], daemon=True)
    try:
        done.start()
        done.join(10)
    finally:
        signals.run_triggered.disconnect(trigger_follow_up)
    assert not done.is_alive()
    assert follow_up.get_runs().count() == 1


@pytest.mark.django_db
def test_the_last_lines_of_a_cancelled_run_are_kept_though_it_is_retried(
    worker: HandWorker,
) -> None:
    @job
    def work(step: Step) -> None:
        runs.cancel(step.run_id)
        retry(step.run_id)
        step.log.info("cleaning up")

    run = work.trigger()
    worker.take(run).execute()
    assert messages(run) == ["cleaning up"]
    assert reload(run).status == "pending"


@pytest.mark.django_db
def test_the_step_that_failed_is_named_though_others_failed_after_it() -> None:
    def fail(text: str) -> None:
        raise ValueError(text)

    @job
    def work(step: Step) -> None:
        kept: Exception | None = None
        for name in ("a", "b"):
            try:
                step.run(name, fail, name)
            except ValueError as error:
                kept = kept or error
        assert kept is not None
        raise kept

    assert execute(work).error == "ValueError: a (in step a)"


@pytest.mark.django_db(transaction=True)
def test_of_a_task_group_the_step_that_failed_is_named_not_the_cancelled_one() -> None:
    async def wait() -> None:
        await asyncio.sleep(10)

    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise LookupError

    @job
    async def work(step: AsyncStep) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.run("waits", wait))
            group.create_task(step.run("fails", fail))

    assert execute(work).error_step == "fails"


@pytest.mark.django_db(transaction=True)
def test_a_plain_begin_left_open_fails_its_step_and_loses_nothing_silently() -> None:
    def begin() -> str:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("UPDATE runs_run SET release = 'x'")
        return "done"

    @job
    def work(step: Step) -> None:
        step.run("a", begin)

    run = execute(work)
    assert run.error_type == "OpenTransactionError"
    assert run.error_step == "a"
    assert StepRow.objects.get(run=run).status == "failed"


@pytest.mark.django_db(transaction=True)
def test_a_step_that_left_a_transaction_open_may_be_tried_again(worker: HandWorker) -> None:
    @job
    def work(step: Step) -> int:
        try:
            step.run("a", transaction.set_autocommit, False)
        except runs.errors.OpenTransactionError:
            return step.run("a", lambda: 1)
        return 0

    assert execute(work).output == 1


@pytest.mark.django_db
def test_no_body_runs_after_the_end_of_its_run(worker: HandWorker) -> None:
    @job
    def work(step: Step) -> None: ...

    called: list[int] = []
    held = worker.take(work.trigger())
    held.execute()
    with pytest.raises(control.LeaseLost, match="over"):
        held.step.run("late", called.append, 1)
    assert called == []


@pytest.mark.django_db
def test_a_cancel_found_when_storing_is_told_as_a_cancelled_step(worker: HandWorker) -> None:
    heard: list[str] = []
    names = ("step_started", "step_completed", "step_cancelled", "step_failed")
    receivers: dict[str, Callable[..., None]] = {}
    for name in names:
        receivers[name] = functools.partial(lambda name, **kwargs: heard.append(name), name)
        getattr(signals, name).connect(receivers[name])

    @job
    def work(step: Step) -> None:
        step.run("a", runs.cancel, step.run_id)

    try:
        run = execute(work)
    finally:
        for name in names:
            getattr(signals, name).disconnect(receivers[name])
    assert run.status == "cancelled"
    assert heard == ["step_started", "step_cancelled"]


@pytest.mark.django_db(transaction=True)
def test_a_plain_step_inside_async_code_is_refused_before_its_body() -> None:
    called: list[int] = []

    @job
    def work(step: Step) -> None:
        async def inner() -> None:
            step.run("inner", called.append, 1)

        step.run("outer", inner)

    run = execute(work)
    assert run.error_type == JobDefinitionError.__name__
    assert called == []


@pytest.mark.django_db
def test_an_object_that_answers_any_name_can_be_a_step() -> None:
    class Proxy:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getattr__(self, name: str) -> Proxy:
            return Proxy(f"{self.name}.{name}")

        def __call__(self, *args: int) -> int:
            return sum(args)

    @job
    def work(step: Step) -> int:
        return step.run("add", Proxy("server").add, 1, 2)

    assert execute(work).output == 3


@dataclass(eq=False)
class Part:
    """Compares by identity."""

    weight: float | None


def make_parts() -> list[Part]:
    return [Part(1.5), Part(None)]


def make_nan() -> Part:
    return Part(float("nan"))


@pytest.mark.django_db
def test_values_that_compare_by_identity_are_compared_by_their_parts() -> None:
    @job
    def work(step: Step) -> bool:
        return all(isinstance(part, Part) for part in step.run("parts", make_parts))

    @job
    def lossy(step: Step) -> None:
        step.run("nan", make_nan)

    assert execute(work).output is True
    assert execute(lossy).error_type == "StepResultError"


@pytest.mark.django_db
def test_a_log_datum_whose_own_code_raises_is_kept_as_text() -> None:
    class Hostile(dict[str, int]):
        def items(self) -> Any:
            raise KeyError("items")

    @job
    def work(step: Step) -> None:
        step.log.info("x", Hostile(a=1))

    run = execute(work)
    assert run.status == "completed"
    assert run.logs.get().data["unstorable"] is True


def test_two_jobs_behind_one_decorator_are_two_jobs() -> None:
    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def wrapper(step: Step) -> Any:
            return fn(step)

        return wrapper

    def first(step: Step) -> None: ...

    def second(step: Step) -> None: ...

    job(name="twice")(decorate(first))
    with pytest.raises(JobDefinitionError, match="Two jobs"):
        job(name="twice")(decorate(second))
    source = registry.all()[registry.names().index("twice")].source
    assert source.endswith(f":{first.__code__.co_firstlineno}")


def test_a_camel_case_function_gives_a_kebab_case_name() -> None:
    def processHTTPOrder(step: Step) -> None: ...  # noqa: N802 (the case in question)

    assert job(processHTTPOrder).name == "process-http-order"


@pytest.mark.django_db
def test_an_error_whose_text_exits_the_interpreter_fails_the_run() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise SystemExit

    @job
    def work(step: Step) -> None:
        raise Rude

    run = execute(work)
    assert (run.status, run.error_type) == ("failed", Rude.__qualname__)
