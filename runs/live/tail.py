"""Reading what is new, across processes and databases. For the poller's thread alone."""

from __future__ import annotations

import time
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from runs.live.changes import MAX_EVENTS, Changes, Event, Moved, Topics
from runs.live.cursor import MAX_HOLES, Cursor, Range, Source, gaps
from runs.models import Run, RunEvent, RunStatus, Worker

_CHUNK = 1_000
_MAX_RUNNING = 1_000
_MAX_CATCH_UP = 20_000
_WORKER_PAUSE = 2.0
_FIELDS = ("id", "run_id", "run__job", "kind", "seq")


class Transactions(NamedTuple):
    """The oldest transaction that still runs, and the first that has not begun."""

    oldest: int
    next: int

    @classmethod
    def now(cls) -> Transactions:
        """Those of this moment, or of the snapshot that the caller reads in (PostgreSQL)."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_snapshot_xmin(now)::text, pg_snapshot_xmax(now)::text "
                "FROM pg_current_snapshot() AS now"
            )
            oldest, next_one = cursor.fetchone()
        return cls(int(oldest), int(next_one))


@dataclass
class _Hole:
    """Ids that were not there, and the first transaction that can't have taken them."""

    range: Range
    horizon: int | None = None


class Tail:
    """Every row of a table after ``start`` once, soon after it can be seen, however late it came.

    A row is a tuple of these ``fields``, of which the first is ``id``. More than ``max_holes``
    are not remembered; the lowest are given up first.
    """

    def __init__(
        self,
        source: Source,
        fields: Sequence[Any],
        start: Cursor,
        *,
        max_holes: int = MAX_HOLES,
        chunk: int = _CHUNK,
    ) -> None:
        self._source = source
        self._fields = fields
        self._last = start.last
        self._holes = [_Hole(found) for found in start.holes]
        self._max_holes = max_holes
        self._chunk = chunk
        self.has_more = False

    @property
    def cursor(self) -> Cursor:
        return Cursor(self._last, tuple(hole.range for hole in self._holes))

    def read(self) -> list[tuple[Any, ...]]:
        """What appeared since the last call, at most a chunk of it and what filled holes."""
        late = self._read_holes() if self._holes else []
        rows = self._rows(Q(id__gt=self._last))[: self._chunk]
        found = list(rows)
        if found:
            self._holes += map(_Hole, gaps(self._last, (row[0] for row in found)))
            del self._holes[: -self._max_holes]
            self._last = found[-1][0]
        self.has_more = len(found) == self._chunk
        return late + found

    def _read_holes(self) -> list[tuple[Any, ...]]:
        # In this order: what is over by now has committed before the holes are looked at.
        transactions = Transactions.now()
        found = self._rows(Q(id__in=self._filled()))
        rows = list(found)
        ids = [row[0] for row in rows]
        left: list[_Hole] = []
        for hole in self._holes:
            horizon = transactions.next if hole.horizon is None else hole.horizon
            if horizon > transactions.oldest:
                first, last = hole.range
                inside = ids[bisect_left(ids, first) : bisect_right(ids, last)]
                left += [_Hole(part, horizon) for part in gaps(first - 1, [*inside, last + 1])]
        self._holes = left
        return rows

    def _filled(self) -> list[int]:
        """The ids in holes that are there now; one probe of the index for each hole."""
        table = self._source._meta.db_table
        firsts = [hole.range[0] for hole in self._holes]
        lasts = [hole.range[1] for hole in self._holes]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT found.id FROM unnest(%s::bigint[], %s::bigint[]) AS hole(first, last) "  # noqa: S608
                f"JOIN {table} found ON found.id BETWEEN hole.first AND hole.last",
                [firsts, lasts],
            )
            return [row[0] for row in cursor.fetchall()]

    def _rows(self, wanted: Q) -> Any:
        rows: Any = self._source._default_manager.filter(wanted).order_by("id")
        return rows.values_list(*self._fields)


class EventTail:
    """The history of all runs as ``Event``s, for pages."""

    def __init__(self, start: Cursor) -> None:
        self._tail = Tail(RunEvent, _FIELDS, start)

    @property
    def cursor(self) -> Cursor:
        return self._tail.cursor

    @property
    def has_more(self) -> bool:
        return self._tail.has_more

    def read(self) -> tuple[Event, ...]:
        """What appeared since the last call, at most a chunk of it."""
        return tuple(Event(*row) for row in self._tail.read())

    def missed(self, after: Cursor, topics: Topics) -> Changes:
        """What ``topics`` had between a cursor and this tail's."""
        now = self.cursor
        if after == now:
            return Changes(now)
        far = now.last - after.last > _MAX_CATCH_UP and topics.is_broad
        if far or after.last > now.last:
            return Changes(now, reset=True)
        wanted = after.unseen() & now.seen()
        if not topics.all_runs:
            wanted &= Q(run_id__in=topics.runs) | Q(run__job__in=topics.jobs)
        rows = RunEvent.objects.filter(wanted).order_by("id").values_list(*_FIELDS)
        events = tuple(Event(*row) for row in rows[: MAX_EVENTS + 1])
        if len(events) > MAX_EVENTS:
            return Changes(now, reset=True)
        return Changes(now, events)


class RunTail:
    """Progress, step and log of runs: which moved since the last look."""

    def __init__(self) -> None:
        self._seen: dict[uuid.UUID, tuple[Any, ...]] = {}

    def read(self, topics: Topics) -> tuple[Moved, ...]:
        """Which of the watched runs moved. One query, or two."""
        rows: dict[uuid.UUID, tuple[Any, ...]] = {}
        if topics.is_broad:
            running = Run.objects.filter(status=RunStatus.RUNNING)
            if not topics.all_runs:
                running = running.filter(job__in=topics.jobs)
            rows |= _positions(running.order_by("-id")[:_MAX_RUNNING])
        if named := topics.runs - rows.keys():
            rows |= dict.fromkeys(named, ("",)) | _positions(Run.objects.filter(id__in=named))
        before, self._seen = self._seen, rows
        # What was not looked at before has not moved: it has just begun, or is asked for anew.
        return tuple(
            _moved(id, row) for id, row in rows.items() if id in before and before[id] != row
        )

    def known(self, topics: Topics) -> tuple[Moved, ...]:
        """What moves all the time, so that a newcomer can't know how far it is, or is gone."""
        seen = ((_moved(id, row), row) for id, row in self._seen.items())
        return tuple(
            move
            for move, row in seen
            if topics.includes(move.run, move.job) and (move.gone or row[1] == RunStatus.RUNNING)
        )


class WorkerTail:
    """Which workers are alive."""

    def __init__(self) -> None:
        self._alive: frozenset[uuid.UUID] | None = None
        self._looked = 0.0

    def read(self) -> bool:
        """Whether a worker came, left or fell silent. Looks every other second at most."""
        if time.monotonic() - self._looked < _WORKER_PAUSE:
            return False
        alive = Worker.objects.reporting(timezone.now())
        before, self._alive = self._alive, frozenset(alive.values_list("id", flat=True))
        self._looked = time.monotonic()
        return before is not None and before != self._alive


def _positions(runs: Any) -> dict[uuid.UUID, tuple[Any, ...]]:
    rows = runs.values_list("id", "job", "status", "seq", "current_step", "progress")
    return {row[0]: row[1:] for row in rows}


def _moved(id: uuid.UUID, row: tuple[Any, ...]) -> Moved:
    return Moved(id, row[0], gone=row == ("",))
