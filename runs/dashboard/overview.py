"""The overview: what needs a person, what there is, and what happened lately."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from runs.dashboard import charts, part, rates, tabs
from runs.dashboard.access import actor_of, page, sees_part, shown_runs
from runs.dashboard.attention import Backlog, find_attention, find_backlog
from runs.dashboard.shell import OPEN, count_text, load_counters
from runs.dashboard.tabs import count_by_status
from runs.dashboard.workers import Staff, load_staff
from runs.filters import RunFilters
from runs.job_stats import DAY
from runs.models import Run, RunQuerySet, RunStatus
from runs.registry import registry

_MAX_LISTED = 6


@page
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The overview, or before the first run what to do."""
    if not Run.objects.exists():
        return render(request, "dashboard/home.html", _welcome())
    is_part = sees_part(request)
    found = _own_context(request) if is_part else _context(request)
    context = {"nav": "overview", "is_part": is_part, "now": timezone.now(), **found}
    template = "overview_live.html" if "fragment" in request.GET else "overview.html"
    return render(request, f"dashboard/{template}", context)


def _welcome() -> dict[str, Any]:
    jobs = registry.all()
    staff = load_staff()
    return {
        "nav": "overview",
        "jobs": jobs,
        "first_job": next((job for job in jobs if job.name == "process-order"), None),
        "workers": staff.reporting,
        "slots": staff.slots,
    }


def _context(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    shown = rates.RANGES.get(request.GET.get("range", ""), rates.RANGES["day"])
    slots = rates.slots_of[shown.key]()
    staff = load_staff()
    days = rates.day_by_job()
    actor = actor_of(request)
    backlog = find_backlog(actor)
    return {
        "range": shown,
        "ranges": rates.RANGES.values(),
        "chart": charts.draw(slots),
        "totals": charts.Slot(
            slots[0].start,
            now,
            sum(slot.completed for slot in slots),
            sum(slot.failed for slot in slots),
            sum(slot.started for slot in slots),
        ),
        # To the end of the last slot: the list must not leave out the minute that it is now.
        "totals_links": charts.slot_links(charts.Slot(slots[0].start, slots[-1].end)),
        "tiles": _tiles(staff, days, backlog),
        "attention": find_attention(staff, backlog, actor),
        "failing": _failing(days),
        "slowest": _slowest(),
        "counted_until": rates.counted_until(),
        "fragment_url": f"?{urlencode({'range': shown.key, 'fragment': '1'})}",
    }


def _own_context(request: HttpRequest) -> dict[str, Any]:
    """For somebody who sees a part of the runs: what can be counted from these in time."""
    staff, actor = load_staff(), actor_of(request)
    return {
        "tiles": _own_tiles(shown_runs(request)),
        "attention": find_attention(staff, find_backlog(actor), actor),
        "fragment_url": "?fragment=1",
    }


@dataclass(frozen=True)
class Tile:
    """A number, what it counts, and the list behind it."""

    glyph: str
    label: str
    value: str
    note: str
    link: str
    bad: bool = False


def _tiles(staff: Staff, days: list[rates.JobDay], backlog: Backlog | None) -> list[Tile]:
    now = load_counters()
    counts = (now.running, now.pending, now.waiting)
    notes = [
        f"of {staff.slots:,} slots" if staff.slots else "no worker",
        f"oldest {short_age(backlog.age)}" if backlog else "",
        "",
    ]
    tiles = [
        Tile(s.value, s.label, count_text(count), note, charts.runs_link(status=s.value))
        for s, count, note in zip(OPEN, counts, notes, strict=True)
    ]
    failed = sum(day.failed for day in days)
    completed = sum(day.completed for day in days)
    usual = rates.usual_failures()
    ended = [
        ("failed", "Failed, 24 h", failed, "" if usual is None else f"usually {round(usual):,}"),
        ("completed", "Completed, 24 h", completed, _pace(completed)),
        ("cancelled", "Cancelled, 24 h", sum(day.cancelled for day in days), ""),
    ]
    tiles += [
        Tile(
            status,
            label,
            f"{count:,}",
            note,
            charts.runs_link(status=status, since="24h"),
            bad=status == "failed" and count > 0,
        )
        for status, label, count, note in ended
    ]
    return tiles


def _own_tiles(within: RunQuerySet) -> list[Tile]:
    open_now, all_open = count_by_status(RunFilters(status=OPEN), within)
    ended, all_ended = count_by_status(part.recent(DAY), within)
    tiles = []
    for status in OPEN:
        text = tabs.count_text(open_now[status], at_least=not all_open)
        link = charts.runs_link(status=status.value)
        tiles.append(Tile(status.value, status.label, text, "", link))
    for status in (RunStatus.FAILED, RunStatus.COMPLETED, RunStatus.CANCELLED):
        text = tabs.count_text(ended[status], at_least=not all_ended)
        link = charts.runs_link(status=status.value, since="24h")
        bad = status == RunStatus.FAILED and ended[status] > 0
        tiles.append(Tile(status.value, f"{status.label}, 24 h", text, "", link, bad=bad))
    return tiles


def _pace(count: int) -> str:
    if not count:
        return ""
    a_minute = count / 1440
    return f"{a_minute:,.1f}/min" if a_minute >= 0.95 else f"{count / 24:,.1f}/h"


def short_age(age: timedelta) -> str:
    """``40 s``, ``19 m``, ``3 h``, ``2 d``: one unit, rounded down."""
    seconds = max(0, int(age.total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:,} {unit}"
    return f"{seconds} s"


@dataclass(frozen=True)
class Failing:
    """A job with failures, and the hours in which they happened."""

    day: rates.JobDay
    spark: charts.Spark
    failed_link: str
    ended_link: str

    @property
    def percent(self) -> str:
        share = self.day.rate * 100
        return f"{share:.1f} %" if share < 10 else f"{share:.0f} %"


def _failing(days: list[rates.JobDay]) -> list[Failing]:
    worst = sorted((day for day in days if day.failed), key=lambda day: -day.failed)
    return [
        Failing(
            day,
            charts.spark(day.hours),
            charts.runs_link(status="failed", job=day.job, since="24h"),
            charts.runs_link(job=day.job, since="24h"),
        )
        for day in worst[:_MAX_LISTED]
    ]


def _slowest() -> list[tuple[rates.JobTimes, str]]:
    slowest = sorted(rates.times_by_job().values(), key=lambda times: -times.median)
    return [
        (times, charts.runs_link(status="completed", job=times.job))
        for times in slowest[:_MAX_LISTED]
    ]
