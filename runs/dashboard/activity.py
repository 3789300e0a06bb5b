"""What is going on with a run, in words. A fixed number of queries, whatever the rows."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from django.utils import timezone

from runs import access
from runs.access import Actor
from runs.dashboard.progress import Progress, read_progress
from runs.dashboard.waiting import Reason, gather, live_workers, why_waiting
from runs.models import EventKind, Run, RunEvent, RunStatus

__all__ = ["Row", "copies_of", "failed_alike", "live_workers", "rows_of"]

_MAX_COPIES = 5
_MAX_ALIKE = 1_000


@dataclass
class Row:
    """A run with what its line in a list says."""

    run: Run
    progress: Progress | None
    holder: uuid.UUID | None = None
    reason: str = ""
    why: Reason | None = None
    labels: list[str] = field(default_factory=list)

    @property
    def took(self) -> timedelta | None:
        """From the start to the end, or until now."""
        if self.run.started_at is None:
            return None
        return (self.run.finished_at or timezone.now()) - self.run.started_at

    @property
    def more_labels(self) -> int:
        return len(self.run.labels) - len(self.labels)


def rows_of(runs: list[Run], actor: Actor, max_labels: int = 2) -> list[Row]:
    """Lines of a list, as the actor sees them. A fixed number of queries."""
    waiting = [run for run in runs if not run.is_terminal]
    cancelled = [run.id for run in runs if run.status == RunStatus.CANCELLED]
    facts = gather(waiting, actor) if waiting else None
    who = _cancelled_by(cancelled) if cancelled else {}
    rows = []
    for run in runs:
        labels = [f"{key}:{value}" for key, value in run.labels.items()][:max_labels]
        row = Row(run, read_progress(run.progress), labels=labels)
        why = why_waiting(run, facts) if facts and not run.is_terminal else None
        if why is not None:
            row.why = why
            row.reason = why.sentence[0].lower() + why.sentence[1:]
            row.holder = why.run.id if why.run else None
        row.reason = who.get(run.id, row.reason)
        rows.append(row)
    return rows


def _cancelled_by(ids: list[uuid.UUID]) -> dict[uuid.UUID, str]:
    events = RunEvent.objects.filter(run_id__in=ids, kind=EventKind.CANCELLED).order_by("id")
    return {
        event.run_id: f"by {event.actor}" + (f": {event.reason}" if event.reason else "")
        for event in events
    }


def copies_of(run: Run, actor: Actor) -> list[Run]:
    """The last runs that repeat this one, of those that the actor sees."""
    copies = access.scoped(actor, Run.objects.summaries().filter(source_id=run.id))
    return list(copies.order_by("-id")[: _MAX_COPIES + 1])


def failed_alike(run: Run, actor: Actor) -> int:
    """How many other runs that the actor sees failed the same way in the last hour.

    Only the newest are looked at.
    """
    since = timezone.now() - timedelta(hours=1)
    newest = Run.objects.filter(error_fingerprint=run.error_fingerprint).order_by("-id")
    ends = newest.values_list("id", "finished_at")[:_MAX_ALIKE]
    lately = [id for id, end in ends if id != run.id and end and end >= since]
    return len(access.visible_ids(actor, lately))
