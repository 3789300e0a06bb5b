"""DBOS Transact for Python: workflows from a queue of the system database."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from tools.peers.adapters.common import (
    DATABASE,
    IS_SQLITE,
    MARK,
    POLL_SECONDS,
    SLOTS,
    SYNCHRONOUS,
    Adapter,
    main,
    same,
)

if IS_SQLITE:
    # It needs SQLite 3.42, and Python's own may be older: this one comes with its own.
    sys.modules["sqlite3"] = sys.modules["sqlite3.dbapi2"] = __import__("pysqlite3")

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSConfig

URL = f"sqlite:///{DATABASE}" if IS_SQLITE else DATABASE.replace("postgres://", "postgresql://")
_QUEUE = "peers"


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "connect")
def set_synchronous(connection: Any, _record: Any) -> None:
    """As the others have it. WAL, too, without which it is several times slower."""
    if IS_SQLITE:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
        cursor.close()


@DBOS.step()
def same_step(number: int) -> int:
    return same(number)


@DBOS.step()
def moment() -> float:
    return time.time()


@DBOS.workflow()
def steps(count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        same_step(number)
    return time.perf_counter() - began


@DBOS.workflow()
def three(number: int) -> int:
    return int(same_step(same_step(same_step(number))))


@DBOS.workflow()
def pickup(_: int) -> float:
    return float(moment())


@DBOS.workflow()
def resume(count: int) -> list[float]:
    """Its process dies once; the second execution is recovered at the next start."""
    began = time.time()
    for number in range(count):
        same_step(number)
    if not MARK.exists():
        MARK.touch()
        os._exit(1)
    return [began, moment()]


class Dbos(Adapter):
    def __init__(self) -> None:
        self._client: DBOSClient | None = None

    @property
    def client(self) -> DBOSClient:
        if self._client is None:
            self._client = DBOSClient(system_database_url=URL)
        return self._client

    def prepare(self) -> None:
        self._launch()
        DBOS.destroy()

    def work(self) -> None:
        self._launch()
        while True:
            time.sleep(60)

    def _launch(self) -> None:
        config: DBOSConfig = {
            "name": "peers",
            "system_database_url": URL,
            "log_level": "ERROR",
            "application_version": "1",
        }
        DBOS(config=config)
        DBOS.launch()
        DBOS.register_queue(_QUEUE, worker_concurrency=SLOTS, polling_interval_sec=POLL_SECONDS)

    def trigger(self, job: str, number: int) -> Any:
        options: Any = {"workflow_name": job, "queue_name": _QUEUE, "app_version": "1"}
        return self.client.enqueue(options, number)

    def output(self, run: Any) -> Any:
        return run.get_result(polling_interval_sec=0.001)

    def unfinished(self) -> int:
        open_ones = self.client.list_workflows(
            status=["ENQUEUED", "PENDING"], load_input=False, load_output=False, limit=1
        )
        return len(open_ones)


if __name__ == "__main__":
    main(Dbos())
