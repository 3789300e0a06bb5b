"""The server has committed, and its answer gets lost with the connection: nothing is doubled.

With an answer that is only pretended to be lost, and on SQLite too:
``tests/engine/test_lost_answers.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runs.models import LogEntry, Run, RunEvent
from tests.faults import jobs
from tests.faults.installation import Installation
from tests.faults.invariants import check_invariants
from tests.faults.lost_answers import Way, losing_way
from tests.support.crash import Cluster, state, trigger

pytestmark = pytest.mark.postgres


@pytest.fixture
def way(cluster: Cluster) -> Iterator[Way]:
    with losing_way() as (found, url):
        cluster.environment["DATABASE_URL"] = url
        yield found


def test_log_lines_are_stored_once(cluster: Cluster, way: Way) -> None:
    cluster.start("--concurrency", "1")
    way.lose("INSERT INTO runs_logentry", times=2)
    run = jobs.talker.trigger({"lines": 500, "pause": 0.002, "every": 500})
    cluster.completed(run)
    assert way.lost == 2
    assert [line.data["number"] for line in LogEntry.objects.filter(run=run)] == list(range(500))
    check_invariants()


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("INSERT INTO runs_step", id="checkpoint"),
        pytest.param("SET current_step", id="progress"),
        pytest.param("error_fingerprint = ", id="end"),
    ],
)
def test_a_run_goes_on_and_is_executed_once(cluster: Cluster, way: Way, statement: str) -> None:
    cluster.start("--concurrency", "1")
    way.lose(statement)
    run = trigger(0, 1.5, 0)
    way.await_loss()
    cluster.completed(run)
    assert cluster.check_durable([run]) == 0  # no body was executed twice
    assert (run.lease_generation, run.recoveries) == (1, 0), state(run)
    check_invariants()


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("parked AS", id="alone"),
        pytest.param("error_fingerprint = ", id="with the end of another run"),
    ],
)
def test_a_run_whose_claim_got_no_answer_is_taken_again(
    cluster: Cluster, way: Way, statement: str
) -> None:
    both = trigger(0, 0), trigger(0, 0)
    way.lose(statement)
    cluster.start("--concurrency", "1", LEASE_SECONDS="3")
    way.await_loss()
    cluster.completed(*both)
    assert cluster.check_durable(both) == 0
    assert sorted(run.lease_generation for run in both) == [1, 2]
    check_invariants()


def test_a_run_is_handed_back_once(cluster: Cluster, way: Way) -> None:
    worker = cluster.start("--concurrency", "1")
    run = trigger(*[0.2] * 5)
    cluster.body(run, 1)
    way.lose("RETURNING seq")
    worker.stop()
    assert way.lost == 1
    assert RunEvent.objects.filter(run=run, kind="handed_back").count() == 1
    cluster.start()
    cluster.completed(run)
    assert cluster.check_durable([run]) == 0
    check_invariants()


def test_a_trigger_with_a_key_answers_with_the_run_that_there_is(
    cluster: Cluster, way: Way
) -> None:
    order = {"input": {"steps": [{}]}, "idempotency_key": "once"}
    with Installation(cluster) as site:
        way.lose('INSERT INTO "runs_run"')
        assert site.post("/api/jobs/crash-plan/trigger", order).status == 503
        assert way.lost == 1
        again = site.post("/api/jobs/crash-plan/trigger", order)
        assert (again.status, again.json["disposition"]) == (200, "idempotent")
    run = Run.objects.get()
    assert again.json["id"] == str(run.pk)
    cluster.completed(run)
    assert cluster.check_durable([run]) == 0
    check_invariants()
