"""The Job table says what the code defines."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from runs import Step, job
from runs.engine.jobsync import sync_jobs
from runs.models import Job
from runs.registry import registry
from tests.support.engine import execute

pytestmark = pytest.mark.django_db


class Order(BaseModel):
    order_id: str


def test_a_job_is_written_with_all_that_people_look_at() -> None:
    @job(tags=["a", "b"], priority=3)
    def ship_order(step: Step, payload: Order) -> int:
        """Put it in a box."""
        return 1

    sync_jobs()
    row = Job.objects.get(name="ship-order")
    assert (row.title, row.description) == ("Ship order", "Put it in a box.")
    assert row.input_schema["required"] == ["order_id"]
    assert row.output_schema == {"type": "integer"}
    assert (row.tags, row.priority, row.registered) == (["a", "b"], 3, True)
    assert row.source.startswith("tests/engine/test_job_sync.py:")
    assert row.code_version == ship_order.code_version


def test_every_registered_job_is_written_and_syncing_again_changes_nothing() -> None:
    sync_jobs()
    before = list(Job.objects.filter(registered=True).values_list("name", "code_version"))
    assert [name for name, _ in before] == registry.names()
    sync_jobs()
    assert list(Job.objects.filter(registered=True).values_list("name", "code_version")) == before


def test_a_change_of_the_code_is_written() -> None:
    def work(step: Step) -> None:
        pass

    job(name="work", title="Old")(work)
    sync_jobs()
    registry.remove("work")
    job(name="work", title="New")(work)
    sync_jobs()
    assert Job.objects.get(name="work").title == "New"


def test_a_job_that_disappears_stays_marked_and_comes_back() -> None:
    def work(step: Step) -> None:
        pass

    run = execute(job(name="work")(work))
    sync_jobs()
    registry.remove("work")
    sync_jobs()
    assert Job.objects.get(name="work").registered is False
    assert run.job == "work"
    job(name="work")(work)
    sync_jobs()
    assert Job.objects.get(name="work").registered is True
