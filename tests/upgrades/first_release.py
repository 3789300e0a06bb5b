"""Runs as the first release left them: rows by its own models, in every state."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

FIRST = ("runs", "0001_initial")

#: Long ago, so that all leases have run out and all is due.
THEN = datetime(2026, 1, 1, tzinfo=UTC)

#: In their order in the queue: what has happened to the run, and what else is true of it.
STORIES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "pending": (("triggered",), {"idempotency_key": "once", "labels": {"tenant": "a"}}),
    "later": (("triggered",), {"run_at": THEN + timedelta(days=36500)}),
    "running": (("triggered", "started", "step", "log", "step"), {"concurrency_key": "k"}),
    "parked": (("triggered",), {"concurrency_key": "k"}),
    "taken over": (("triggered", "started", "step", "taken_over", "log"), {"recoveries": 1}),
    "handed back": (("triggered", "started", "step", "handed_back"), {}),
    "completed": (
        ("triggered", "started", "step", "log", "step", "step", "completed"),
        {"labels": {"tenant": "b", "kind": "ä"}, "output": [0, 1, 2]},
    ),
    "failed": (("triggered", "started", "step", "log", "failed"), {}),
    "failed again": (
        ("triggered", "started", "step", "failed", "retried", "started", "step", "failed"),
        {"attempt": 2},
    ),
    "cancelled": (("triggered", "started", "step", "cancelled"), {"concurrency_key": "free"}),
    "run again": (("triggered", "started", "failed", "retriggered"), {}),
}

_STATES = {
    "triggered": "pending", "started": "running", "taken_over": "running",
    "handed_back": "running", "retried": "pending", "completed": "completed",
    "failed": "failed", "cancelled": "cancelled",
}  # fmt: skip


def migrate(*targets: tuple[str, str]) -> Any:
    """To these migrations, or the newest of all; the models as they are there."""
    executor = MigrationExecutor(connection)
    to = list(targets) or executor.loader.graph.leaf_nodes()
    executor.migrate(to)
    return models_of(*to)


def models_of(*targets: tuple[str, str]) -> Any:
    """As they are at these migrations, wherever the database is."""
    return MigrationLoader(connection).project_state([*targets]).apps


@dataclass
class Rows:
    """A run, and what hangs on it."""

    job: str
    name: str
    run: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, job: str, name: str, number: int) -> Rows:
        """The ``number``-th run that was ever made."""
        happened, more = STORIES[name]
        at = THEN + timedelta(seconds=number)
        run = {
            "id": uuid.UUID(int=(0x019B76DA << 96) + (7 << 76) + (2 << 62) + number),
            "job": job,
            "status": "pending",
            "created_at": at,
            "queued_at": more.get("run_at", at),
            "due_at": more.get("run_at", at),
            "input": {"name": name, "text": "ä😀", "none": None},
            "triggered_by": "first release",
            **more,
        }
        rows = cls(job, name, run)
        for what in happened:
            rows._add(what, at)
        rows._settle(at)
        return rows

    def _add(self, what: str, at: datetime) -> None:
        run = self.run
        run["seq"] = run.get("seq", 0) + 1
        if what == "step":
            self._add_step(at)
        elif what == "log":
            line = {"level": "warn", "message": "line ä", "data": {"a": [1]}, "step": "step-0"}
            self.logs.append({**line, "seq": run["seq"], "created_at": at})
        else:
            event = {"kind": what, "actor": "somebody", "seq": run["seq"], "created_at": at}
            self.events.append(event)
            run["status"] = _STATES.get(what, run["status"])

    def _add_step(self, at: datetime) -> None:
        number = self.run.get("step_count", 0)
        self.run["step_count"] = number + 1
        self.steps.append(
            {
                "name": f"step-{number}",
                "index": number,
                "status": "completed",
                "seq": self.run["seq"],
                "output": number,
                "started_at": at,
                "finished_at": at,
            }
        )

    def _settle(self, at: datetime) -> None:
        """What follows from its state."""
        run = self.run
        claims = [event for event in self.events if event["kind"] in ("started", "taken_over")]
        run["lease_generation"] = len(claims)
        if claims:
            run["started_at"] = at
        if run["status"] == "running":
            run["held_key"] = run.get("concurrency_key")
            if self.events[-1]["kind"] != "handed_back":
                run["lease_owner"] = uuid.uuid4()
                run["lease_expires_at"] = run["due_at"]
        if run["status"] in ("completed", "failed", "cancelled"):
            run.update(due_at=None, finished_at=at)
        if run["status"] == "failed":
            run.update(error_type="ValueError", error_message="no", error_fingerprint="f" * 32)
        if self.name == "parked":
            run["due_at"] = None

    def store(self, apps: Any) -> None:
        """By the models of that time."""
        model = apps.get_model
        run = model("runs", "Run").objects.create(**self.run)
        hanging = {"Step": self.steps, "LogEntry": self.logs, "RunEvent": self.events}
        for name, rows in hanging.items():
            for row in rows:
                model("runs", name).objects.create(run=run, **row)
        for key, value in self.run.get("labels", {}).items():
            model("runs", "Label").objects.create(run=run, key=key, value=value)


def fill(apps: Any, job: str) -> dict[str, Rows]:
    """One run of each story; by its name."""
    jobs = apps.get_model("runs", "Job").objects
    jobs.create(name=job, title=job, source="old.py:1", code_version="0", synced_at=THEN)
    found = {name: Rows.of(job, name, number) for number, name in enumerate(STORIES)}
    for rows in found.values():
        rows.store(apps)
    return found
