"""Many worker processes on one database: how far runs a second grow with them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from django.db import connection

from runs.bench import jobs, worker
from runs.bench.measuring import Bench
from runs.bench.processor import Meter, Used
from runs.bench.results import Row
from runs.bench.worker import BenchError, WorkerUnderTest
from runs.models import Run, RunStatus

_SLOTS = 4
#: Of a worker process: one for each slot, and those of its heartbeat, caretaker, doorman and bell.
_CONNECTIONS = _SLOTS + 4
#: Those of the measurement itself, and of the server for its administrator.
_OTHERS = 10
#: Runs that a slot could do in the time of a measurement if nothing but their steps took time.
_RUNS_A_SLOT = 40


def workers(bench: Bench) -> Iterator[Row]:
    """Runs whose three steps wait: what a slot can do at most is known, and is the baseline."""
    each = 1 / (3 * jobs.WAIT_SECONDS)
    room = _room(bench)
    found: list[WorkerUnderTest] = []
    with ExitStack() as stack:
        for count in bench.sizes.workers:
            if count * _CONNECTIONS > room:
                raise BenchError(
                    f"{count} worker processes take up to {count * _CONNECTIONS} connections, and "
                    f"the server has room for {room}: raise its max_connections, which has to be "
                    f"{bench.sizes.workers[-1] * _CONNECTIONS + _OTHERS} for all of this."
                )
            while len(found) < count:
                one_more = worker.running(WORKER_CONCURRENCY=str(_SLOTS))
                found.append(stack.enter_context(one_more))
            slots = count * _SLOTS
            _warm_up(found)
            is_last = count == bench.sizes.workers[-1]
            idle = _idle(found, bench.sizes.idle) if is_last else ""
            runs = min(slots * _RUNS_A_SLOT, bench.sizes.crowd)
            used = _drain(found, runs)
            what = f"worker processes: {count}, slots: {slots}"
            yield bench.row(
                f"workers-{count}",
                what,
                "runs/s",
                runs / used.seconds,
                baseline=slots * each,
                note="; ".join(filter(None, [*used.notes(runs), idle])),
            )


def _room(bench: Bench) -> float:
    """How many connections the server can take for workers."""
    if not bench.is_server:
        return float("inf")
    with connection.cursor() as cursor:
        cursor.execute("SHOW max_connections")
        return int(cursor.fetchone()[0]) - _OTHERS


def _warm_up(found: Sequence[WorkerUnderTest]) -> None:
    jobs.waiting.batch_trigger(list(range(_SLOTS * len(found))))
    _wait(found)


def _idle(found: Sequence[WorkerUnderTest], seconds: float) -> str:
    """What they use while there is nothing to do."""
    meter = Meter(each.pid for each in found)
    time.sleep(seconds)
    idle = meter.read().processors
    return f"idle: {idle} of a processor" if idle else ""


def _drain(found: Sequence[WorkerUnderTest], count: int) -> Used:
    """Trigger runs that are due at one moment, and wait for the last."""
    jobs.waiting.batch_trigger(list(range(count)))
    meter = Meter(each.pid for each in found)
    _wait(found)
    return meter.read()


def _wait(found: Sequence[WorkerUnderTest]) -> None:
    unfinished = Run.objects.filter(
        job=jobs.waiting.name, status__in=(RunStatus.PENDING, RunStatus.RUNNING)
    )
    while unfinished.exists():
        for each in found:
            each.check()
        time.sleep(0.05)
