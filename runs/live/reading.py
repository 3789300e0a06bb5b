"""Reading what runs had, from the database, page by page: for who has missed something.

A page is read in one snapshot and holds at most so many records and bytes, but at least one
record. Between pages nothing is held but where to go on.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from django.db import connections
from django.db.models import Q

from runs.engine import database
from runs.live.position import SOURCES, Place, Position
from runs.live.records import KEY_FIELDS, Key, Record, load
from runs.live.selection import Selection
from runs.models import Run

P = ParamSpec("P")
T = TypeVar("T")

#: A page has at most so many rows of each table, and so many bytes, unless one row has more.
_MAX_ROWS = 500
_MAX_BYTES = 1_000_000

#: Runs that are read together, and runs that are known ahead.
_RUNS_A_PAGE = 50
_ROWS_TO_SORT = 5_000
_RUNS_AHEAD = 20_000

#: So many read at once, however many have missed something: each takes a connection.
_MAX_READERS = 4


@functools.cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MAX_READERS, thread_name_prefix="live-read")


async def in_reader(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that reads, in one of a few threads; no connection stays open."""

    def call() -> T:
        try:
            return read(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.get_running_loop().run_in_executor(_readers(), call)


@dataclass
class _Merge:
    """Rows of the three tables as one, in the order of (run, ``seq``)."""

    #: What to read of each table; None for nothing.
    wanted: Sequence[Q | None]
    after: tuple[uuid.UUID, int]
    #: Highest id read of the run in ``after``, by table: within a run ids ascend with ``seq``.
    _ids: list[int] = field(default_factory=lambda: [0] * len(SOURCES))

    def read(self, runs: Sequence[uuid.UUID]) -> tuple[list[Record], bool]:
        """The next page of these runs, and whether it is the last."""
        keys: list[Key] = []
        ends = []
        for number, wanted in enumerate(self.wanted):
            if wanted is not None:
                found = self._keys(number, wanted, runs)
                keys += found
                if len(found) == _MAX_ROWS:
                    ends.append(found[-1].order)
        keys.sort(key=lambda key: key.order)
        if ends:
            keys = [key for key in keys if key.order <= min(ends)]
        page = list(_up_to(keys, _MAX_BYTES))
        if page:
            self._advance(page)
        return load(page), not ends and len(page) == len(keys)

    def _keys(self, number: int, wanted: Q, runs: Sequence[uuid.UUID]) -> list[Key]:
        source = SOURCES[number]
        run, seq = self.after
        later = Q(run_id=run, seq__gt=seq, id__gt=self._ids[number])
        if list(runs) != [run]:  # or an index would not lead to where a long run goes on
            later |= Q(run_id__gt=run)
        rows: Any = source._default_manager.filter(wanted, later, run_id__in=runs)
        found = rows.order_by("run_id", "id").values_list(*KEY_FIELDS[source])
        return [Key(source, *row) for row in found[:_MAX_ROWS]]

    def _advance(self, page: list[Key]) -> None:
        last = page[-1]
        if last.run != self.after[0]:
            self._ids = [0] * len(SOURCES)
        self.after = last.order
        for key in page:
            if key.run == last.run:
                number = SOURCES.index(key.source)
                self._ids[number] = max(self._ids[number], key.id)


def _up_to(keys: Iterable[Key], size: int) -> Iterator[Key]:
    """The first of these that together are no larger; at least one."""
    total = 0
    for number, key in enumerate(keys):
        total += key.size
        if number and total > size:
            return
        yield key


class RunReader:
    """What one run had after ``seq``."""

    def __init__(self, run: uuid.UUID, seq: int) -> None:
        self._run = run
        self._merge = _Merge([Q()] * len(SOURCES), (run, seq))

    def read(self) -> tuple[list[Record], bool]:
        """The next page, and whether it is the last. In a thread that may read."""
        with database.snapshot():
            return self._merge.read([self._run])


class StretchReader:
    """What the runs of a selection had between a place and a later position."""

    def __init__(self, start: Place, end: Position, selection: Selection) -> None:
        self._start, self._end = start.start, end
        self.selection = selection
        self._wanted = [
            None if first == last else first.unseen() & last.seen()
            for first, last in zip(self._start.cursors, end.cursors, strict=True)
        ]
        self._merge = _Merge(self._wanted, (start.run, start.seq))
        self._runs: list[uuid.UUID] = []
        self._runs_end = False
        self._next_run = start.run

    @property
    def place(self) -> Place:
        """How far it has read."""
        return Place(self._start, self._end, *self._merge.after)

    def read(self) -> tuple[list[Record], bool]:
        """The next page, and whether it is the last. In a thread that may read."""
        with database.snapshot():
            if not self._runs and not self._runs_end:
                self._look_ahead()
            part = self._next_part()
            passing = self.selection.passing(part)
            records, is_done = self._merge.read([run for run in part if run in passing])
        if is_done:
            del self._runs[: len(part)]
        return records, not self._runs and self._runs_end

    def _next_part(self) -> list[uuid.UUID]:
        """So many of the next runs that their rows are soon sorted; at least one."""
        part = self._runs[:_RUNS_A_PAGE]
        rows = dict(Run.objects.filter(pk__in=part).values_list("pk", "seq"))
        totals = itertools.accumulate(rows.get(run, 0) for run in part)
        count = sum(total <= _ROWS_TO_SORT for total in totals)
        return part[: max(count, 1)]

    def _look_ahead(self) -> None:
        """Find the next runs that have something to tell: a scan of all between the positions."""
        found: set[uuid.UUID] = set()
        for source, wanted in zip(SOURCES, self._wanted, strict=True):
            if wanted is not None:
                rows: Any = source._default_manager.filter(wanted, run_id__gte=self._next_run)
                ids = rows.order_by("run_id").values_list("run_id", flat=True).distinct()
                found.update(ids[:_RUNS_AHEAD])
        self._runs = sorted(found)[:_RUNS_AHEAD]
        self._runs_end = len(self._runs) < _RUNS_AHEAD
        if self._runs:
            self._next_run = uuid.UUID(int=self._runs[-1].int + 1)
