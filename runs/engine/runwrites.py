"""What every write of a run's holder has in common: an update of the run, and what hangs on it.

On PostgreSQL it is one statement, and so one round trip and a transaction of its own; on
SQLite, where a round trip is a function call, several in one transaction.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from runs.engine import database
from runs.engine.database import Hot, Statement

#: (step, level, message, data as JSON text, time)
LogLine = tuple[str | None, str, str, str | None, datetime]

_SEQ = Statement("SELECT seq FROM runs_run WHERE id = %s")

_PUT_LINE = Statement(
    "INSERT INTO runs_logentry (run_id, step, level, message, data, created_at, seq) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s)"
)

_LINES = """
    lines AS (
        INSERT INTO runs_logentry (run_id, step, level, message, data, created_at, seq)
        SELECT run.id, line.step, line.level, line.message, line.data, line.at,
            run.seq - %s + line.number
        FROM run, unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])
            WITH ORDINALITY AS line(step, level, message, data, at, number)
        ORDER BY line.number
    ),
"""


class FenceRefused(Exception):
    """The run isn't held under this generation any more; nothing was written."""


class RunWrite:
    """An update of one run, log lines, and a row that takes its numbers from the run."""

    def __init__(self, update: str, insert: str) -> None:
        """``insert`` selects from ``{run}``, which is the run as ``update`` leaves it.

        ``update`` adds the number of lines, and one for the row, to the run's ``seq``.
        """
        self._texts = update, insert
        self._update = Statement(update)
        self._insert = Statement(insert, run="runs_run WHERE id = %s")

    def apply(
        self,
        hot: Hot,
        update: Sequence[Any],
        lines: Sequence[LogLine],
        insert: Sequence[Any],
        id: Any,
    ) -> bool:
        """Write it all; False if the inserted row met one that must stay.

        ``id`` is the run's, as a parameter. Raises FenceRefused, and the database's
        IntegrityError, after which the transaction has to be given up.
        """
        if not database.is_sqlite():
            rows = hot.rows(self.statement(bool(lines)), (*update, *lines_params(lines), *insert))
            if not rows:
                raise FenceRefused
            return bool(rows[0][0])
        if not hot.count(self._update, update):
            raise FenceRefused
        if lines:
            [[seq]] = hot.rows(_SEQ, (id,))
            put_lines(id, seq - 1 - len(lines), lines)
        return hot.count(self._insert, (*insert, id)) > 0

    @functools.cache  # noqa: B019 (they are constants of modules)
    def statement(self, has_lines: bool, more: str = "", result: str = "") -> Statement:
        """All of it as one statement for PostgreSQL, with ``more`` that it does.

        Its parameters: those of the update, ``lines_params``, those of the insert, and of what
        is more. Its result: ``result``, else in a row the number of rows inserted; no row if
        the fence refused.
        """
        update, insert = self._texts
        lines = _LINES if has_lines else ""
        result = result or "SELECT (SELECT count(*) FROM told) FROM run"
        return Statement(
            f"WITH RECURSIVE run AS ({update} RETURNING id, seq, step_count), {lines}"
            f"told AS ({insert} RETURNING 1){more and ','} {more} {result}",
            run="run WHERE true",
        )


def lines_params(lines: Sequence[LogLine]) -> tuple[Any, ...]:
    """The lines as PostgreSQL takes them in a ``RunWrite``: one list for each column."""
    if not lines:
        return ()
    steps, levels, messages, data, moments = (list(column) for column in zip(*lines, strict=True))
    # Of one type each: text that is known to be JSON has one of its own.
    data = [None if datum is None else str(datum) for datum in data]
    return len(lines) + 1, steps, levels, messages, data, moments


def put_lines(run_id: Any, first_seq: int, lines: Sequence[LogLine]) -> None:
    """Insert log lines, numbered from the one after ``first_seq``."""
    rows = [
        (run_id, step, level, message, data, database.time_param(moment), first_seq + number)
        for number, (step, level, message, data, moment) in enumerate(lines, start=1)
    ]
    database.insert_many(_PUT_LINE, rows)
