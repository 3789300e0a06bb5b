"""Which runs a bulk action is about: found and counted within bounds, as its orderer sees them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from django.db.models import Count
from django.http import QueryDict

from runs import access
from runs.access import Actor
from runs.engine import lookups
from runs.errors import ValidationError
from runs.filters import RunFilters, beside, parse_filters
from runs.models import BulkAction, BulkKind, Run, RunQuerySet, RunStatus, new_id

#: Matching runs are counted up to this many, and for so many seconds.
COUNT_LIMIT = 100_000
COUNT_SECONDS = 1.0

#: So many runs are looked at by one statement, most of which may not match.
WINDOW = 20_000

MAX_SELECTION = 10_000

#: Of so many runs the policy is asked about each before it is ordered; of more, only after.
_ASKED = 1_000


@dataclass(frozen=True)
class Scope:
    """The runs that an action is about, as they were counted: none newer than ``bound``."""

    bound: UUID
    by_status: dict[str, int]
    is_exact: bool

    @property
    def total(self) -> int:
        """How many there are, or of more, how many were counted."""
        return min(sum(self.by_status.values()), COUNT_LIMIT)


def draft(
    filters: str, run_ids: Sequence[UUID | str] | None, bound: UUID | None, actor: Actor | None
) -> BulkAction:
    """An action with nothing but what it is about."""
    action = BulkAction(bound=bound or _newest(actor))
    if run_ids is None:
        action.filters = _frozen(filters)
    else:
        ids = list(dict.fromkeys(lookups.as_id(id) for id in run_ids))
        if not 0 < len(ids) <= MAX_SELECTION:
            raise ValidationError(f"Select 1 to {MAX_SELECTION:,} runs, not {len(ids):,}")
        seen = ids if actor is None else access.visible_ids(actor, ids)
        action.selection = [str(id) for id in ids if id in seen]
    return action


def _frozen(query: str) -> str:
    """The filters with their times spelled out: "24h" must not move while an action goes on,
    and a time without a zone means the zone of who asked.
    """
    filters = parse_filters(QueryDict(query))
    if filters.problems:
        raise ValidationError(f"filters: {' '.join(filters.problems)}")
    times = {"since": filters.since, "until": filters.until}
    texts = {name: moment.isoformat() if moment else "" for name, moment in times.items()}
    return replace(filters, cursor=None, texts=texts).to_query()


def count(action: BulkAction, actor: Actor | None) -> Scope:
    """Count by status those that match, or if they are few, those that the actor may operate on."""
    scope = _count_matching(action, actor)
    few = scope.is_exact and scope.total <= _ASKED
    if actor is None or not action.kind or not few or not access.asks_about_each_run():
        return scope
    runs = matching(_place(action), actor).summaries()
    allowed = Counter(r.status for r in runs if not access.refusal(actor, r, action.kind))
    return Scope(action.bound, dict(allowed), True)


def _count_matching(action: BulkAction, actor: Actor | None) -> Scope:
    """A window of runs after the other, until the limit or out of time."""
    place = _place(action)
    if place.selection is not None:
        return Scope(action.bound, _statuses(matching(place, actor)), True)
    found: Counter[str] = Counter()
    deadline = time.monotonic() + COUNT_SECONDS
    while True:
        floor = floor_of(place)
        runs = matching(place, actor)
        found.update(_statuses(runs.filter(pk__gte=floor) if floor else runs))
        if floor is None:
            return Scope(action.bound, dict(found), found.total() <= COUNT_LIMIT)
        if found.total() > COUNT_LIMIT or time.monotonic() > deadline:
            return Scope(action.bound, dict(found), False)
        place.cursor = floor


def _place(action: BulkAction) -> BulkAction:
    """The beginning of what it is about, for counting."""
    return BulkAction(bound=action.bound, filters=action.filters, selection=action.selection)


def _statuses(runs: RunQuerySet) -> dict[str, int]:
    return dict(runs.order_by().values_list("status").annotate(Count("pk")))


def matching(action: BulkAction, actor: Actor | None) -> RunQuerySet:
    """The runs that are left to do, of those that the actor sees."""
    runs = _left(action)
    if actor is not None:
        runs = access.scoped(actor, runs)
    if action.selection is not None:
        return runs.filter(pk__in=action.selection)
    if action.kind not in ("", BulkKind.CANCEL):
        # What ended since then, nobody has seen when this was ordered.
        runs = runs.exclude(finished_at__gt=action.created_at)
    return _filters(action).apply(runs)


def _left(action: BulkAction) -> RunQuerySet:
    runs = Run.objects.filter(pk__lte=action.bound)
    return runs if action.cursor is None else runs.filter(pk__lt=action.cursor)


def floor_of(action: BulkAction) -> UUID | None:
    """The last of the next ``WINDOW`` runs along an index; None if there are fewer left."""
    if action.selection is not None:
        return None
    runs = _along(_filters(action)).apply(_left(action)).newest_first()
    return runs.values_list("pk", flat=True)[WINDOW - 1 : WINDOW].first()


def _along(filters: RunFilters) -> RunFilters:
    """The part of the filters that one index follows, from new runs to old ones."""
    along = replace(filters, status=(), jobs=(), labels=(), q="")
    if filters.failure:
        return along
    if len(filters.jobs) == 1:
        failed = filters.status if filters.status == (RunStatus.FAILED,) else ()
        return replace(along, jobs=filters.jobs, status=failed)
    return replace(along, status=filters.status) if len(filters.status) == 1 else along


def _filters(action: BulkAction) -> RunFilters:
    return parse_filters(QueryDict(action.filters))


def _newest(actor: Actor | None) -> UUID:
    """A bound that takes in all there are. Somebody may be shown it, so it names no hidden run."""
    newest = Run.objects.newest_first().values_list("pk", flat=True).first()
    if newest is None:
        return new_id()
    is_open = actor is None or access.sees_all_runs(actor)
    return newest if is_open else beside(newest, above=True)
