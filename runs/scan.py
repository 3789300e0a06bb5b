"""Looking through runs in slices, so that no filter can make a page slow.

A slice is a bounded number of runs along one index: that of the filter which the fewest runs
pass, as far as the newest of them tell. The other filters are then checked on the slice alone.
Whoever walks over slices stops when enough is found or the time is over, and says how far it got.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from runs.filters import RunFilters
from runs.models import Label, Run, RunQuerySet, RunStatus

_FIRST = 51  # a page and one more
_GROWTH = 4
_MAX_IDS = 4_000
_MAX_RANGE = 16_000
_SAMPLE = 1_000
_LEAST = 250  # however slow the machine is
_MAX_VALUES = 20  # of the label that all of the runs have; each is a query

#: Queries for ids from an edge on, each in the order of the walk along an index.
Ids = QuerySet[Any, uuid.UUID]
Source = Callable[[uuid.UUID | None], list[Ids]]


@dataclass(frozen=True)
class Slice:
    """Some runs that lie next to each other: those of them that pass, and how many there are."""

    runs: RunQuerySet
    length: int
    edge: uuid.UUID
    is_last: bool


def walk(
    filters: RunFilters,
    edge: uuid.UUID | None,
    *,
    older: bool,
    budget: float,
    within: RunQuerySet | None = None,
) -> Iterator[Slice]:
    """Slices from ``edge`` on, at least one if there are runs, until the time is over.

    ``budget`` is in seconds. Of each slice only the runs ``within`` are given, if that is set.
    """
    shown = Run.objects.all() if within is None else within
    deadline = time.monotonic() + budget
    source = _sparsest(filters, shown, edge, older=older)
    most = _MAX_IDS if source else _MAX_RANGE
    length, looked = _FIRST, 0
    while True:
        began = time.monotonic()
        part = (
            _listed(filters, shown, source, edge, length, older=older)
            if source
            else _ranged(filters, shown, edge, length, older=older)
        )
        if part is None:
            if edge is not None:  # the slice before was the last, and just full
                yield Slice(Run.objects.none(), 0, edge, True)
            return
        yield part
        now = time.monotonic()
        looked += part.length
        if part.is_last or (now >= deadline and looked >= _LEAST):
            return
        edge = part.edge
        if (now - began) * _GROWTH < deadline - now:  # so much more is expected to end in time
            length = min(length * _GROWTH, most)


def _listed(
    filters: RunFilters,
    shown: RunQuerySet,
    source: Source,
    edge: uuid.UUID | None,
    length: int,
    *,
    older: bool,
) -> Slice | None:
    ids = _first(source(edge), length, older=older)
    if not ids:
        return None
    runs = filters.apply(shown.filter(id__in=ids))
    return Slice(runs, len(ids), ids[-1], len(ids) < length)


def _ranged(
    filters: RunFilters,
    shown: RunQuerySet,
    edge: uuid.UUID | None,
    length: int,
    *,
    older: bool,
) -> Slice | None:
    """A slice of all runs. Only its far end is looked up."""
    every = filters.within_time(_beyond(Run.objects.all(), edge, older=older))
    ids = every.order_by("-id" if older else "id").values_list("id", flat=True)
    runs = filters.apply(_beyond(shown, edge, older=older))
    end = next(iter(ids[length - 1 : length]), None)
    if end is None:
        last = ids.last()
        return None if last is None else Slice(runs, ids.count(), last, True)
    return Slice(runs.filter(**{"id__gte" if older else "id__lte": end}), length, end, False)


def _sparsest(
    filters: RunFilters, shown: RunQuerySet, edge: uuid.UUID | None, *, older: bool
) -> Source | None:
    """The ids that pass the filter with the fewest runs; None if no filter has an index."""
    sources = list(_sources(filters, older=older))
    if shown.along_label is not None and len(shown.along_label[1]) <= _MAX_VALUES:
        sources.append(_by_label(*shown.along_label, filters, older=older))
    if len(sources) < 2:
        return sources[0] if sources else None
    reaches = [_reach(source(edge), older=older) for source in sources]
    if None in reaches:
        return sources[reaches.index(None)]
    known = [reach for reach in reaches if reach is not None]
    return sources[known.index(min(known) if older else max(known))]


def _reach(queries: list[Ids], *, older: bool) -> uuid.UUID | None:
    """The id up to which there are a number of runs: far if they are few, None if fewer."""
    ends = [end for query in queries for end in query[_SAMPLE - 1 : _SAMPLE]]
    return (max(ends) if older else min(ends)) if ends else None


def _first(queries: list[Ids], length: int, *, older: bool) -> list[uuid.UUID]:
    found = [id for query in queries for id in query[:length]]
    return sorted(found, reverse=older)[:length]


def _sources(filters: RunFilters, *, older: bool) -> Iterator[Source]:
    if filters.failure:
        yield _by_values("error_fingerprint", (filters.failure,), filters, older=older)
    if exact := filters.exact_id:
        yield _by_values("id", (exact,), filters, older=older)
    if filters.jobs and filters.status == (RunStatus.FAILED,):
        # An index of their own: both alone may have very many runs, of which few have the other.
        yield _by_values("job", filters.jobs, filters, older=older, status=RunStatus.FAILED)
    else:
        if filters.status:
            yield _by_values("status", filters.status, filters, older=older)
        if filters.jobs:
            yield _by_values("job", filters.jobs, filters, older=older)
    for key, value in filters.labels:
        yield _by_label(key, (value,), filters, older=older)


def _by_values(
    field: str, values: tuple[object, ...], filters: RunFilters, *, older: bool, **also: str
) -> Source:
    """One query a value: each follows the index, where IN would sort all that it finds."""

    def queries(edge: uuid.UUID | None) -> list[Ids]:
        runs = _beyond(Run.objects.filter(**filters.id_bounds("id"), **also), edge, older=older)
        runs = runs.order_by("-id" if older else "id")
        return [runs.filter(**{field: value}).values_list("id", flat=True) for value in values]

    return queries


def _by_label(key: str, values: tuple[str, ...], filters: RunFilters, *, older: bool) -> Source:
    def queries(edge: uuid.UUID | None) -> list[Ids]:
        labels = Label.objects.filter(key=key, **filters.id_bounds("run_id"))
        if edge is not None:
            labels = labels.filter(**{"run_id__lt" if older else "run_id__gt": edge})
        ordered = labels.order_by("-run_id" if older else "run_id")
        return [ordered.filter(value=value).values_list("run_id", flat=True) for value in values]

    return queries


def _beyond(runs: RunQuerySet, edge: uuid.UUID | None, *, older: bool) -> RunQuerySet:
    if edge is None:
        return runs
    return runs.filter(**{"id__lt" if older else "id__gt": edge})
