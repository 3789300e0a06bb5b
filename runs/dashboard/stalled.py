"""Runs that a live worker holds and that give no sign of life.

A sign of life is a step that ends, a log line, or a line of the history. Progress has no time
of its own: an open page, or this process, remembers since when it has seen the same. How long
a run may be silent is the same everywhere: ``allowed_silence``.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max, OuterRef, Subquery
from django.utils import timezone

from runs.dashboard.rates import times_by_job
from runs.models import LogEntry, Run, RunEvent, RunStatus, Step

_MAX_RUNS = 50
_MAX_STEPS = 1000  # of a run with more, the newest step is not looked for
_LEAST = 60.0
_UNKNOWN = 300.0  # if nothing is known of the job
_LOOK_BACK = 200  # of a job's last runs so many are looked at, for what a step usually takes
_STEP_RUNS = 20  # and so many completed ones are counted
_MAX_LOOKED_UP = 8  # so many steps are looked up at a time; for others the job's pace counts
_SAME_PROGRESS = 20.0

# When a step of a job began and ended in the job's last good runs. Parameters: job, step. In SQL,
# because the ORM takes longer to put eight of these together than a database to answer them.
_TIMES = f"""
    SELECT s.id, s.started_at, s.finished_at, {{kind}} AS kind FROM runs_step s
    WHERE s.run_id IN (
        SELECT r.id FROM runs_run r WHERE r.status = 'completed' AND r.attempt = 1 AND r.id IN (
            SELECT id FROM runs_run WHERE job = %s ORDER BY id DESC LIMIT {_LOOK_BACK}
        ) ORDER BY r.id DESC LIMIT {_STEP_RUNS}
    ) AND s.name = %s AND s.status = 'completed'
"""  # noqa: S608 (our own numbers)


@dataclass(frozen=True)
class Silence:
    """For how long nothing came from a run, and how long that may be, in seconds."""

    seconds: float
    allowed: float

    @property
    def is_stalled(self) -> bool:
        return self.seconds > self.allowed


def allowed_silence(job: str, step_usually: float | None) -> float:
    """How many seconds a run of the job may be silent.

    Three times what its present step usually takes, else what usually lies between two signs
    of life in the job's last runs; but a minute at least, and five if neither is known.
    """
    if step_usually is not None:
        return max(_LEAST, 3 * step_usually)
    times = times_by_job().get(job)
    return max(_LEAST, 3 * times.gap) if times else _UNKNOWN


def find_silence(signs: Iterable[datetime | None], allowed: float, now: datetime) -> Silence | None:
    """Since the newest of the signs of life; None if there has been none."""
    last = max((sign for sign in signs if sign is not None), default=None)
    return None if last is None else Silence((now - last).total_seconds(), allowed)


@dataclass(frozen=True)
class Stalled:
    """A run, and since when nothing has come from it."""

    run: Run
    since: datetime

    @property
    def silent(self) -> timedelta:
        return timezone.now() - self.since


class _Watch:
    """Since when runs have looked the same to this process."""

    def __init__(self) -> None:
        self._seen: dict[uuid.UUID, tuple[Any, float]] = {}

    def look(self, runs: Iterable[Run]) -> dict[uuid.UUID, float]:
        """For how many seconds each has looked as it does now."""
        now = time.monotonic()
        seen = {}
        for run in runs:
            # Steps, log lines and history all count in ``seq``.
            state = (run.seq, str(run.progress), run.current_step)
            before = self._seen.get(run.pk)
            seen[run.pk] = before if before and before[0] == state else (state, now)
        self._seen = seen
        return {id: now - since for id, (_, since) in seen.items()}

    def forget(self) -> None:
        """Start again."""
        self._seen = {}


watch = _Watch()


def find_stalled() -> list[Stalled]:
    """Among the oldest running runs, those too long without a sign of life, oldest first.

    One query while all give signs, and two more for those that are silent.
    """
    now = timezone.now()
    runs = list(_running(now))
    same_for = watch.look(runs)
    quiet = [(run, _last_sign(run, now)) for run in runs]
    quiet = [(run, since) for run, since in quiet if (now - since).total_seconds() > _LEAST]
    newest = _newest_steps([run.pk for run, _ in quiet])
    usual = _usual_seconds([run for run, _ in quiet])
    found = []
    for run, sign in quiet:
        since = max(sign, newest.get(run.pk, sign))
        allowed = allowed_silence(run.job, usual.get((run.job, run.current_step)))
        silence = Silence((now - since).total_seconds(), allowed)
        # What may have changed unseen must have been seen not to.
        needed = allowed if run.step_count > _MAX_STEPS else _SAME_PROGRESS
        unsure = run.progress is not None or run.step_count > _MAX_STEPS
        if silence.is_stalled and (not unsure or same_for[run.pk] >= needed):
            found.append(Stalled(run, since))
    return found


def _last_sign(run: Any, now: datetime) -> datetime:
    signs: list[datetime] = [
        sign for sign in (run.started_at, run.logged, run.happened) if sign is not None
    ]
    return max(signs, default=now)


def _usual_seconds(runs: Iterable[Run]) -> dict[tuple[str, str | None], float]:
    """What the present steps of these runs usually take, by job and step. One query."""
    steps = dict.fromkeys((run.job, run.current_step) for run in runs if run.current_step)
    kinds = list(steps)[:_MAX_LOOKED_UP]
    if not kinds:
        return {}
    parts = (_TIMES.format(kind=number) for number in range(len(kinds)))
    rows: Any = Step.objects.raw(
        " UNION ALL ".join(parts), [each for kind in kinds for each in kind]
    )
    took: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    for row in rows:
        took[kinds[row.kind]].append((row.finished_at - row.started_at).total_seconds())
    return {kind: statistics.median(seconds) for kind, seconds in took.items()}


def _running(now: datetime) -> Any:
    logs = LogEntry.objects.filter(run=OuterRef("pk")).order_by("-id").values("created_at")
    events = RunEvent.objects.filter(run=OuterRef("pk")).order_by("-id").values("created_at")
    held = Run.objects.summaries().filter(
        status=RunStatus.RUNNING, lease_owner__isnull=False, lease_expires_at__gt=now
    )
    return held.annotate(logged=Subquery(logs[:1]), happened=Subquery(events[:1])).order_by("id")[
        :_MAX_RUNS
    ]


def _newest_steps(ids: list[uuid.UUID]) -> dict[uuid.UUID, datetime]:
    if not ids:
        return {}
    steps = Step.objects.filter(run_id__in=ids, run__step_count__lte=_MAX_STEPS)
    return dict(steps.order_by().values_list("run_id").annotate(Max("finished_at")))
