"""Rows as the engine leaves them, for pages to show."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission, User
from django.utils import timezone

from runs.models import Label, LogEntry, Run, RunEvent, RunStatus, Step, Worker


def user(name: str = "ann", *permissions: str, **attributes: Any) -> User:
    """A user with permissions of the ``runs`` app, by codename."""
    made = User.objects.create_user(name, password="pass", **attributes)
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return made


def run(status: str = "completed", **attributes: Any) -> Run:
    """A run in that state."""
    now = timezone.now()
    defaults: dict[str, Any] = {
        "job": "example",
        "created_at": now,
        "queued_at": now,
        "triggered_by": "ann",
        "input": {"n": 1},
    }
    if status == RunStatus.PENDING:
        defaults["due_at"] = now
    else:
        defaults["started_at"] = now - timedelta(seconds=2)
    if status in ("completed", "failed", "cancelled"):
        defaults["finished_at"] = now
    if status == RunStatus.RUNNING:
        defaults |= {
            "lease_owner": uuid.uuid4(),
            "lease_expires_at": now + timedelta(seconds=30),
            "due_at": now + timedelta(seconds=30),
        }
    made = Run.objects.create(status=status, **(defaults | attributes))
    for key, value in made.labels.items():
        Label.objects.create(run=made, key=key, value=value)
    return made


def failed_run(**attributes: Any) -> Run:
    """A run that failed in step ``pay``."""
    error = {
        "error_type": "CardError",
        "error_message": "no funds",
        "error_step": "pay",
        "error_traceback": "Traceback: line 1",
    }
    return run("failed", **(error | attributes))


def step(run: Run, name: str, index: int | None = 0, **attributes: Any) -> Step:
    """A completed step, or with ``index`` None a failed one."""
    now = timezone.now()
    run.seq += 1
    defaults: dict[str, Any] = {
        "status": "failed" if index is None else "completed",
        "seq": run.seq,
        "started_at": now - timedelta(seconds=1),
        "finished_at": now,
    }
    return Step.objects.create(run=run, name=name, index=index, **(defaults | attributes))


def log(run: Run, message: str, **attributes: Any) -> LogEntry:
    """A line of the log."""
    run.seq += 1
    defaults = {"level": "info", "created_at": timezone.now(), "seq": run.seq}
    return LogEntry.objects.create(run=run, message=message, **(defaults | attributes))


def event(run: Run, kind: str, **attributes: Any) -> RunEvent:
    """A line of the history."""
    defaults = {"actor": "ann", "created_at": timezone.now(), "seq": 1}
    return RunEvent.objects.create(run=run, kind=kind, **(defaults | attributes))


def worker(*jobs: str) -> Worker:
    """A worker that reports and knows these jobs."""
    now = timezone.now()
    return Worker.objects.create(
        host="host", pid=7, concurrency=2, jobs=list(jobs), started_at=now, heartbeat_at=now
    )
