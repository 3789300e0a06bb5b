"""What needs a person now, the gravest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.urls import reverse
from django.utils import timezone

from runs import access
from runs.access import Actor
from runs.dashboard import charts
from runs.dashboard.failure_groups import Group, load_groups, own_groups
from runs.dashboard.format import clock, duration
from runs.dashboard.stalled import find_stalled
from runs.dashboard.workers import Staff
from runs.job_stats import DAY
from runs.models import FailureGroup, Job, Run

_MAX_GROUPS = 20
_SHOWN_GROUPS = 3
_SHOWN_STALLED = 3
_SHOWN_PAUSED = 5
_LONG = timedelta(minutes=1)

# The queue's index, from one priority to the next, as a claim reads it.
_OLDEST_DUE = """
    WITH RECURSIVE levels(priority) AS (
        SELECT max(priority) FROM runs_run WHERE due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT max(q.priority) FROM runs_run q
                WHERE q.due_at IS NOT NULL AND q.priority < levels.priority)
        FROM levels WHERE levels.priority IS NOT NULL
    )
    SELECT (SELECT q.id FROM runs_run q
            WHERE q.due_at IS NOT NULL AND q.priority = levels.priority
            ORDER BY q.due_at, q.id LIMIT 1)
    FROM levels WHERE levels.priority IS NOT NULL LIMIT 50
"""


@dataclass(frozen=True)
class Backlog:
    """The runs that could start now if somebody took them: since when the oldest could."""

    oldest: Run
    since: datetime

    @property
    def age(self) -> timedelta:
        return timezone.now() - self.since


def find_backlog(actor: Actor) -> Backlog | None:
    """The oldest run that is due, whatever its priority; None if it is hidden from the actor.

    Two queries.
    """
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST_DUE)
        ids = [row[0] for row in cursor.fetchall()]
    due = Run.objects.summaries().filter(pk__in=ids, due_at__lte=timezone.now())
    oldest = due.order_by("due_at").first()
    if oldest is None or oldest.due_at is None or not access.visible_ids(actor, [oldest.pk]):
        return None
    return Backlog(oldest, oldest.due_at)


@dataclass(frozen=True)
class Item:
    """One thing, in words, and where to look at it."""

    glyph: str
    title: str
    note: str
    button: str
    link: str


def find_attention(staff: Staff, backlog: Backlog | None, actor: Actor) -> list[Item]:
    """Everything that concerns the actor, in at most six queries if they see all runs."""
    return [
        *_no_worker(staff),
        *(_failures() if access.sees_all_runs(actor) else _own_failures(actor)),
        *_stalled(actor),
        *_lost_workers(staff),
        *_backlog(backlog),
        *_paused(),
    ]


def _no_worker(staff: Staff) -> list[Item]:
    if staff.reporting:
        return []
    title = "No worker is alive"
    if staff.last_seen:
        title = f"No worker alive since {_time(staff.last_seen)}"
    note = "no run starts or goes on"
    return [Item("failed", title, note, "Open workers", reverse("workers"))]


def _lost_workers(staff: Staff) -> list[Item]:
    link = reverse("workers")
    if not staff.reporting:
        return []
    if len(staff.lost) > 1:
        title = f"{len(staff.lost):,} workers do not report"
        return [Item("caution", title, "", "Open workers", link)]
    return [
        Item(
            "caution",
            f"Worker {worker} does not report",
            f"for {_ago(worker.heartbeat_at)}",
            "Open workers",
            link,
        )
        for worker in staff.lost
    ]


def _failures() -> list[Item]:
    """The loudest failures of the last day among those seen last."""
    recent = FailureGroup.objects.filter(last_seen__gte=timezone.now() - DAY)
    rows = list(recent.order_by("-last_seen")[: _MAX_GROUPS + 1])
    return _loudest(load_groups(rows), more=len(rows) > _MAX_GROUPS)


def _own_failures(actor: Actor) -> list[Item]:
    """The same, of the newest failed runs that the actor sees."""
    own = own_groups(access.visible_runs(actor))
    recent = [each.group for each in own if each.group.count("24h")]
    return _loudest(recent, more=False)


def _loudest(found: list[Group], *, more: bool) -> list[Item]:
    groups = sorted(found, key=lambda group: -group.count("24h"))
    items = [_failure(group) for group in groups[:_SHOWN_GROUPS]]
    if rest := groups[_SHOWN_GROUPS:]:
        mark = "+" if more else ""
        runs = sum(group.count("24h") for group in rest)
        title = f"{len(rest):,}{mark} other error{'' if len(rest) == 1 else 's'}"
        note = f"{_plural(runs, 'failure')}{mark} in 24 h"
        link = f"{reverse('failures')}?seen=24h"
        items.append(Item("failed", title, note, "Look at all failures", link))
    return items


def _failure(group: Group) -> Item:
    row, count = group.row, group.count("24h")
    runs = "1 run" if count == 1 else f"{count:,} runs"
    new = row.first_seen >= timezone.now() - DAY
    times = [f"since {_time(row.first_seen)}" if new else f"last at {_time(row.last_seen)}"]
    if lately := group.count("1h"):
        times.append(f"{lately:,} in the last hour")
    title = f"{runs} of {row.job} failed with {row.error_type}"
    link = reverse("failure", args=[row.pk])
    return Item("failed", title, ", ".join(times), "Look at the failure", link)


def _stalled(actor: Actor) -> list[Item]:
    found = find_stalled()
    seen = access.visible_ids(actor, [each.run.pk for each in found])
    found = [each for each in found if each.run.pk in seen]
    items = []
    for each in found[:_SHOWN_STALLED]:
        where = f" in {each.run.current_step}" if each.run.current_step else ""
        signs = "no progress, no log line" if each.run.progress is not None else "no log line"
        note = f"{signs}, no finished step for {_ago(each.since)}{where}"
        link = reverse("run", args=[each.run.pk])
        title = f"{each.run.job} …{str(each.run.pk)[-4:]} has stalled"
        items.append(Item("caution", title, note, "Open the run", link))
    if more := len(found) - len(items):
        title = f"{_plural(more, 'other run')} {'has' if more == 1 else 'have'} stalled"
        link = charts.runs_link(status="running")
        items.append(Item("caution", title, "", "See running runs", link))
    return items


def _backlog(backlog: Backlog | None) -> list[Item]:
    if backlog is None or backlog.age < _LONG:
        return []
    age = duration(backlog.age.total_seconds())
    return [
        Item(
            "caution",
            f"A run of {backlog.oldest.job} has been waiting for {age}",
            "the oldest of those that could start now",
            "See why it waits",
            reverse("run", args=[backlog.oldest.pk]),
        )
    ]


def _paused() -> list[Item]:
    jobs = Job.objects.filter(paused_at__isnull=False).order_by("paused_at")
    items = []
    for job in jobs.only("name", "paused_at", "paused_by", "pause_reason")[:_SHOWN_PAUSED]:
        since = f" since {_time(job.paused_at)}" if job.paused_at else ""
        reason = f": {job.pause_reason}" if job.pause_reason else ""
        note = f"by {job.paused_by}{since}{reason}"
        link = reverse("job", args=[job.name])
        items.append(Item("caution", f"{job.name} is paused", note, "Open the job", link))
    return items


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _time(moment: datetime) -> str:
    return clock(moment)


def _ago(moment: datetime) -> str:
    return duration((timezone.now() - moment).total_seconds())
