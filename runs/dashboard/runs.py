"""The run list."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_safe

from runs.dashboard.access import DELETE, OPERATE, actor_of, page, sees_part, shown_runs
from runs.dashboard.activity import rows_of
from runs.dashboard.tabs import count_newer, counted_tabs, tabs
from runs.filters import RunFilters, parse_filters
from runs.listing import PAGE_SIZE, RunPage, load_page
from runs.models import FailureGroup, Job
from runs.registry import registry


@page
@require_safe
def run_list(request: HttpRequest) -> HttpResponse:
    """Runs, newest first, filtered by the query string."""
    filters = parse_filters(request.GET)
    found = RunPage([], None, None)
    if not filters.problems:
        found = load_page(filters, within=shown_runs(request))
    context = {
        "filters": filters,
        "page": found,
        "newer_query": filters.query(cursor=found.newer),
        "older_query": filters.query(cursor=found.older),
        "last_run": found.runs[-1] if found.runs else None,
        "rows": rows_of(found.runs, actor_of(request), max_labels=1),
        "tabs": tabs(filters),
        "nav": "runs",
        "chips": _chips(request, filters),
        "job_names": _job_names(filters),
        "live_query": "" if filters.problems else _live_query(filters, found),
        "bulk": _bulk(request),
    }
    status = 400 if filters.problems else 200
    return render(request, "dashboard/runs.html", context, status=status)


@page
@require_GET
def run_list_live(request: HttpRequest) -> HttpResponse:
    """The rows of a list that is open, as they are now, none moved; and what came after."""
    filters = parse_filters(request.GET)
    shown = [id for id in map(_uuid, request.GET.getlist("shown")) if id][:PAGE_SIZE]
    visible = shown_runs(request)
    runs = list(visible.filter(id__in=shown).summaries())
    rows = {row.run.id: row for row in rows_of(runs, actor_of(request), max_labels=1)}
    newest = "top" in request.GET
    context = {
        "filters": filters,
        "rows": [rows.get(id) or {"gone": id} for id in shown],
        "new": count_newer(filters, _uuid(request.GET["top"]), visible) if newest else "",
        "live_query": request.GET.urlencode(),
        "bulk": _bulk(request),
    }
    return render(request, "dashboard/runs_live.html", context)


@page
@require_GET
def run_list_counts(request: HttpRequest) -> HttpResponse:
    """The status tabs with their numbers."""
    filters = parse_filters(request.GET)
    found = tabs(filters)
    if not filters.problems:
        found = counted_tabs(filters, shown_runs(request))
    context = {"filters": filters, "tabs": found, "counted": True}
    return render(request, "dashboard/tabs.html", context)


def _bulk(request: HttpRequest) -> dict[str, bool]:
    """Which buttons there are for a selection; none without a permission."""
    actor = actor_of(request)
    may = {"operate": actor.may(OPERATE), "delete": actor.may(DELETE)}
    return may if any(may.values()) else {}


def _live_query(filters: RunFilters, found: RunPage) -> str:
    """What the page asks for to refresh itself: the runs shown and, on the newest page, the top."""
    shown = "".join(f"&shown={run.id}" for run in found.runs)
    top = "" if found.newer else f"&top={found.runs[0].id if found.runs else ''}"
    return f"{filters.query()}{shown}{top}".lstrip("&")


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _job_names(filters: RunFilters) -> list[str]:
    stored = Job.objects.values_list("name", flat=True)
    return sorted({*registry.names(), *stored, *filters.jobs})


def _chips(request: HttpRequest, filters: RunFilters) -> list[dict[str, Any]]:
    """The active filters, each with the query string that is left without it."""
    chips = []
    for job in filters.jobs:
        rest = tuple(other for other in filters.jobs if other != job)
        chips.append({"kind": "job", "text": job, "rest": filters.query(jobs=rest)})
    for pair in filters.labels:
        left = tuple(other for other in filters.labels if other != pair)
        text = ":".join(pair)
        chips.append({"kind": "label", "text": text, "rest": filters.query(labels=left)})
    for name in ("since", "until"):
        if getattr(filters, name):
            rest_query = filters.query(**{name: None})
            chips.append({"kind": name, "text": filters.texts[name], "rest": rest_query})
    if filters.failure:
        groups = FailureGroup.objects.filter(pk=filters.failure)
        group = None if sees_part(request) else groups.first()
        text = f"{group.error_type} in {group.job}" if group else f"…{filters.failure[-4:]}"
        chips.append({"kind": "failure", "text": text, "rest": filters.query(failure="")})
    return chips
