"""Why a run waits, in words: on its page, in the list and for whoever asks."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from runs.access import Actor
from runs.dashboard.format import clock
from runs.dashboard.waiting import Cause, Facts, gather, queue_of, why_waiting
from runs.models import Job, Run, Worker
from tests.pages import factories

pytestmark = pytest.mark.django_db


def get(client: Client, run: Run) -> str:
    response = client.get(f"/runs/{run.id}/")
    assert response.status_code == 200
    return str(response.content.decode())


def facts_of(*runs: Run) -> Facts:
    """What decides, to somebody who sees all runs."""
    return gather(runs, Actor("ann"))


def sentence(run: Run) -> str:
    why = why_waiting(run, facts_of(run))
    assert why is not None
    return why.sentence


def dead_worker(**attributes: Any) -> Worker:
    worker = factories.worker("example")
    long_ago = timezone.now() - timedelta(minutes=10)
    Worker.objects.update(**({"heartbeat_at": long_ago} | attributes))
    worker.refresh_from_db()
    return worker


def test_what_runs_or_is_over_does_not_wait() -> None:
    owner = factories.worker("example")
    for status in ("completed", "failed", "cancelled"):
        run = factories.run(status)
        assert why_waiting(run, facts_of(run)) is None
    run = factories.run("running", lease_owner=owner.id)
    assert why_waiting(run, facts_of(run)) is None


def test_a_scheduled_run_names_its_time(operator: Client) -> None:
    later = timezone.now() + timedelta(hours=3)
    run = factories.run("pending", run_at=later, due_at=later, queued_at=later)
    factories.worker("example")
    is_today = later.date() == timezone.now().date()
    shown = f"{later:%H:%M:%S}" if is_today else f"{later.day} {later:%b %H:%M}"
    assert sentence(run) == f"Scheduled for {shown} UTC"
    page = get(operator, run)
    assert "in 3 h 00 m" in page or "in 2 h 59 m" in page
    assert "Usual wait" not in page


def test_no_worker_names_the_last_sign_of_one() -> None:
    run = factories.run("pending")
    assert sentence(run) == "No worker has ever reported"
    seen = dead_worker().heartbeat_at
    assert sentence(run) == f"No worker is alive since {clock(seen)} UTC"


def test_a_job_that_no_worker_knows_is_named_as_the_reason(operator: Client) -> None:
    run = factories.run("pending")
    factories.worker("other")
    assert "waits for a worker that knows this job" in get(operator, run).lower()


def test_a_paused_job_names_who_paused_it_and_why(operator: Client) -> None:
    factories.worker("example")
    now = timezone.now()
    Job.objects.create(
        name="example",
        title="Example",
        source="jobs.py:1",
        code_version="1",
        synced_at=now,
        paused_at=now,
        paused_by="Ann",
        pause_reason="bank is down",
    )
    run = factories.run("pending", due_at=None)
    assert sentence(run).startswith("The job is paused by Ann since ")
    assert sentence(run).endswith(": bank is down")
    later = now + timedelta(hours=1)
    scheduled = factories.run("pending", run_at=later, due_at=None)
    assert sentence(scheduled).startswith("Scheduled for")
    assert "paused by Ann" in get(operator, scheduled)


def test_a_held_key_links_to_the_run_that_holds_it(operator: Client) -> None:
    owner = factories.worker("example")
    holder = factories.run(
        "running",
        held_key="k",
        concurrency_key="k",
        lease_owner=owner.id,
        progress={"current": 8, "total": 10, "message": None},
    )
    run = factories.run("pending", concurrency_key="k", due_at=None)
    assert sentence(run) == f"Key k is held by example …{str(holder.id)[-4:]}"
    page = get(operator, run)
    assert f'href="/runs/{holder.id}/"' in page
    assert "is at 80 %" in page
    assert "Another run holds the key k" in page


def test_a_held_key_does_not_hide_that_no_worker_is_alive(operator: Client) -> None:
    factories.run("running", held_key="k", concurrency_key="k")
    run = factories.run("pending", concurrency_key="k")
    assert "No worker has ever reported" in sentence(run)


def test_a_retry_waits_for_the_body_of_the_attempt_before(operator: Client) -> None:
    owner = factories.worker("example")
    ends = timezone.now() + timedelta(seconds=21)
    run = factories.run(
        "pending", due_at=None, lease_owner=owner.id, lease_expires_at=ends, attempt=2
    )
    why = why_waiting(run, facts_of(run))
    assert why is not None
    assert why.cause == Cause.OLD_BODY
    assert why.left == pytest.approx(21, abs=1)
    assert "body of the attempt before" in get(operator, run)


def test_the_lease_of_a_dead_worker_says_when_it_runs_out(operator: Client) -> None:
    owner = dead_worker()
    ends = timezone.now() + timedelta(seconds=20.8)
    run = factories.run("running", lease_owner=owner.id, lease_expires_at=ends)
    assert "no longer reports; its lease runs out in 2" in sentence(run)
    assert "No worker is alive since" in sentence(run)
    factories.worker("example")
    assert sentence(run).endswith("then another goes on")
    page = get(operator, run)
    assert "Why is it waiting?" in page
    assert 'class="eta">about' not in page


def test_a_run_that_was_handed_back_says_after_how_many_steps(operator: Client) -> None:
    attributes = {"lease_owner": None, "lease_expires_at": None, "step_count": 5}
    run = factories.run("running", due_at=timezone.now(), **attributes)
    assert sentence(run).startswith("Its worker handed it back after 5 completed steps; no worker")
    factories.worker("example")
    assert sentence(run).endswith("; waits for a worker")
    assert "A free slot" in get(operator, run)


def test_what_lies_ahead_in_the_queue_is_counted(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.worker("example")
    now = timezone.now()
    for number in range(4):
        early = now - timedelta(seconds=100 - number)
        factories.run("pending", due_at=early, queued_at=early)
    factories.run("pending", due_at=now + timedelta(hours=1), queued_at=now + timedelta(hours=1))
    factories.run("pending", priority=5)
    factories.run("pending", priority=-5)
    for number in range(10):
        factories.run("completed", finished_at=now - timedelta(seconds=number))
    run = factories.run("pending", queued_at=now - timedelta(seconds=10))
    queue = queue_of(run, facts_of(run))
    assert (queue.ahead, queue.is_more, queue.slots, queue.busy) == (5, False, 2, 0)
    assert queue.seconds == pytest.approx(5, abs=1)
    page = get(operator, run)
    assert "5 runs are ahead of it" in page
    assert "5 runs ahead, a few seconds; 2 of 2 slots free" in page
    monkeypatch.setattr("runs.dashboard.waiting.MAX_AHEAD", 3)
    assert queue_of(run, facts_of(run)).count == "3+"


def test_before_any_run_has_ended_the_wait_follows_from_how_long_they_usually_take() -> None:
    factories.worker("example")
    now = timezone.now()
    for _ in range(3):
        span = {"started_at": now - timedelta(hours=1), "finished_at": now - timedelta(minutes=59)}
        factories.run("completed", **span)
    factories.run(
        "pending", queued_at=now - timedelta(seconds=3), due_at=now - timedelta(seconds=3)
    )
    run = factories.run("pending")
    assert queue_of(run, facts_of(run)).seconds == 30  # one run of a minute, and two slots


def test_the_facts_of_many_runs_cost_the_same_as_those_of_one(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    runs = [factories.run("pending", concurrency_key=str(uuid.uuid4())) for _ in range(20)]
    runs += [factories.run("running") for _ in range(20)]
    with django_assert_max_num_queries(4):
        facts = facts_of(*runs)
        assert [why_waiting(run, facts) for run in runs]
