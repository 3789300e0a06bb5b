"""The workers: what each runs now, which are missing, and which jobs nobody can run."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from runs import access
from runs.access import Actor
from runs.dashboard import charts, part
from runs.dashboard.access import actor_of, page, sees_part, shown_runs
from runs.dashboard.format import duration
from runs.dashboard.shell import LOST_FOR
from runs.filters import RunFilters
from runs.models import EventKind, Job, Run, RunEvent, RunStatus, Worker

_MAX_WORKERS = 200
_MAX_RUNS = 1000
_MAX_SHOWN_RUNS = 6
_MAX_SLOTS = 16
_MAX_PENDING = 5000
_MAX_EVENTS = 2000
_MAX_HISTORY = 10
_MAX_NAMES = 2


@dataclass(frozen=True)
class Staff:
    """All workers of now and of the last hour; newest first within each kind."""

    reporting: list[Worker]
    lost: list[Worker]
    stopped: list[Worker]
    last_seen: datetime | None  # of any worker, if none reports

    @property
    def slots(self) -> int:
        return sum(worker.concurrency for worker in self.reporting)

    @property
    def jobs(self) -> set[str]:
        """The jobs that a reporting worker knows."""
        return {name for worker in self.reporting for name in worker.jobs}

    @property
    def present(self) -> int:
        """How many should report."""
        return len(self.reporting) + len(self.lost)

    @property
    def all(self) -> list[Worker]:
        return [*self.reporting, *self.lost, *self.stopped]


def load_staff() -> Staff:
    """Two queries at most."""
    now = timezone.now()
    long_ago = now - LOST_FOR
    recent = Q(stopped_at__isnull=True, heartbeat_at__gte=long_ago) | Q(stopped_at__gte=long_ago)
    rows = list(Worker.objects.filter(recent).order_by("-heartbeat_at")[:_MAX_WORKERS])
    rows.sort(key=lambda worker: (worker.host, worker.started_at))
    present = [worker for worker in rows if worker.stopped_at is None]
    reporting = [worker for worker in present if worker.reports(now)]
    last_seen = None
    if not reporting:
        newest = Worker.objects.order_by("-heartbeat_at").values_list("heartbeat_at", flat=True)
        last_seen = newest.first()
    return Staff(
        reporting,
        [worker for worker in present if not worker.reports(now)],
        [worker for worker in rows if worker.stopped_at is not None],
        last_seen,
    )


@page
@require_safe
def worker_list(request: HttpRequest) -> HttpResponse:
    """All workers of now and of the last hour."""
    staff = load_staff()
    actor, is_part = actor_of(request), sees_part(request)
    takeovers = _takeovers(actor)
    registered = set(Job.objects.filter(registered=True).values_list("name", flat=True))
    rows = _rows(staff, takeovers, registered, actor)
    context = {
        "nav": "workers",
        "is_part": is_part,
        "staff": staff,
        "rows": rows,
        "busy": sum(row.busy for row in rows if row.state == "reports"),
        "orphans": _orphans(staff, registered, _own_pending(request) if is_part else _pending()),
        "history": _history(staff, takeovers),
        "releases": any(worker.release for worker in staff.all),
    }
    template = "workers_live.html" if "fragment" in request.GET else "workers.html"
    return render(request, f"dashboard/{template}", context)


@dataclass
class Row:
    """A worker as its line shows it."""

    worker: Worker
    state: str  # "reports", "lost", "stopped"
    runs: list[Run]
    taken_over: int
    unknown: list[str]  # registered jobs that it doesn't know
    other_release: bool
    now: datetime
    names_more: int = field(init=False)

    def __post_init__(self) -> None:
        self.names_more = max(0, len(self.unknown) - _MAX_NAMES)
        self.unknown = self.unknown[:_MAX_NAMES]

    @property
    def badge(self) -> str:
        """The class of its badge."""
        return {"reports": "completed", "lost": "failed"}.get(self.state, "cancelled")

    @property
    def word(self) -> str:
        return self.state.capitalize()

    @property
    def jobs(self) -> list[str]:
        return sorted(self.worker.jobs)

    @property
    def busy(self) -> int:
        return len(self.runs)

    @property
    def shown(self) -> list[Run]:
        return self.runs[:_MAX_SHOWN_RUNS]

    @property
    def more(self) -> int:
        return max(0, len(self.runs) - _MAX_SHOWN_RUNS)

    @property
    def heard_text(self) -> str:
        """How long ago it last reported, in whole seconds."""
        seconds = max(0, int((self.now - self.worker.heartbeat_at).total_seconds()))
        return f"{seconds} s" if seconds < 60 else duration(seconds)

    @property
    def slots(self) -> list[charts.Rect]:
        """One mark for each slot, or of many slots one mark for the busy part."""
        total, busy = self.worker.concurrency, min(self.busy, self.worker.concurrency)
        if total > _MAX_SLOTS:
            share = busy / total * 100
            parts = [(0.0, share, "f-run"), (share, 100 - share, "f-line")]
        else:
            width = 100 / total
            parts = [
                (n * width, width * 0.76, "f-run" if n < busy else "f-line") for n in range(total)
            ]
        return [charts.Rect(f"{x:.1f}%", f"{w:.1f}%", "1", "12", kind) for x, w, kind in parts]


def _rows(
    staff: Staff, takeovers: Sequence[RunEvent], registered: set[str], actor: Actor
) -> list[Row]:
    """One line each with the runs that the actor sees, in one query, or two."""
    held: dict[uuid.UUID | None, list[Run]] = defaultdict(list)
    owned = Run.objects.filter(lease_owner__in=[worker.pk for worker in staff.all])
    columns = ("id", "job", "status", "lease_owner", "current_step")
    runs = list(owned.only(*columns).order_by("id")[:_MAX_RUNS])
    seen = access.visible_ids(actor, [run.pk for run in runs])
    for run in (run for run in runs if run.pk in seen):
        held[run.lease_owner].append(run)
    taken = Counter(str((event.data or {}).get("from", "")) for event in takeovers)
    releases = Counter(worker.release for worker in staff.reporting)
    usual = max(releases, key=lambda release: releases[release], default="")
    now = timezone.now()
    rows = []
    for state, group in (
        ("reports", staff.reporting),
        ("lost", staff.lost),
        ("stopped", staff.stopped),
    ):
        for worker in group:
            unknown = sorted(registered - set(worker.jobs)) if state == "reports" else []
            other = state == "reports" and worker.release != usual
            rows.append(
                Row(worker, state, held[worker.pk], taken[str(worker.pk)], unknown, other, now)
            )
    return rows


def _takeovers(actor: Actor) -> list[RunEvent]:
    """The latest runs that were taken over from a dead worker, among the last events.

    Of those that the actor sees.
    """
    newest = RunEvent.objects.order_by("-id").values("pk")[:_MAX_EVENTS]
    taken_over = RunEvent.objects.filter(pk__in=newest, kind=EventKind.TAKEN_OVER)
    found = taken_over.filter(created_at__gte=timezone.now() - LOST_FOR).select_related("run")
    columns = ("kind", "actor", "data", "created_at", "run__job")
    events = list(found.only(*columns).order_by("-id"))
    seen = access.visible_ids(actor, [event.run_id for event in events])
    return [event for event in events if event.run_id in seen]


@dataclass(frozen=True)
class Orphan:
    """A job that no reporting worker knows."""

    job: str
    registered: bool
    pending: str
    since: datetime | None


@dataclass(frozen=True)
class Pending:
    """How many runs wait, and since when the oldest, by job."""

    counts: Counter[str]
    first: dict[str, datetime]
    more: bool


def _pending() -> Pending:
    """The runs that have waited longest. One query."""
    pending = Run.objects.filter(status=RunStatus.PENDING).order_by("id")
    oldest = Run.objects.filter(pk__in=pending.values("pk")[:_MAX_PENDING]).order_by()
    found = list(oldest.values_list("job").annotate(Count("pk"), Min("created_at")))
    counts = Counter({job: count for job, count, _ in found})
    first = {job: created_at for job, _, created_at in found}
    return Pending(counts, first, counts.total() == _MAX_PENDING)


def _own_pending(request: HttpRequest) -> Pending:
    """Those that the person sees, the newest of them."""
    filters = RunFilters(status=(RunStatus.PENDING,))
    rows, whole = part.newest_rows(filters, shown_runs(request), "job", "created_at")
    return Pending(Counter(job for job, _ in rows), dict(rows), not whole)


def _orphans(staff: Staff, registered: set[str], pending: Pending) -> list[Orphan]:
    """Registered jobs, and jobs with pending runs, that no worker knows."""
    counts, more = pending.counts, "+" if pending.more else ""
    unknown = (registered | counts.keys()) - staff.jobs
    orphans = [
        Orphan(
            job,
            job in registered,
            f"{counts[job]:,}{more}" if counts[job] else "",
            pending.first.get(job),
        )
        for job in unknown
    ]
    return sorted(orphans, key=lambda orphan: (-counts[orphan.job], orphan.job))


@dataclass(frozen=True)
class Happening:
    """A line of what happened to the workers."""

    at: datetime
    kind: str
    word: str
    note: str
    run: Run | None = None


def _history(staff: Staff, takeovers: Sequence[RunEvent]) -> list[Happening]:
    """What happened to workers in the last hour, newest first."""
    long_ago = timezone.now() - LOST_FOR
    lines = [
        Happening(event.created_at, "h-plain", "Taken over", f"by {event.actor}", event.run)
        for event in takeovers
    ]
    for worker in staff.all:
        release = f" with {worker.release}" if worker.release else ""
        if worker.started_at >= long_ago:
            lines.append(Happening(worker.started_at, "h-run", "Started", f"{worker}{release}"))
        if worker.stopped_at:
            lines.append(Happening(worker.stopped_at, "h-wait", "Stopped", str(worker)))
    lines += [
        Happening(worker.heartbeat_at, "h-bad", "Last heard of", str(worker))
        for worker in staff.lost
    ]
    lines.sort(key=lambda line: line.at, reverse=True)
    return lines[:_MAX_HISTORY]
