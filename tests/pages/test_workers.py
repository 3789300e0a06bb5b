from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.dashboard.shell import Kept
from runs.live.tail import WorkerTail
from runs.models import Job, Worker
from tests.pages import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(db: None) -> Iterator[None]:
    """Nothing that an earlier test has counted, and no job but the test's own."""
    Job.objects.all().delete()
    Kept.forget()
    yield
    Kept.forget()


def worker(pid: int, *jobs: str, silent: float = 0, **attributes: Any) -> Worker:
    made = factories.worker(*jobs)
    heard = made.heartbeat_at - timedelta(seconds=silent)
    Worker.objects.filter(pk=made.pk).update(pid=pid, heartbeat_at=heard, **attributes)
    made.refresh_from_db()
    return made


def get(client: Client, query: str = "") -> str:
    response = client.get(f"/workers/?{query}")
    assert response.status_code == 200
    return str(response.content.decode())


def row(page: str, worker: Worker) -> str:
    found = re.search(rf'<tr id="worker-{worker.id}">(.*?)</tr>', page, re.DOTALL)
    assert found
    return found[1]


def state(page: str, worker: Worker) -> str:
    found = re.search(r'class="badge \w+">(\w+)<', row(page, worker))
    return found[1] if found else ""


def job(name: str, **attributes: Any) -> Job:
    return Job.objects.create(
        name=name, title=name, source="jobs.py", synced_at=timezone.now(), **attributes
    )


def test_a_worker_shows_what_it_is_and_runs(operator: Client) -> None:
    one = worker(71, "example", release="4f2c1ae")
    run = factories.run("running", lease_owner=one.pk, current_step="fetch")
    page = get(operator)
    line = row(page, one)
    assert "host:71" in line
    assert "1 of 2 slots busy" in line
    assert f'href="/runs/{run.id}/"' in line
    assert "4f2c1ae" in line
    assert 'href="/jobs/example/"' in line
    assert "1 of 1 report, 1 of 2 slots busy" in page


def test_a_cancelled_body_that_still_works_keeps_its_slot(operator: Client) -> None:
    one = worker(71, "example")
    later = timezone.now() + timedelta(seconds=20)
    factories.run("cancelled", lease_owner=one.pk, lease_expires_at=later)
    assert "cancelled, stops after this step" in row(get(operator), one)


def test_a_worker_that_missed_two_heartbeats_is_lost(operator: Client) -> None:
    fine, late, lost = worker(1), worker(2, silent=15), worker(3, silent=25)
    page = get(operator)
    assert [state(page, each) for each in (fine, late, lost)] == ["Reports", "Reports", "Lost"]
    assert "host:3 has not reported for 25 s." in page
    assert "2 of 3 report" in page


@pytest.mark.parametrize(("silent", "alive"), [(20, True), (23, False)])
def test_all_pages_agree_on_when_a_worker_is_alive(
    operator: Client, silent: int, alive: bool
) -> None:
    worker = factories.worker("example")
    run = factories.run("running", lease_owner=worker.pk)
    last = timezone.now() - timedelta(seconds=silent)
    Worker.objects.filter(pk=worker.pk).update(heartbeat_at=last)
    tail = WorkerTail()
    tail.read()

    def page(path: str) -> str:
        Kept.forget()
        return operator.get(path).content.decode()

    assert ("Reports</span>" in page("/workers/")) is alive
    assert ("No worker alive since" in page("/")) is not alive
    assert ("no longer reports" in page(f"/runs/{run.pk}/")) is not alive
    assert ('title="1 of 1 report"' in page("/jobs/")) is alive
    assert bool(tail._alive) is alive


def test_it_says_where_the_runs_of_a_lost_worker_went_on(operator: Client) -> None:
    other, lost = worker(1), worker(2, silent=60)
    run = factories.run("running", lease_owner=other.pk)
    factories.event(run, "taken_over", actor=str(other), data={"from": str(lost.id)})
    page = get(operator)
    assert "1 of its runs went on elsewhere" in page
    assert "1 run taken over" in row(page, lost)
    assert "Taken over" in page.partition("What happened")[2]


def test_stopped_workers_are_shown_for_an_hour(operator: Client) -> None:
    now = timezone.now()
    worker(1)
    recent = worker(2, stopped_at=now - timedelta(minutes=30))
    old = worker(3, stopped_at=now - timedelta(hours=2))
    gone = worker(4, silent=7200)
    page = get(operator)
    assert state(page, recent) == "Stopped"
    assert str(old.id) not in page
    assert str(gone.id) not in page
    assert "1 of 1 report" in page


def test_without_a_worker_it_says_since_when(operator: Client) -> None:
    assert "No worker has ever been here" in get(operator)
    worker(1, silent=300)
    assert "No worker alive since" in get(operator)
    worker(2)
    assert "No worker" not in get(operator)


def test_jobs_that_no_worker_knows_are_listed(operator: Client) -> None:
    for name in ("known", "new"):
        job(name)
    job("old", registered=False)
    worker(1, "known")
    worker(2, "new", silent=300)
    for name in ("legacy", "legacy", "known"):
        factories.run("pending", job=name)
    orphans = get(operator).partition("Jobs that nobody can run")[2].partition("</table>")[0]
    assert re.findall(r'href="/jobs/([^/]+)/"', orphans) == ["legacy", "new"]
    assert '<a href="/runs/?status=pending&amp;job=legacy">2</a>' in orphans


def test_a_worker_with_other_code_is_marked(operator: Client) -> None:
    job("mail")
    same = [worker(n, "mail", release="a") for n in (1, 2)]
    other = worker(3, release="b")
    page = get(operator)
    assert "other release" in row(page, other)
    assert "does not know mail" in row(page, other)
    assert not any("other release" in row(page, each) for each in same)


def test_many_slots_are_drawn_as_one_bar(operator: Client) -> None:
    many = worker(1, concurrency=64)
    assert row(get(operator), many).count("<rect") == 2


def test_the_number_of_queries_does_not_grow(operator: Client) -> None:
    def more() -> int:
        one = worker(1, "example")
        lost = worker(2, "example", silent=60)
        run = factories.run("running", lease_owner=one.pk)
        factories.run("pending", job="nobody")
        factories.event(run, "taken_over", data={"from": str(lost.id)})
        Kept.forget()
        with CaptureQueriesContext(connection) as found:
            operator.get("/workers/")
        return len(found)

    before = more()
    for _ in range(3):
        last = more()
    assert last == before <= 12


def test_the_fragment_is_the_part_that_changes(operator: Client) -> None:
    assert get(operator, "fragment=1").lstrip().startswith('<div id="workers"')
