"""Steps in threads of the handler's own."""

# step.log takes a message and data; to ruff it looks like a logger.
# ruff: noqa: G004

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from runs import Step, cancel, job
from runs.engine import control
from runs.errors import DuplicateStepError
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, execute, reload

pytestmark = pytest.mark.django_db(transaction=True)


def test_steps_in_threads_are_all_stored_with_gapless_indexes() -> None:
    @job
    def fan_out(step: Step) -> list[int]:
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(step.run, f"s{n}", int, n) for n in range(20)]
            return [future.result() for future in futures]

    run = execute(fan_out)
    assert run.error is None
    assert run.output == list(range(20))
    assert sorted(step.index for step in run.steps.all() if step.index is not None) == list(
        range(20)
    )
    check_invariants()


def test_a_log_line_names_the_step_of_its_own_thread() -> None:
    inside = threading.Barrier(3)

    def body(step: Step, name: str) -> None:
        inside.wait(10)
        step.log.info(name)
        step.run(f"{name}/inner", lambda: step.log.info(f"{name}/inner"))
        inside.wait(10)
        step.log.info(name)

    @job
    def fan_out(step: Step) -> None:
        with ThreadPoolExecutor(3) as pool:
            for name in ("a", "b", "c"):
                pool.submit(step.run, name, body, step, name)
        step.log.info("outside")

    run = execute(fan_out)
    lines = list(run.logs.values_list("step", "message"))
    assert len(lines) == 10
    assert {(step or "outside") == message for step, message in lines} == {True}
    check_invariants()


def test_of_two_parallel_steps_of_one_name_one_body_runs() -> None:
    calls: list[int] = []

    def body(number: int) -> int:
        calls.append(number)
        return number

    @job
    def fan_out(step: Step) -> list[str]:
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(step.run, "a", body, n) for n in range(8)]
            return sorted(type(f.exception()).__name__ for f in futures)

    assert execute(fan_out).output == ["DuplicateStepError"] * 7 + ["NoneType"]
    assert len(calls) == 1
    assert issubclass(DuplicateStepError, Exception)


def test_a_resumed_fan_out_runs_only_what_is_missing(worker: HandWorker) -> None:
    calls: list[str] = []

    def body(name: str) -> str:
        if name == "s3" and "s3" not in calls:
            calls.append(name)
            raise LookupError(name)
        calls.append(name)
        return name

    @job
    def fan_out(step: Step) -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(step.run, f"s{n}", body, f"s{n}") for n in range(6)]
        return [future.result() for future in futures]

    run = execute(fan_out)
    assert run.error == "LookupError: s3 (in step s3)"
    first = sorted(calls)
    assert first == [f"s{n}" for n in range(6)]
    from runs import retry

    retry(run)
    drain()
    assert calls[6:] == ["s3"]
    assert reload(run).output == first
    check_invariants()


def test_after_a_cancel_no_thread_starts_another_step_though_all_swallow_it() -> None:
    calls: list[str] = []
    cancelled = threading.Event()

    def body(step: Step, name: str) -> None:
        calls.append(name)
        if name == "a0":
            cancel(step.run_id)
            cancelled.set()
        cancelled.wait(10)

    def thread(step: Step, name: str) -> None:
        for number in range(3):
            try:
                step.run(f"{name}{number}", body, step, f"{name}{number}")
            except BaseException:
                pass

    @job
    def fan_out(step: Step) -> str:
        with ThreadPoolExecutor(3) as pool:
            for name in ("a", "b", "c"):
                pool.submit(thread, step, name)
        return "made it"

    run = execute(fan_out)
    assert set(calls) <= {"a0", "b0", "c0"}
    assert (run.status, run.output) == ("cancelled", None)
    assert not run.steps.exists()


def test_a_reason_to_stop_in_a_future_that_nobody_reads_still_counts() -> None:
    def body(step: Step) -> None:
        cancel(step.run_id)

    @job
    def careless(step: Step) -> str:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(step.run, "a", body, step)
        return "made it"

    run = execute(careless)
    assert (run.status, run.output) == ("cancelled", None)


def test_a_hand_over_waits_for_the_threads_steps(worker: HandWorker) -> None:
    both_inside = threading.Barrier(2)

    def body(name: str) -> str:
        both_inside.wait(10)
        held.execution.handing_over = True
        return name

    @job
    def fan_out(step: Step) -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(step.run, name, body, name) for name in ("a", "b")]
        found = []
        for future in futures:
            try:
                found.append(future.result())
            except control.ControlFlow:
                pass
        return [*found, step.run("c", lambda: "c")]

    run = fan_out.trigger()
    held = worker.take(run)
    held.execute()
    stored = reload(run)
    assert (stored.status, stored.lease_owner, stored.step_count) == ("running", None, 2)
    drain()
    assert reload(run).output == ["a", "b", "c"]


def test_steps_of_finished_threads_leave_no_connection_behind() -> None:
    from django.db import connection

    @job
    def fan_out(step: Step) -> None:
        for number in range(5):
            thread = threading.Thread(target=step.run, args=(f"s{number}", lambda: None))
            thread.start()
            thread.join()

    if connection.vendor != "postgresql":
        assert execute(fan_out).step_count == 5
        return

    def sessions() -> Any:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            )
            return cursor.fetchone()[0]

    execute(fan_out)  # which also opens Huey's own
    before = sessions()
    assert execute(fan_out).step_count == 5
    assert sessions() <= before
