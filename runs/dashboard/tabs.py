"""How many runs each status tab stands for, and how many came since. The work is bounded."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, replace

from django.db.models import Count

from runs import listing
from runs.filters import RunFilters
from runs.models import Run, RunQuerySet, RunStatus
from runs.scan import walk

MAX_COUNT = 10_000
MAX_NEW = 99

#: Seconds.
COUNT_BUDGET = 0.5


@dataclass(frozen=True)
class Tab:
    """One status tab."""

    value: str
    title: str
    query: str
    current: bool
    count: str = ""


def tabs(filters: RunFilters) -> list[Tab]:
    """All statuses, without numbers, which would keep the page waiting."""
    found = [Tab("", "All", filters.query(status=()), not filters.status)]
    for value, title in RunStatus.choices:
        query = filters.query(status=(value,))
        found.append(Tab(value, title, query, filters.status == (value,)))
    return found


def counted_tabs(filters: RunFilters, within: RunQuerySet) -> list[Tab]:
    """The same, with the number of runs ``within`` that the other filters leave to each."""
    narrowed = filters.narrowed or within.is_part
    counts = _narrowed_counts(filters, within) if narrowed else _status_counts()
    return [replace(tab, count=counts[tab.value]) for tab in tabs(filters)]


def _status_counts() -> dict[str, str]:
    """All runs by status; each count reads one index and gives up early."""
    counts = {}
    for value in RunStatus.values:
        counts[value] = Run.objects.filter(status=value).order_by()[: MAX_COUNT + 1].count()
    counts[""] = sum(counts.values())
    return {value: count_text(count) for value, count in counts.items()}


def _narrowed_counts(filters: RunFilters, within: RunQuerySet) -> dict[str, str]:
    found, whole = count_by_status(replace(filters, status=(), cursor=None), within)
    counts = {"": found.total(), **{value: found[value] for value in RunStatus.values}}
    return {value: count_text(count, at_least=not whole) for value, count in counts.items()}


def count_by_status(filters: RunFilters, within: RunQuerySet) -> tuple[Counter[str], bool]:
    """The filtered runs by status, as far as the time allows, and whether those are all."""
    found: Counter[str] = Counter()
    whole = True
    for part in walk(filters, None, older=True, budget=COUNT_BUDGET, within=within):
        rows = part.runs.order_by().values_list("status").annotate(Count("id"))
        found.update(dict(rows))
        whole = part.is_last
        if found.total() > MAX_COUNT:
            break
    return found, whole


def count_newer(filters: RunFilters, top: uuid.UUID | None, within: RunQuerySet) -> str:
    """How many runs pass the filters that are newer than the one on top; empty for none."""
    count, whole = 0, True
    for part in walk(filters, top, older=False, budget=listing.LIST_BUDGET, within=within):
        count += part.runs.order_by()[: MAX_NEW + 1].count()
        whole = part.is_last
        if count > MAX_NEW:
            break
    return count_text(count, MAX_NEW, at_least=not whole) if count else ""


def count_text(count: int, limit: int | None = None, *, at_least: bool = False) -> str:
    """``12``; ``10,000+`` beyond the limit; ``12+`` if not all runs were looked at."""
    limit = MAX_COUNT if limit is None else limit
    return f"{limit:,}+" if count > limit else f"{count:,}{'+' if at_least else ''}"
