"""A database that the first release has filled comes forward, whole, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

import runs
from runs import Step, job
from runs.models import Label, LogEntry, Run, RunEvent
from runs.models import Step as StepRow
from runs.registry import registry
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.upgrades.first_release import FIRST, STORIES, Rows, fill, migrate

JOB = "old-job"

bodies: list[tuple[str, str]] = []


@pytest.fixture
def known_job() -> Iterator[None]:
    @job(name=JOB)
    def old_job(step: Step, payload: dict[str, Any]) -> list[int]:
        return [step.run(f"step-{number}", body, payload["name"], number) for number in range(3)]

    def body(name: str, number: int) -> int:
        bodies.append((name, f"step-{number}"))
        return number

    bodies.clear()
    yield
    registry.remove(JOB)


def stored(rows: Rows) -> Rows:
    """The same run, as it is read by the models of today."""
    run = Run.objects.get(pk=rows.run["id"])
    found = Rows(rows.job, rows.name, {name: getattr(run, name) for name in rows.run})
    for name, model in (("steps", StepRow), ("logs", LogEntry), ("events", RunEvent)):
        fields = list(getattr(rows, name)[0]) if getattr(rows, name) else ["seq"]
        kept = model.objects.filter(run=run).order_by("seq").values(*fields)
        getattr(found, name).extend(kept)
    return found


def test_what_the_first_release_has_stored_is_kept_and_goes_on(
    empty_database: str, known_job: None
) -> None:
    made = fill(migrate(FIRST), JOB)
    migrate()
    for name, rows in made.items():
        assert stored(rows) == rows, name
    check_invariants(runs=[rows.run["id"] for rows in made.values()])
    found = Label.objects.filter(key="tenant").order_by("value").values_list("run_id", flat=True)
    assert list(found) == [made[name].run["id"] for name in ("pending", "completed")]
    check_readable(made)

    drain()
    for name in ("pending", "running", "parked", "taken over", "handed back"):
        run = Run.objects.get(pk=made[name].run["id"])
        assert (run.status, run.output) == ("completed", [0, 1, 2]), name
        done = made[name].run.get("step_count", 0)
        assert [step for of, step in bodies if of == name] == [
            f"step-{number}" for number in range(done, 3)
        ]
    for name in ("failed", "cancelled", "failed again"):
        runs.retry(made[name].run["id"])
    copy = runs.retrigger(made["run again"].run["id"])
    again = runs.trigger(JOB, {"name": "pending"}, idempotency_key="once")
    assert (again.pk, again.disposition) == (made["pending"].run["id"], "idempotent")
    drain()
    left = Run.objects.exclude(status="completed").values_list("pk", flat=True)
    assert {*left} == {made["later"].run["id"], made["run again"].run["id"]}
    assert Run.objects.get(pk=copy.pk).status == "completed"
    check_invariants()


def check_readable(made: dict[str, Rows]) -> None:
    """By pages and by programs."""
    client = Client()
    client.force_login(User.objects.create_superuser("somebody"))
    for rows in made.values():
        id = rows.run["id"]
        for path in (f"/runs/{id}/", f"/api/runs/{id}", f"/api/runs/{id}/steps"):
            assert client.get(path).status_code == 200, (rows.name, path)
    for path in ("/", "/runs/", "/jobs/", f"/jobs/{JOB}/", "/failures/", "/api/runs"):
        assert client.get(path).status_code == 200, path


def test_there_is_a_story_for_every_state() -> None:
    found = {Rows.of(JOB, name, 0).run["status"] for name in STORIES}
    assert found == {"pending", "running", "completed", "failed", "cancelled"}
