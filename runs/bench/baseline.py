"""What the database does without an engine: one checkpoint's two statements, and a commit.

Through Python's ``sqlite3`` or ``psycopg``, on the tables, file and settings that the engine
uses. It is the most that an engine could reach that writes the same columns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from runs.bench import jobs
from runs.engine import database

_UPDATE = """
    UPDATE runs_run SET
        seq = seq + 1, step_count = step_count + 1, recoveries = 0,
        current_step = %s, progress = COALESCE(%s, progress)
    WHERE id = %s AND lease_generation = %s AND lease_owner IS NULL AND status = 'pending'
"""

_INSERT = """
    INSERT INTO runs_step (run_id, name, "index", status, attempts, seq, started_at, finished_at,
        output, error_type, error_message, error_traceback)
    VALUES (%s, %s, %s, 'completed', 1, %s, %s, %s, %s, NULL, NULL, NULL)
"""


class Baseline:
    """Checkpoints a second, bare. Each measurement writes to a run of its own."""

    def __init__(self, count: int) -> None:
        self.count = count

    def rate(self) -> float:
        """Measure once."""
        later = datetime.now(UTC) + timedelta(days=1)
        run_id: UUID = jobs.baseline.trigger(run_at=later).pk
        return (_sqlite if database.is_sqlite() else _postgresql)(run_id, self.count)


def _sqlite(run_id: UUID, count: int) -> float:
    import sqlite3

    settings = connection.settings_dict
    update, insert = _UPDATE.replace("%s", "?"), _INSERT.replace("%s", "?")
    raw = sqlite3.connect(settings["NAME"], timeout=20, isolation_level=None)
    raw.executescript(settings["OPTIONS"]["init_command"])

    def checkpoint(number: int, began: Any, ended: Any) -> None:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute(update, (None, None, run_id.hex, 0))
        name = f"step-{number:05}"
        raw.execute(insert, (run_id.hex, name, number, number, began, ended, str(number)))
        raw.execute("COMMIT")

    try:
        return _rate(checkpoint, count)
    finally:
        raw.close()


def _postgresql(run_id: UUID, count: int) -> float:
    import psycopg

    settings = connection.get_connection_params()
    for name in ("cursor_factory", "context"):
        settings.pop(name, None)
    with psycopg.connect(**settings) as raw:

        def checkpoint(number: int, began: Any, ended: Any) -> None:
            raw.execute(_UPDATE, (None, None, run_id, 0))
            name = f"step-{number:05}"
            raw.execute(_INSERT, (run_id, name, number, number, began, ended, str(number)))
            raw.commit()

        return _rate(checkpoint, count)


def _rate(checkpoint: Callable[[int, Any, Any], None], count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        moment = database.time_param(datetime.now(UTC))
        checkpoint(number, moment, moment)
    return count / (time.perf_counter() - began)
