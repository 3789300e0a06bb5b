"""Event streams under load: many listeners, steady triggers, one web process, one worker."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator

from runs.access import TRIGGER, VIEW, tokens
from runs.bench import jobs, processor, web, worker
from runs.bench.listeners import Heard, Server, trigger_steadily
from runs.bench.measuring import Bench, percentile
from runs.bench.results import Row
from runs.bench.worker import BenchError, WorkerUnderTest, megabytes_of
from runs.engine import operations
from runs.models import Run, RunStatus

_START_SECONDS = 60.0
#: Runs that are followed one by one, for as long as the measurement takes.
_FOLLOWED = 10
#: They go on for so much longer: opening streams takes long on a busy machine.
_SPARE_SECONDS = 600.0
#: At the beginning caches fill; what memory is compared with is read after this share.
_WARM_UP = 0.25


def streams(bench: Bench) -> Iterator[Row]:
    """Half of the streams follow all runs, with and without filters; half follow single ones."""
    sizes = bench.sizes
    threads = str(_FOLLOWED + 4)
    secret = tokens.create("bench", permissions=[VIEW, TRIGGER])[1]
    with worker.running(WORKER_CONCURRENCY=threads) as works, web.running() as (pid, port):
        long = sizes.stream_seconds + _SPARE_SECONDS
        followed = [jobs.followed.trigger(long).pk for _ in range(_FOLLOWED)]
        _wait_until_running(works, _FOLLOWED)
        load = _Load(Server(port, secret), [str(id) for id in followed], pid)
        found = asyncio.run(load.run(sizes.streams, sizes.trigger_rate, sizes.stream_seconds))
        works.check()
        for id in followed:  # or whoever measures next would go on with them
            operations.cancel(id)
    times = [seconds * 1000 for seconds in found.times]
    what = f"{sizes.streams} streams, {sizes.trigger_rate:g} triggers/s"
    note = (
        f"max {max(times):.0f} ms of {len(times):,}; {found.heard.bytes / 1e6:,.0f} MB heard, "
        f"web process {found.processor:.0%} of a core"
    )
    yield bench.row("stream-trigger-p50", f"{what}: trigger, p50", "ms", statistics.median(times))
    yield bench.row(
        "stream-trigger", f"{what}: trigger, p95", "ms", percentile(times, 0.95), note=note
    )
    yield bench.row(
        "stream-lag-p95", "lag of a stream, p95", "s", percentile(found.heard.lags, 0.95)
    )
    yield bench.row("stream-lag", "lag of a stream, worst", "s", max(found.heard.lags))
    yield bench.row(
        "stream-memory", "memory of the web process", "MB", found.after, baseline=found.before,
        note="the baseline is after a quarter of the time",
    )  # fmt: skip


class _Load:
    """The clients."""

    def __init__(self, server: Server, followed: list[str], pid: int) -> None:
        self._server = server
        self._followed = followed
        self._pid = pid
        self.heard = Heard()
        self.times: list[float] = []
        self.before = self.after = self.processor = 0.0

    async def run(self, count: int, rate: float, seconds: float) -> _Load:
        opened = asyncio.Semaphore(0)
        listeners = [
            asyncio.create_task(self._server.listen(path, self.heard, opened))
            for path in self._paths(count)
        ]
        for _ in listeners:
            await asyncio.wait_for(opened.acquire(), _START_SECONDS)
        path = f"/api/jobs/{jobs.three.name}/trigger"
        await trigger_steadily(self._server, path, rate, 2)  # warm-up
        self.heard.lags.clear()
        self.heard.bytes = 0
        used, began = _seconds_of(self._pid), time.monotonic()
        memory = asyncio.create_task(self._note_memory(seconds * _WARM_UP))
        self.times = await trigger_steadily(self._server, path, rate, seconds)
        self.processor = (_seconds_of(self._pid) - used) / (time.monotonic() - began)
        await asyncio.sleep(2)  # what comes late counts, too
        await memory
        self.after = megabytes_of(self._pid) or 0.0
        for listener in listeners:
            if listener.done():
                why = listener.exception() or "the server ended it"
                raise BenchError(f"A stream has ended before the measurement: {why}")
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
        return self

    def _paths(self, count: int) -> Iterator[str]:
        everything = ("/api/events", f"/api/events?job={jobs.three.name}",
                      "/api/events", "/api/events?status=completed&status=failed")  # fmt: skip
        for number in range(count):
            if number % 2:
                yield everything[number // 2 % len(everything)]
            else:
                yield f"/api/runs/{self._followed[number // 2 % len(self._followed)]}/events"

    async def _note_memory(self, after: float) -> None:
        await asyncio.sleep(after)
        self.before = megabytes_of(self._pid) or 0.0


def _wait_until_running(works: WorkerUnderTest, count: int) -> None:
    runs = Run.objects.filter(job=jobs.followed.name, status=RunStatus.RUNNING)
    deadline = time.monotonic() + _START_SECONDS
    while runs.count() < count:
        works.check()
        if time.monotonic() > deadline:
            raise BenchError("The runs to follow do not start")
        time.sleep(0.05)


def _seconds_of(pid: int) -> float:
    """What the process has used of the processor so far; 0 where the system doesn't say."""
    return processor.seconds_of([pid]) or 0.0
