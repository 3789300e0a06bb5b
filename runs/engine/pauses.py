"""Pausing and resuming a job: the runs of a paused job aren't claimed.

Each leaves a ``JobEvent``, in the transaction of the change.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.db.models import F

from runs.engine import database, history, jobsync, wakeups
from runs.errors import ConflictError, NotFoundError
from runs.models import Job, JobEvent, JobEventKind, Run, RunStatus
from runs.payloads import clean_text
from runs.registry import registry

logger = logging.getLogger(__name__)


def pause_job(name: str, *, actor: Any = None, reason: str = "") -> Job:
    """Keep the job's runs pending until it is resumed; running ones go on.

    Raises NotFoundError; ConflictError if it is paused already, saying by whom.
    """
    job = _get(name)
    who, reason, now = history.describe_actor(actor), clean_text(reason), database.utc_now()
    with database.write():
        changed = Job.objects.filter(pk=name, paused_at__isnull=True).update(
            paused_at=now, paused_by=who, pause_reason=reason
        )
        if not changed:
            job.refresh_from_db()
            raise ConflictError(f"Job {name} is paused already, by {job.paused_by}")
        _record(name, JobEventKind.PAUSED, who, reason, now)
        queued = Run.objects.filter(job=name, status=RunStatus.PENDING, due_at__isnull=False)
        database.in_order(queued).update(due_at=None)
    logger.info("Job %s was paused by %s: %s", name, who, reason or "no reason given")
    return _get(name)


def resume_job(name: str, *, actor: Any = None, reason: str = "") -> Job:
    """Let the job's pending runs be claimed again, each at its old place in the queue.

    Raises NotFoundError; ConflictError if it isn't paused.
    """
    _get(name)
    who, reason, now = history.describe_actor(actor), clean_text(reason), database.utc_now()
    with database.write():
        changed = Job.objects.filter(pk=name, paused_at__isnull=False).update(
            paused_at=None, paused_by="", pause_reason=""
        )
        if not changed:
            raise ConflictError(f"Job {name} is not paused")
        _record(name, JobEventKind.RESUMED, who, reason, now)
        parked = Run.objects.filter(
            job=name, status=RunStatus.PENDING, due_at__isnull=True, lease_owner__isnull=True
        )
        database.in_order(parked).update(due_at=F("queued_at"))
        wakeups.ring()
    logger.info("Job %s was resumed by %s: %s", name, who, reason or "no reason given")
    return _get(name)


def _record(name: str, kind: JobEventKind, actor: str, reason: str, now: datetime) -> None:
    JobEvent.objects.create(job_id=name, kind=kind, actor=actor, reason=reason, created_at=now)


def _get(name: str) -> Job:
    if registry.get(name) is not None and not Job.objects.filter(pk=name).exists():
        jobsync.sync_jobs()
    job = Job.objects.filter(pk=name).first()
    if job is None:
        raise NotFoundError(f"There is no job named {name!r}")
    return job
