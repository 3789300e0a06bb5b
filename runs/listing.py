"""Pages of runs, both ways by id, for the run list and the API. The work is bounded by time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime

from runs.filters import Cursor, RunFilters, beside
from runs.models import Run, RunQuerySet
from runs.scan import walk

PAGE_SIZE = 50

# Seconds.
LIST_BUDGET = 0.06
SEARCH_BUDGET = 0.8


@dataclass(frozen=True)
class Searched:
    """How many runs were looked at, and back to when; ``whole`` if those were all.

    Of somebody who sees a part of the runs it is not said how many: others were among them.
    """

    count: int | None
    whole: bool
    end: datetime | None

    @property
    def count_text(self) -> str:
        return "" if self.count is None else f"{self.count:,}"


@dataclass(frozen=True)
class RunPage:
    """Runs newest first, and where the pages before and after start."""

    runs: list[Run]
    newer: Cursor | None
    older: Cursor | None
    searched: Searched | None = None  # of a page that is not full


def load_page(
    filters: RunFilters, size: int = PAGE_SIZE, *, within: RunQuerySet | None = None
) -> RunPage:
    """The page that the filters and their cursor name, of the runs ``within``, else of all."""
    cursor = filters.cursor
    older = cursor is None or cursor.older
    found: list[Run] = []
    looked, edge, whole = 0, cursor.id if cursor else None, True
    budget = SEARCH_BUDGET if filters.q else LIST_BUDGET
    for part in walk(filters, edge, older=older, budget=budget, within=within):
        order = "-id" if older else "id"
        found += part.runs.summaries().order_by(order)[: size + 1 - len(found)]
        looked, edge, whole = looked + part.length, part.edge, part.is_last
        if len(found) > size:
            break
    if not older and not found and whole:
        return load_page(replace(filters, cursor=None), size, within=within)
    if len(found) > size:
        return _page(filters, found, size, edge, None)
    is_part = within is not None and within.is_part
    searched = Searched(None if is_part else looked, whole, None if whole else _created_at(edge))
    if is_part and edge is not None:
        edge = _unnamed(edge, found, older=older)
    return _page(filters, found, size, edge, searched)


def _unnamed(edge: uuid.UUID, found: list[Run], *, older: bool) -> uuid.UUID:
    """The edge, but not the id of a run that may be hidden: cursors are shown."""
    return edge if any(run.id == edge for run in found) else beside(edge, above=older)


def _page(
    filters: RunFilters,
    found: list[Run],
    size: int,
    edge: uuid.UUID | None,
    searched: Searched | None,
) -> RunPage:
    cursor = filters.cursor
    shown = found[:size]
    ends = searched is not None and searched.whole
    if cursor and not cursor.older:
        shown.reverse()
        front = shown[0].id if searched is None else edge
        newer = None if ends or front is None else Cursor(False, front)
        return RunPage(shown, newer, Cursor(True, shown[-1].id if shown else cursor.id), searched)
    back = shown[-1].id if searched is None else edge
    older = None if ends or back is None else Cursor(True, back)
    newer = Cursor(False, shown[0].id if shown else cursor.id) if cursor else None
    return RunPage(shown, newer, older, searched)


def _created_at(id: uuid.UUID | None) -> datetime | None:
    if id is None:
        return None
    return Run.objects.filter(pk=id).values_list("created_at", flat=True).first()
