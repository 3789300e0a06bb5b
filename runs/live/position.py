"""How far somebody has read everything that happens to runs, and how that is written down.

Events, steps and log lines are three tables, so a ``Position`` is three cursors. It is always
one of a consistent snapshot: of each run it has seen a beginning, by ``seq``, without gaps.
What lies between two positions is told in the order of (run, ``seq``); a ``Place`` says how
far a reader is on that way. It is opaque to clients: they only give back what they were given.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import connection

from runs.engine import database
from runs.live.cursor import Cursor, Source, gaps
from runs.live.tail import Transactions
from runs.models import LogEntry, RunEvent, Step

SOURCES: tuple[Source, ...] = (RunEvent, Step, LogEntry)

#: Before all runs.
NOBODY = uuid.UUID(int=0)

#: A position with more holes than these is too long for a header, and is not given to clients.
MAX_HOLES = 400
_MAX_TEXT = 16_000

#: How long a start waits for the transactions that are under way, in seconds.
_PATIENCE = 0.5
_PAUSE = 0.02
_WINDOW = 2_000
_MAX_OLD_HOLES = 200

_STEP = re.compile(r"([0-9a-f]{32})\.(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True)
class Position:
    """What has been seen of ``SOURCES``, table by table."""

    cursors: tuple[Cursor, ...]

    def __str__(self) -> str:
        return "_".join(map(str, self.cursors))

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """The position of such a text; None for anything else."""
        cursors = tuple(map(Cursor.parse, text.split("_")))
        if len(cursors) != len(SOURCES):
            return None
        found = tuple(cursor for cursor in cursors if cursor is not None)
        return cls(found) if len(found) == len(SOURCES) else None

    @property
    def fits(self) -> bool:
        """Whether it is short enough to be given to clients."""
        return sum(len(cursor.holes) for cursor in self.cursors) <= MAX_HOLES

    @classmethod
    def now(cls) -> Position:
        """That of somebody who has seen all that is visible in the database now.

        What transactions under way will commit must stay unseen. Their ids can be anywhere, so
        this waits for the end of those: what begins meanwhile draws higher ids. One that takes
        longer is the caller's own of a trigger, which draws ids of events alone.
        """
        with database.snapshot():
            if database.is_sqlite():
                return cls(tuple(map(Cursor.now, SOURCES)))
            horizon = Transactions.now().next
            settled = [Cursor.now(source, 1).last for source in SOURCES]
        is_settled = _await_end_before(horizon)
        if not is_settled:
            rows = RunEvent.objects.filter(id__lte=settled[0]).order_by("-id")
            ids = rows.values_list("id", flat=True)[:_WINDOW]
            settled[0] = min(ids) if len(ids) == _WINDOW else 0
        with database.snapshot():
            events, *others = map(_visible_after, SOURCES, settled)
        if not is_settled:  # most of the holes are of runs that were deleted
            events = Cursor(events.last, events.holes[-_MAX_OLD_HOLES:])
        return cls((events, *others))


def _await_end_before(horizon: int) -> bool:
    """Wait for the end of all transactions before this one; whether it came in time."""
    deadline = time.monotonic() + _PATIENCE
    while Transactions.now().oldest < horizon:
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def _visible_after(source: Source, settled: int) -> Cursor:
    """The cursor of who sees what is visible, and all up to ``settled``."""
    rows: Any = source._default_manager.filter(id__gt=settled).order_by("id")
    ids = list(rows.values_list("id", flat=True))
    return Cursor(ids[-1] if ids else settled, tuple(gaps(settled, ids)))


#: Nothing has been seen.
BEGINNING = Position(tuple(Cursor(0) for _ in SOURCES))


@dataclass(frozen=True)
class Place:
    """At a position; or on the way from it to ``end``, with all up to ``run`` and ``seq`` told."""

    start: Position
    end: Position | None = None
    run: uuid.UUID = NOBODY
    seq: int = 0

    def is_past(self) -> bool:
        """Whether it can have been reached: no id in it is yet to be drawn."""
        drawn = _last_drawn()
        return all(
            cursor.last <= last
            for position in (self.start, self.end or self.start)
            for cursor, last in zip(position.cursors, drawn, strict=True)
        )

    @property
    def fits(self) -> bool:
        """Whether it is short enough to be given to clients."""
        return self.start.fits and (self.end is None or self.end.fits)

    def __str__(self) -> str:
        if self.end is None:
            return str(self.start)
        return f"{self.start}~{self.end}~{self.run.hex}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """The place of such a text; None for anything else. ``0`` is the beginning."""
        if len(text) > _MAX_TEXT:
            return None
        if text == "0":
            return cls(BEGINNING)
        head, *way = text.split("~")
        start = Position.parse(head)
        if start is None or len(way) not in (0, 2):
            return None
        if not way:
            return cls(start)
        end, step = Position.parse(way[0]), _STEP.fullmatch(way[1])
        if end is None or step is None:
            return None
        return cls(start, end, uuid.UUID(step[1]), int(step[2]))


def _last_drawn() -> list[int]:
    """The highest id that each table has given, though its row may be gone or yet to come."""
    tables = [source._meta.db_table for source in SOURCES]
    with connection.cursor() as cursor:
        if database.is_sqlite():
            cursor.execute("SELECT name, seq FROM sqlite_sequence")
        else:
            cursor.execute(
                "SELECT name, pg_sequence_last_value(pg_get_serial_sequence(name, 'id')::regclass) "
                "FROM unnest(%s::text[]) AS name",
                [tables],
            )
        drawn = dict(cursor.fetchall())
    return [drawn.get(table) or 0 for table in tables]
