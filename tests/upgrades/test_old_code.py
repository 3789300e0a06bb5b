"""The rows that the first release writes are whole on today's tables, and today's code goes on.

They are written by its models, as its migrations describe them. Its engine itself does not run
here: it writes the same columns by statements of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from runs import Step, job
from runs.engine import pauses
from runs.models import Job, Run, Worker
from runs.registry import registry
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.upgrades.first_release import FIRST, THEN, fill, migrate, models_of

JOB = "old-job"
ADDED = "added-job"


@pytest.fixture
def known_job() -> Iterator[None]:
    @job(name=JOB)
    def old_job(step: Step, payload: dict[str, Any]) -> list[int]:
        return [step.run(f"step-{number}", int, number) for number in range(3)]

    yield
    registry.remove(JOB)


def sync_jobs(old: Any, *names: str) -> None:
    """As each process does when it starts."""
    model = old.get_model("runs", "Job")
    given = {"title": "Old", "source": "old.py:2", "code_version": "1", "synced_at": THEN}
    model.objects.bulk_create(
        [model(name=name, **given) for name in names],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=[field.name for field in model._meta.fields if not field.primary_key],
    )


def start_worker(old: Any) -> uuid.UUID:
    now = timezone.now()
    worker = old.get_model("runs", "Worker").objects.create(
        host="old", pid=1, concurrency=1, jobs=[JOB], started_at=now, heartbeat_at=now
    )
    id: uuid.UUID = worker.pk
    return id


def claim(old: Any, worker: uuid.UUID, id: uuid.UUID) -> None:
    until = timezone.now() + timedelta(minutes=1)
    free = old.get_model("runs", "Run").objects.filter(pk=id, status="pending")
    changed = free.update(
        status="running",
        started_at=timezone.now(),
        due_at=until,
        lease_owner=worker,
        lease_expires_at=until,
        lease_generation=F("lease_generation") + 1,
        seq=F("seq") + 1,
    )
    assert changed == 1
    record(old, id, "started")


def end(old: Any, worker: uuid.UUID, id: uuid.UUID) -> None:
    held = old.get_model("runs", "Run").objects.filter(pk=id, lease_owner=worker)
    changed = held.update(
        status="completed",
        output=[0, 1, 2],
        finished_at=timezone.now(),
        due_at=None,
        lease_owner=None,
        lease_expires_at=None,
        held_key=None,
        seq=F("seq") + 1,
    )
    assert changed == 1
    record(old, id, "completed")


def record(old: Any, id: uuid.UUID, kind: str) -> None:
    run = old.get_model("runs", "Run").objects.get(pk=id)
    run.events.create(kind=kind, actor="old worker", seq=run.seq, created_at=timezone.now())


def test_what_old_code_writes_is_whole_and_todays_code_goes_on_with_it(
    empty_database: str, known_job: None
) -> None:
    migrate()
    old = models_of(FIRST)
    made = fill(old, JOB)  # runs in every state, with their steps, log lines, events and labels
    sync_jobs(old, JOB, ADDED)
    worker = start_worker(old)
    done = made["pending"].run["id"]
    claim(old, worker, done)
    end(old, worker, done)
    check_invariants(runs=[rows.run["id"] for rows in made.values()])
    assert Worker.objects.get().pk == worker
    jobs = Job.objects.values_list("name", "title", "paused_at", "paused_by", "pause_reason")
    assert set(jobs) == {(JOB, "Old", None, "", ""), (ADDED, "Old", None, "", "")}

    drain()
    for name in ("pending", "running", "parked", "taken over", "handed back"):
        run = Run.objects.get(pk=made[name].run["id"])
        assert (run.status, run.output) == ("completed", [0, 1, 2]), name
    assert [event.actor for event in Run.objects.get(pk=done).events.order_by("id")][1:] == [
        "old worker"
    ] * 2
    check_invariants()


def test_pauses_are_kept_when_the_table_of_jobs_is_written_anew(empty_database: str) -> None:
    before = migrate(("runs", "0009_indexes_of_big_tables"))
    paused = {"paused_at": THEN, "paused_by": "somebody", "pause_reason": "ä"}
    given = {"title": JOB, "source": "old.py:1", "code_version": "0", "synced_at": THEN}
    row = before.get_model("runs", "Job").objects.create(name=JOB, **given, **paused)
    row.events.create(kind="paused", actor="somebody", created_at=THEN)
    migrate()
    found = Job.objects.get()
    assert {name: getattr(found, name) for name in (*given, *paused)} == given | paused
    assert found.events.get().actor == "somebody"
    pauses.resume_job(JOB)  # which is still referred to
    assert found.events.count() == 2


def test_old_code_has_to_give_no_column_that_came_later(empty_database: str) -> None:
    migrate()
    with connection.cursor() as cursor:
        for model in models_of(FIRST).get_app_config("runs").get_models():
            table = model._meta.db_table
            asked = {
                column.name
                for column in connection.introspection.get_table_description(cursor, table)
                if not column.null_ok and column.default is None
            }
            assert asked <= {field.column for field in model._meta.concrete_fields}, table
