"""How far somebody has read a table that is only appended to.

Ids grow, but on PostgreSQL they are committed in any order: 7 can appear after 8. So a cursor
is the highest id seen together with the *holes* below it, which may still be filled. On SQLite,
with one writer at a time, there are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from runs.engine.database import is_sqlite
from runs.models import LogEntry, RunEvent, Step

Range = tuple[int, int]  # first and last id, both inside
#: The tables whose rows make up a run's stream.
Source = type[RunEvent] | type[Step] | type[LogEntry]

#: A cursor in a text has no more holes than these; the lowest are given up first.
MAX_HOLES = 200
_NUMBER = r"(?:0|[1-9]\d{0,17})"
_TEXT = re.compile(rf"{_NUMBER}(\.{_NUMBER}(-{_NUMBER})?)*", re.ASCII)
_WINDOW = 100


@dataclass(frozen=True)
class Cursor:
    """Everything up to ``last`` was seen, but for what lies in ``holes``, which ascend."""

    last: int
    holes: tuple[Range, ...] = ()

    def __str__(self) -> str:
        """``110`` or, with holes given by their distance from the last, ``110.5.9-7``."""
        parts = [str(self.last)]
        for first, last in self.holes:
            far, near = self.last - first, self.last - last
            parts.append(str(far) if far == near else f"{far}-{near}")
        return ".".join(parts)

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The cursor of such a text; None for anything else."""
        if len(text) > 10_000 or not _TEXT.fullmatch(text):
            return None
        head, *rest = text.split(".")
        last = int(head)
        holes = []
        for part in rest[:MAX_HOLES]:
            far, _, near = part.partition("-")
            holes.append((last - int(far), last - int(near or far)))
        edges = [edge for hole in holes for edge in hole]
        if edges != sorted(edges) or (edges and not 0 < edges[0] <= edges[-1] < last):
            return None
        return cls(last, tuple(holes))

    @classmethod
    def now(cls, source: Source = RunEvent, window: int = _WINDOW) -> Cursor:
        """The cursor of somebody who has seen all that is visible in the database now.

        Every id that is missing among the latest, ``window`` of them, counts as a hole.
        """
        count = 1 if is_sqlite() else window
        rows: Any = source._default_manager.order_by("-id").values_list("id", flat=True)
        ids = list(rows[:count])
        if not ids:
            return cls(0)
        return cls(ids[0], tuple(gaps(ids[-1], sorted(ids)[1:])))

    def unseen(self) -> Q:
        """The rows that the holder of this cursor has not seen."""
        return Q(id__gt=self.last) | within(self.holes)

    def seen(self) -> Q:
        """The rows that the holder of this cursor has seen."""
        return Q(id__lte=self.last) & ~within(self.holes)


def gaps(after: int, ids: Iterable[int]) -> list[Range]:
    """What is missing between ``after`` and the last of ``ids``, which ascend."""
    if is_sqlite():
        return []
    found = []
    for id in ids:
        if id > after + 1:
            found.append((after + 1, id - 1))
        after = id
    return found


def within(ranges: Iterable[Range]) -> Q:
    """Rows whose id lies in one of the ranges."""
    found = Q(pk__in=())
    for first, last in ranges:
        found |= Q(id__gte=first, id__lte=last)
    return found
