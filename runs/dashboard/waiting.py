"""Why a run is waiting, in one sentence and as a list of checks. A fixed number of queries."""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from django.db.models import Max
from django.utils import timezone

from runs import access
from runs.access import Actor
from runs.dashboard.eta import about
from runs.dashboard.format import clock, duration
from runs.models import Job, Run, RunStatus, Worker

_MAX_WORKERS = 500


class Cause(StrEnum):
    """What keeps a run from going on."""

    SCHEDULED = "scheduled"
    PAUSED = "paused"
    NO_WORKER = "no_worker"
    UNKNOWN_JOB = "unknown_job"
    OLD_BODY = "old_body"
    KEY = "key"
    DEAD_WORKER = "dead_worker"
    OUTSIDE = "outside"
    QUEUE = "queue"


#: Only people can change these, whatever else is in the way.
_PEOPLE = (Cause.PAUSED, Cause.NO_WORKER, Cause.UNKNOWN_JOB)


@dataclass(frozen=True)
class Check:
    """One condition: met, in the way, or to come after what is in the way."""

    state: str  # "met", "block", "later"
    text: str
    note: str = ""
    at: datetime | None = None
    run: Run | None = None


@dataclass(frozen=True)
class Reason:
    """Why a run waits. ``run`` is the one that it waits for, if it is one."""

    cause: Cause
    sentence: str
    checks: list[Check] = field(default_factory=list)
    run: Run | None = None
    left: float | None = None  # seconds, if it is known when this is over
    handed_back: bool = False


@dataclass
class Facts:
    """What decides about waiting, gathered once for any number of runs."""

    now: datetime
    workers: list[Worker]
    last_seen: datetime | None
    holders: dict[str, Run]
    paused: dict[str, Job]
    owners: dict[uuid.UUID, Worker]
    hidden: set[uuid.UUID]  # holders that are not to be named

    def knowing(self, job: str) -> list[Worker]:
        """The workers alive that know the job."""
        return [worker for worker in self.workers if job in worker.jobs]


def gather(runs: Iterable[Run], actor: Actor) -> Facts:
    """The facts about these runs, as the actor may know them.

    At most four queries, and one more for who doesn't see all runs.
    """
    runs = list(runs)
    now = timezone.now()
    owners = {run.lease_owner for run in runs if run.lease_owner}
    asked = Worker.objects.reporting(now) | Worker.objects.filter(pk__in=owners)
    found = list(asked[:_MAX_WORKERS])
    workers = [worker for worker in found if worker.reports(now)]
    last_seen = None
    if not workers:
        last_seen = Worker.objects.aggregate(last=Max("heartbeat_at"))["last"]
    keys = {r.concurrency_key for r in runs if r.status == RunStatus.PENDING and r.concurrency_key}
    held = list(Run.objects.summaries().filter(held_key__in=keys)) if keys else []
    holders = {run.pk for run in held}
    jobs = {run.job for run in runs if run.status == RunStatus.PENDING}
    paused = Job.objects.filter(name__in=jobs, paused_at__isnull=False) if jobs else []
    return Facts(
        now,
        workers,
        last_seen,
        {run.held_key: run for run in held if run.held_key},
        {job.name: job for job in paused},
        {worker.pk: worker for worker in found if worker.pk in owners},
        holders - access.visible_ids(actor, holders),
    )


def live_workers() -> list[Worker]:
    """Workers that report."""
    return list(Worker.objects.reporting(timezone.now())[:_MAX_WORKERS])


def why_waiting(run: Run, facts: Facts) -> Reason | None:
    """Why this run isn't running; None if it runs or is over."""
    if run.is_terminal:
        return None
    if run.status == RunStatus.WAITING:
        return _why_asleep(run, facts)
    if run.status == RunStatus.RUNNING and run.lease_owner is not None:
        return _why_dead(run, facts)
    handed_back = run.status == RunStatus.RUNNING
    checks = [*_own_checks(run, facts), *_key_checks(run, facts), *_worker_checks(run, facts)]
    first = next((n for n, (cause, _) in enumerate(checks) if cause), len(checks))
    listed = [
        check if number == first or cause in (None, *_PEOPLE) else _as_later(check)
        for number, (cause, check) in enumerate(checks)
    ]
    cause, blocking = checks[first] if first < len(checks) else (Cause.QUEUE, None)
    return Reason(
        cause or Cause.QUEUE,
        _sentence(run, cause, blocking, facts, handed_back=handed_back),
        listed,
        blocking.run if blocking else None,
        _left(run, cause, facts),
        handed_back,
    )


Found = tuple[Cause | None, Check]


def _as_later(check: Check) -> Check:
    return Check("later", f"Then: {check.text}", check.note, check.at, check.run)


def _own_checks(run: Run, facts: Facts) -> list[Found]:
    """Its start time, and whether its job is paused."""
    if run.status != RunStatus.PENDING:
        return []
    checks: list[Found] = []
    if run.run_at and run.run_at > facts.now:
        text = f"Scheduled for {_time(run.run_at)}"
        left = duration((run.run_at - facts.now).total_seconds())
        checks.append((Cause.SCHEDULED, Check("block", text, f"in {left}")))
    else:
        note = "" if run.run_at else "no start time was given"
        came = run.run_at or run.created_at
        checks.append((None, Check("met", "Its start time has come", note, came)))
    job = facts.paused.get(run.job)
    if job is None:
        checks.append((None, Check("met", f"{run.job} is not paused")))
    else:
        since = f" since {_time(job.paused_at)}" if job.paused_at else ""
        text = f"The job is paused by {job.paused_by}{since}"
        checks.append((Cause.PAUSED, Check("block", text, job.pause_reason)))
    return checks


def _worker_checks(run: Run, facts: Facts) -> list[Found]:
    """Whether a worker is alive, and one that knows the job."""
    count, knowing = len(facts.workers), len(facts.knowing(run.job))
    if not count:
        seen = facts.last_seen
        text = f"No worker is alive since {_time(seen)}" if seen else "No worker has ever reported"
        return [(Cause.NO_WORKER, Check("block", text, "start one with manage.py worker"))]
    if not knowing:
        which = "the one alive does not" if count == 1 else f"none of the {count} alive does"
        text = f"Waits for a worker that knows this job; {which}"
        return [(Cause.UNKNOWN_JOB, Check("block", text, "deploy the code, start a worker"))]
    return [(None, Check("met", "A worker knows this job", f"{knowing} of {count} alive"))]


def _key_checks(run: Run, facts: Facts) -> list[Found]:
    """Whether the attempt before has stopped, and whether the run's key is free."""
    checks: list[Found] = []
    if run.status == RunStatus.PENDING and run.lease_owner is not None:
        text = "Waits until the body of the attempt before has stopped"
        left = _lease_left(run, facts)
        ends = f"at most {duration(left)}, then its lease runs out" if left else "its lease ran out"
        checks.append((Cause.OLD_BODY, Check("block", text, ends)))
    if run.status == RunStatus.PENDING and run.concurrency_key is not None:
        holder = facts.holders.get(run.concurrency_key)
        key = run.concurrency_key[:80]
        if holder is None or holder.pk == run.pk:
            checks.append((None, Check("met", f"Its key {key} is free")))
        elif holder.pk in facts.hidden:
            text = f"Key {key} is held by a run that you may not see"
            checks.append((Cause.KEY, Check("block", text, "one running run per key")))
        else:
            note = "one running run per key"
            check = Check("block", f"Key {key} is taken", note, run=holder)
            checks.append((Cause.KEY, check))
    return checks


def _sentence(
    run: Run, cause: Cause | None, blocking: Check | None, facts: Facts, *, handed_back: bool
) -> str:
    """The one plain sentence."""
    text = blocking.text if blocking else "Waits for a free worker"
    if blocking and blocking.run:
        holder = f"{blocking.run.job} …{_tail(blocking.run)}"
        text = f"Key {(run.concurrency_key or '')[:80]} is held by {holder}"
        if not facts.workers:
            text += f". {_worker_checks(run, facts)[0][1].text}"
    elif blocking and blocking.note and cause in (Cause.PAUSED, Cause.OLD_BODY):
        text += f": {blocking.note}"
    if not handed_back:
        return text
    steps = f"{run.step_count} completed step{'' if run.step_count == 1 else 's'}"
    rest = text[0].lower() + text[1:] if blocking else "waits for a worker"
    return f"Its worker handed it back after {steps}; {rest}"


def _left(run: Run, cause: Cause | None, facts: Facts) -> float | None:
    if cause == Cause.SCHEDULED and run.run_at:
        return (run.run_at - facts.now).total_seconds()
    return _lease_left(run, facts) if cause == Cause.OLD_BODY else None


def _why_asleep(run: Run, facts: Facts) -> Reason:
    if run.due_at is None:
        return Reason(Cause.OUTSIDE, "Waits for something outside")
    left = (run.due_at - facts.now).total_seconds()
    return Reason(Cause.SCHEDULED, f"Sleeps until {_time(run.due_at)}", left=max(0.0, left))


def _why_dead(run: Run, facts: Facts) -> Reason | None:
    """A run whose worker no longer reports waits for the end of the lease."""
    owner = facts.owners.get(run.lease_owner) if run.lease_owner else None
    left = _lease_left(run, facts) or 0.0
    is_gone = owner is not None and not owner.reports(facts.now)
    if left and not is_gone:
        return None
    name = f"Its worker {owner}" if owner else "Its worker"
    gone = f"{name} is gone" if owner is None or owner.stopped_at else f"{name} no longer reports"
    ends = f"its lease runs out in {duration(left)}" if left else "its lease has run out"
    others = replace(facts, workers=[w for w in facts.workers if w.pk != run.lease_owner])
    text = f"{gone}; {ends}"
    checks = [check for _, check in _worker_checks(run, others)]
    text += ", then another goes on" if others.knowing(run.job) else f". {checks[0].text}"
    seen = owner.heartbeat_at if owner else None
    blocking = Check("block", gone, f"{ends}; its steps are kept", seen)
    return Reason(Cause.DEAD_WORKER, text, [blocking, *checks], left=left)


def _lease_left(run: Run, facts: Facts) -> float | None:
    if run.lease_expires_at is None:
        return None
    return max(0.0, (run.lease_expires_at - facts.now).total_seconds())


def _time(moment: datetime) -> str:
    return f"{clock(moment)} {timezone.localtime(moment).tzname()}"


def _tail(run: Run) -> str:
    return str(run.id)[-4:]


@dataclass(frozen=True)
class Queue:
    """A run's place in the queue. Counted only up to a limit."""

    ahead: int
    is_more: bool
    slots: int
    busy: int
    seconds: float | None  # until its turn, at the pace of the last minutes

    @property
    def count(self) -> str:
        return f"{self.ahead:,}+" if self.is_more else f"{self.ahead:,}"

    @property
    def about(self) -> str:
        return about(self.seconds) if self.seconds is not None else ""

    @property
    def free(self) -> int:
        return max(0, self.slots - self.busy)


MAX_AHEAD = 1_000
_PACE_RUNS = 200
_PACE_WINDOW = timedelta(minutes=10)
_LEAST_ENDED = 3


def queue_of(run: Run, facts: Facts) -> Queue:
    """Where it stands. Four queries over bounded numbers of rows."""
    due = Run.objects.filter(due_at__isnull=False, due_at__lte=facts.now)
    place = run.queued_at
    ahead = due.filter(priority=run.priority, due_at__lt=place).order_by()[: MAX_AHEAD + 1].count()
    if ahead <= MAX_AHEAD:
        higher = due.filter(priority__gt=run.priority).order_by()
        ahead += higher[: MAX_AHEAD + 1 - ahead].count()
    ids = [worker.pk for worker in facts.workers]
    busy = Run.objects.filter(lease_owner__in=ids).count() if ids else 0
    more = ahead > MAX_AHEAD
    ahead = min(ahead, MAX_AHEAD)
    slots = sum(worker.concurrency for worker in facts.workers)
    seconds = None if more else _turn_in(run, ahead, slots, facts.now)
    return Queue(ahead, more, slots, busy, seconds)


def _turn_in(run: Run, ahead: int, slots: int, now: datetime) -> float | None:
    """At the pace at which runs ended while it waited, else from how long they took.

    None if too few ended to tell.
    """
    ended = Run.objects.filter(finished_at__isnull=False, attempt=1).order_by("-finished_at")
    times = [
        (end, (end - start).total_seconds())
        for start, end in ended.values_list("started_at", "finished_at")[:_PACE_RUNS]
        if start and end
    ]
    since = max(run.queued_at, now - _PACE_WINDOW)
    lately = [end for end, _ in times if end > since]
    if not ahead or not slots or len(times) < _LEAST_ENDED:
        return None
    if len(lately) < _LEAST_ENDED:
        return ahead * statistics.median(max(0.0, seconds) for _, seconds in times) / slots
    if len(lately) == len(times):
        since = lately[-1]
    return ahead * (now - since).total_seconds() / len(lately)
