"""Absurd, whose engine is stored procedures in PostgreSQL."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from absurd_sdk import Absurd

from tools.peers.adapters.common import DATABASE, POLL_SECONDS, SLOTS, Adapter, main, same

URL = DATABASE.replace("postgres://", "postgresql://")
_QUEUE = "peers"


class AbsurdAdapter(Adapter):
    """Its worker polls every 10 ms instead of 250, the others' pace."""

    def __init__(self) -> None:
        self._app: Absurd | None = None
        self._own: psycopg.Connection[Any] | None = None

    @property
    def app(self) -> Absurd:
        if self._app is None:
            self._app = Absurd(URL, queue_name=_QUEUE)
        return self._app

    def prepare(self) -> None:
        from absurdctl import BUNDLED_SCHEMA_SQL

        with psycopg.connect(URL, autocommit=True) as connection:
            connection.execute(BUNDLED_SCHEMA_SQL)
        self.app.create_queue(_QUEUE)

    def work(self) -> None:
        for handler in (steps, three, pickup, resume):
            self.app.register_task(name=handler.__name__)(handler)
        self.app.start_worker(concurrency=SLOTS, poll_interval=POLL_SECONDS)

    def trigger(self, job: str, number: int) -> Any:
        return self.app.spawn(job, number, max_attempts=2, queue=_QUEUE)["task_id"]

    def output(self, run: Any) -> Any:
        while True:
            found = self.app.fetch_task_result(run)
            if found is not None and found.state == "completed":
                return found.result
            time.sleep(0.001)

    def unfinished(self) -> int:
        query = f"SELECT count(*) FROM absurd.t_{_QUEUE} WHERE state <> 'completed'"  # noqa: S608
        return int(self._row(query)[0])

    def resumed_at(self, run: Any) -> float:
        query = f"SELECT max(started_at) FROM absurd.r_{_QUEUE} WHERE task_id = %s"  # noqa: S608
        return float(self._row(query, [run])[0].timestamp())

    def _row(self, query: str, values: Any = None) -> Any:
        if self._own is None:
            self._own = psycopg.connect(URL, autocommit=True)
        return self._own.execute(query, values).fetchone()


def steps(count: Any, context: Any) -> float:
    began = time.perf_counter()
    for number in range(count):
        context.step(f"step-{number}", lambda number=number: same(number))
    return time.perf_counter() - began


def three(number: Any, context: Any) -> int:
    first = context.step("first", lambda: same(number))
    second = context.step("second", lambda: same(first))
    return int(context.step("third", lambda: same(second)))


def pickup(_: Any, context: Any) -> float:
    return float(context.step("first", time.time))


def resume(count: Any, context: Any) -> list[float]:
    """It fails in the first attempt, after its steps."""
    began = time.time()
    for number in range(count):
        context.step(f"step-{number}", lambda number=number: same(number))
    if context._task["attempt"] == 1:
        raise InterruptedError("as planned")
    return [began, context.step("new", time.time)]


if __name__ == "__main__":
    main(AbsurdAdapter())
