"""Runs that wait for something else than a worker: very many, while others go past them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from django.db.models import F

from runs.bench import loading
from runs.bench.loading import COLUMNS
from runs.engine import database
from runs.models import Job, Run

_LATER, _BLOCKED, _PAUSED = "bench-later", "bench-blocked", "bench-paused"
_HOUR = 3_600.0


@contextmanager
def crowd(later: int, blocked: int) -> Iterator[None]:
    """So many runs scheduled for later, blocked by a key that another one holds, and paused."""
    now = time.time()
    ends = _text(now + _HOUR)
    running = {"status": "running", "due_at": ends, "lease_expires_at": ends}
    rows = [_row(_LATER, now, due_at=_text(now + _HOUR + n), priority=n % 3) for n in range(later)]
    for number in range(blocked):
        key = f"bench-{number}"
        owner = uuid4().hex
        rows.append(_row(_BLOCKED, now, concurrency_key=key, lease_owner=owner, **running))
        rows.append(_row(_BLOCKED, now, concurrency_key=key))
        rows.append(_row(_PAUSED, now))
    loading.load({"runs_run": rows})
    with database.write():
        held = Run.objects.filter(job=_BLOCKED, status="running")
        held.update(held_key=F("concurrency_key"))
        Job.objects.create(
            name=_PAUSED, title=_PAUSED, registered=False, source="", code_version="",
            synced_at=database.utc_now(), paused_at=database.utc_now(), paused_by="bench",
        )  # fmt: skip
    try:
        yield
    finally:
        with database.write():
            Job.objects.filter(pk=_PAUSED).delete()
            Run.objects.filter(job__in=(_LATER, _BLOCKED, _PAUSED))._raw_delete(using="default")


def _row(job: str, now: float, **values: Any) -> tuple[Any, ...]:
    row = {
        "id": uuid4().hex, "job": job, "status": "pending", "priority": 0, "labels": "{}",
        "attempt": 1, "created_at": _text(now), "queued_at": _text(now), "lease_generation": 0,
        "recoveries": 0, "seq": 1, "step_count": 0, "triggered_by": "bench", "code_version": "",
        "release": "", "input": "1", **values,
    }  # fmt: skip
    return tuple(map(row.get, COLUMNS["runs_run"]))


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(" ", "microseconds")[:26]
