"""How soon: from a trigger to the first step, and from a claim to where a run left off."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from django.db import connection

from runs.bench import jobs
from runs.bench.measuring import Bench, percentile
from runs.bench.results import Row
from runs.bench.worker import BenchError
from runs.engine import claims, database, executor, operations
from runs.engine.execution import Execution
from runs.engine.lookups import get_run

#: Pauses between triggers, in seconds: long enough for the worker to fall idle, and uneven,
#: so as not to beat in time with its polling.
_PAUSES = (0.05, 0.15)


def pickup(bench: Bench) -> Iterator[Row]:
    """From the trigger's call to the first step's body, on an idle worker."""
    bench.output_of(jobs.pickup, None)  # warm-up
    delays = []
    for _ in range(bench.sizes.pickups):
        time.sleep(random.uniform(*_PAUSES))  # noqa: S311 (no secret)
        began = time.time()
        delays.append((bench.output_of(jobs.pickup, None)[1] - began) * 1000)
    yield bench.row("pickup-p50", "trigger to first step, p50", "ms", statistics.median(delays))
    yield bench.row("pickup", "trigger to first step, p95", "ms", percentile(delays, 0.95))


def resume(bench: Bench) -> Iterator[Row]:
    """From the claim of a run with many completed steps to the body of the first new one."""
    count = bench.sizes.steps
    delays, bases = [], []
    for _ in range(bench.sizes.repetitions + 1):
        run_id = _half_done(count)
        bases.append(_read_bare(run_id))
        began = time.time()
        _execute()
        delays.append((_output(run_id) - began) * 1000)
    run_id = _half_done(count)
    with _counting_step_reads() as reads:
        _execute()
    yield bench.row(
        "resume",
        f"resuming after {count:,} steps",
        "ms",
        statistics.median(delays[1:]),  # the first is the warm-up
        baseline=statistics.median(bases[1:]),
        note=f"reads of the steps in that execution: {len(reads)} (baseline: that read, bare)",
    )


def _half_done(count: int) -> UUID:
    run_id: UUID = jobs.resume.trigger(count).pk
    _execute()
    operations.retry(run_id)
    return run_id


def _execute() -> None:
    """Execute the one run of the job that is due, in this process."""
    claim = claims.claim_next((jobs.resume.name,), uuid4(), "bench")
    if claim is None:
        raise BenchError("The run to resume is not due")
    executor.execute(Execution(claim, "bench"))


def _output(run_id: UUID) -> float:
    run = get_run(run_id)
    if not isinstance(run.output, float):
        raise BenchError(f"Run {run_id} was not resumed: {run.error}")
    return run.output


def _read_bare(run_id: UUID) -> float:
    """Milliseconds to fetch the columns that resuming needs, without an engine."""
    connection.ensure_connection()
    query = "SELECT name, status, output, attempts FROM runs_step WHERE run_id = "
    began = time.perf_counter()
    if database.is_sqlite():
        connection.connection.execute(query + "?", (run_id.hex,)).fetchall()
    else:
        connection.connection.execute(query + "%s", (run_id,)).fetchall()
    return (time.perf_counter() - began) * 1000


@contextmanager
def _counting_step_reads() -> Iterator[list[str]]:
    """The statements of this thread that read the table of steps."""
    found: list[str] = []

    def note(statement: str) -> None:
        if statement.lstrip().startswith("SELECT") and "FROM runs_step" in statement:
            found.append(statement)

    def wrap(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        note(sql)
        return execute(sql, params, many, context)

    if not database.is_sqlite():
        with connection.execute_wrapper(wrap):
            yield found
        return
    connection.connection.set_trace_callback(note)
    try:
        yield found
    finally:
        connection.connection.set_trace_callback(None)
