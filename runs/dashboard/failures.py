"""Failed runs grouped by what went wrong, and one such group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from runs.dashboard import charts, part, rates
from runs.dashboard.access import OPERATE, actor_of, page, sees_part, shown_runs
from runs.dashboard.activity import rows_of
from runs.dashboard.failure_groups import (
    AGES,
    Group,
    hours_of,
    load_groups,
    own_groups,
    slots_of,
)
from runs.dashboard.query import text_of, texts_of
from runs.dashboard.shell import capped_counts, count_text
from runs.dashboard.traceback import read_traceback
from runs.filters import RunFilters
from runs.models import FailureGroup, Run, RunQuerySet

_TITLES = {"1h": "Last hour", "24h": "24 h", "7d": "7 d", "all": "All"}
_NO_FAILURE = "There is no failure like this, or its runs were deleted."

_MAX_GROUPS = 50
_SEARCHED = 2000  # of the groups seen last
_MAX_COUNT = 999
_MAX_RUNS = 10_000
_MAX_TEXT = 200
_RECENT = 10


@dataclass(frozen=True)
class Search:
    """What the list of groups is narrowed to."""

    seen: str  # a key of AGES, or "all"
    q: str
    jobs: tuple[str, ...]

    @classmethod
    def of(cls, request: HttpRequest) -> Search:
        seen = request.GET.get("seen", "")
        q = text_of(request.GET, "q", _MAX_TEXT).strip()
        jobs = texts_of(request.GET, "job", _MAX_TEXT)
        return cls(seen if seen in (*AGES, "all") else "7d", q, tuple(jobs))

    @property
    def narrowed(self) -> bool:
        return bool(self.q or self.jobs)

    def query(self, **changes: Any) -> str:
        """The query string that leads here."""
        values: dict[str, Any] = {"seen": self.seen, "q": self.q, "job": self.jobs, **changes}
        if values["seen"] == "7d":
            values["seen"] = ""
        return urlencode({name: value for name, value in values.items() if value}, doseq=True)

    def rows(self) -> QuerySet[FailureGroup]:
        """The groups, last seen first; a text is looked for in those seen last only."""
        groups = _seen(self.seen)
        if self.narrowed:
            newest = groups.order_by("-last_seen").values("pk")[:_SEARCHED]
            groups = FailureGroup.objects.filter(pk__in=newest)
        if self.jobs:
            groups = groups.filter(job__in=self.jobs)
        if self.q:
            groups = groups.filter(
                Q(error_type__icontains=self.q)
                | Q(message__icontains=self.q)
                | Q(step__icontains=self.q)
                | Q(job__icontains=self.q)
            )
        return groups.order_by("-last_seen")

    def finds(self, row: FailureGroup) -> bool:
        """Whether a group passes, as ``rows`` has it."""
        texts = (row.error_type, row.message, row.step or "", row.job)
        found = not self.q or any(self.q.lower() in text.lower() for text in texts)
        return found and (not self.jobs or row.job in self.jobs) and _is_seen(row, self.seen)


def _is_seen(row: FailureGroup, age: str) -> bool:
    return age not in AGES or row.last_seen >= timezone.now() - AGES[age]


def _seen(age: str) -> QuerySet[FailureGroup]:
    groups = FailureGroup.objects.all()
    if age in AGES:
        groups = groups.filter(last_seen__gte=timezone.now() - AGES[age])
    return groups


@dataclass(frozen=True)
class Line:
    """A group in the list, with how many of its runs are still failed."""

    group: Group
    failed: int

    @property
    def failed_text(self) -> str:
        return count_text(self.failed, _MAX_COUNT)

    @property
    def filters(self) -> str:
        return filters_of(self.group.row.pk)


def filters_of(fingerprint: str) -> str:
    """The run list's query string for the runs that are failed like this now."""
    return urlencode({"failure": fingerprint})


def _failed_now(fingerprint: str) -> QuerySet[Run]:
    return Run.objects.filter(error_fingerprint=fingerprint)


@page
@require_safe
def failure_list(request: HttpRequest) -> HttpResponse:
    """The groups seen lately, the loudest first."""
    search = Search.of(request)
    found = _own_list(request, search) if sees_part(request) else _counted_list(search)
    context = {
        "nav": "failures",
        "search": search,
        "cut": _MAX_GROUPS if found.more else 0,
        "lines": found.lines,
        "tabs": _tabs(search, found.seen),
        "chips": _chips(search),
        "job_names": sorted({line.group.row.job for line in found.lines} | set(search.jobs)),
        "is_part": sees_part(request),
        "counted_until": rates.counted_until(),
        "may_operate": actor_of(request).may(OPERATE),
        "fragment_url": f"?{search.query(fragment='1')}",
    }
    template = "failures_live.html" if "fragment" in request.GET else "failures.html"
    return render(request, f"dashboard/{template}", context)


@dataclass(frozen=True)
class _Found:
    """What is listed, whether there is more, and how many groups were seen in each time."""

    lines: list[Line]
    more: bool
    seen: list[int]


def _counted_list(search: Search) -> _Found:
    """From the groups as they are counted."""
    rows = list(search.rows()[: _MAX_GROUPS + 1])
    groups = sorted(load_groups(rows[:_MAX_GROUPS]), key=lambda group: group.order)
    still = capped_counts([_failed_now(group.row.pk) for group in groups], _MAX_COUNT)
    lines = [Line(group, count) for group, count in zip(groups, still, strict=True)]
    counts = capped_counts([_seen(age) for age in _TITLES], _MAX_COUNT)
    return _Found(lines, len(rows) > _MAX_GROUPS, counts)


def _own_list(request: HttpRequest, search: Search) -> _Found:
    """From the failed runs that the person sees."""
    own = own_groups(shown_runs(request))
    lines = [Line(each.group, len(each.ends)) for each in own if search.finds(each.group.row)]
    counts = [sum(1 for each in own if _is_seen(each.group.row, age)) for age in _TITLES]
    return _Found(lines[:_MAX_GROUPS], len(lines) > _MAX_GROUPS, counts)


def _tabs(search: Search, counts: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "title": title,
            "query": search.query(seen=age),
            "current": search.seen == age,
            "count": count_text(count, _MAX_COUNT),
        }
        for (age, title), count in zip(_TITLES.items(), counts, strict=True)
    ]


def _chips(search: Search) -> list[dict[str, str]]:
    """The active filters, each with the query string that is left without it."""
    chips = [{"kind": "text", "text": search.q, "rest": search.query(q="")}] if search.q else []
    for job in search.jobs:
        rest = tuple(other for other in search.jobs if other != job)
        chips.append({"kind": "job", "text": job, "rest": search.query(job=rest)})
    return chips


@page
@require_safe
def failure_page(request: HttpRequest, fingerprint: str) -> HttpResponse:
    """One group: its newest error, its newest runs, and retrying them all."""
    is_part, actor = sees_part(request), actor_of(request)
    visible, unread = shown_runs(request), ("input", "output")
    runs = part.newest_runs(RunFilters(failure=fingerprint), visible, _RECENT, unread)
    if is_part:
        group, failed, hours = _own_group(fingerprint, visible)
    else:
        group, failed, hours = _counted_group(fingerprint, runs)
    context = {
        "nav": "failures",
        "group": group,
        "newest": runs[0] if runs else None,
        "trace": read_traceback(runs[0].error_traceback or "") if runs else None,
        "rows": rows_of(runs, actor),
        "failed": failed,
        "failed_text": count_text(failed, _MAX_RUNS),
        "failed_link": charts.runs_link(failure=fingerprint),
        "filters": filters_of(fingerprint),
        "chart": charts.draw(
            slots_of(hours), lambda slot: charts.slot_links(slot, failure=fingerprint)
        ),
        "is_part": is_part,
        "counted_until": rates.counted_until(),
        "may_operate": actor.may(OPERATE),
    }
    template = "failure_live.html" if "fragment" in request.GET else "failure.html"
    return render(request, f"dashboard/{template}", context)


#: A group, how many runs are failed like that now, and when it happened.
_Known = tuple[Group, int, list[tuple[datetime, int]]]


def _counted_group(fingerprint: str, runs: Sequence[Run]) -> _Known:
    row = FailureGroup.objects.filter(pk=fingerprint).first() or _uncounted(fingerprint, runs)
    [group] = load_groups([row])
    [failed] = capped_counts([_failed_now(fingerprint)], _MAX_RUNS)
    return group, failed, hours_of(fingerprint)


def _own_group(fingerprint: str, within: RunQuerySet) -> _Known:
    own = own_groups(within, fingerprint)
    if not own:
        raise Http404(_NO_FAILURE)
    return own[0].group, len(own[0].ends), own[0].hours


def _uncounted(fingerprint: str, runs: Sequence[Run]) -> FailureGroup:
    """The group of a failure that is too new to be counted."""
    if not runs:
        raise Http404(_NO_FAILURE)
    run = runs[0]
    seen = run.finished_at or run.created_at
    return FailureGroup(
        fingerprint=fingerprint,
        job=run.job,
        step=run.error_step,
        error_type=run.error_type or "",
        message=run.error_message or "",
        first_seen=seen,
        last_seen=seen,
        last_run_id=run.pk,
    )
