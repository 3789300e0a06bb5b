"""Bulk actions: every run once, whoever dies or aborts in the middle."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import runs
from runs import Step, cancel, job
from runs.engine import bulk, targets
from runs.errors import ConflictError, NotFoundError, ValidationError
from runs.filters import parse_filters
from runs.models import BulkAction, BulkItem, Run, RunEvent, Worker
from runs.testing import drain
from tests.pages import factories
from tests.support.crash import Cluster
from tests.support.engine import kinds, race, reload

pytestmark = pytest.mark.django_db

OWNER, OTHER = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
def work() -> runs.JobDefinition:
    @job
    def work(step: Step) -> None:
        step.run("a", lambda: None)

    return work


@pytest.fixture
def cluster(transactional_db: None, tmp_path: Any) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    yield found
    found.close()


def cancelled(work: runs.JobDefinition, count: int, **options: Any) -> list[Run]:
    made = [work.trigger(**options) for _ in range(count)]
    return [cancel(run) for run in made]


def finish(action: BulkAction, owner: uuid.UUID = OWNER) -> BulkAction:
    while bulk.advance(owner, 60):
        pass
    return bulk.get(action.pk)


# -- what it is about


def test_all_runs_that_match_are_done_newest_first(work: runs.JobDefinition) -> None:
    mine = cancelled(work, 3, labels={"env": "test"})
    others = cancelled(work, 2)
    action = finish(bulk.create("retry", filters="status=cancelled&label=env:test", actor="ann"))
    assert (action.status, action.expected, action.done, action.refused) == ("completed", 3, 3, 0)
    assert {reload(run).status for run in mine} == {"pending"}
    assert {reload(run).status for run in others} == {"cancelled"}
    assert [item.run_id for item in action.items.all()] == [run.pk for run in reversed(mine)]
    assert [item.run_id for item in bulk.outcomes(action)] == [run.pk for run in mine]


def test_a_search_limits_it_like_the_list(work: runs.JobDefinition) -> None:
    mine, other = cancelled(work, 2)
    finish(bulk.create("delete", filters=f"q={str(mine.pk)[-12:]}"))
    assert list(Run.objects.all()) == [other]


def test_a_selection_is_done_and_nothing_else(work: runs.JobDefinition) -> None:
    one, two, three = cancelled(work, 3)
    action = finish(bulk.create("delete", run_ids=[one.pk, str(three.pk), one.pk]))
    assert (action.expected, action.done) == (2, 2)
    assert list(Run.objects.all()) == [two]


def test_runs_triggered_later_are_left_alone(work: runs.JobDefinition) -> None:
    cancelled(work, 1)
    asked = bulk.count(filters="status=cancelled")
    cancelled(work, 1)
    action = bulk.create("retry", filters="status=cancelled", bound=asked.bound)
    cancelled(work, 1)
    assert asked.by_status == {"cancelled": 1}
    assert (action.expected, finish(action).done) == (1, 1)
    assert Run.objects.filter(status="cancelled").count() == 2


def test_runs_that_ended_later_are_left_alone(work: runs.JobDefinition) -> None:
    old, young = work.trigger(), work.trigger()
    cancel(old)
    action = bulk.create("delete", filters="job=work")
    Run.objects.filter(pk=old.pk).update(finished_at=action.created_at)
    cancel(young)
    Run.objects.filter(pk=young.pk).update(finished_at=action.created_at + timedelta(seconds=1))
    assert finish(action).done == 1
    assert list(Run.objects.all()) == [reload(young)]


def test_times_are_those_of_the_moment_and_zone_in_which_it_was_ordered(
    work: runs.JobDefinition,
) -> None:
    moment = timezone.now().replace(microsecond=0)
    with timezone.override("Asia/Tokyo"):
        local = timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")
        action = bulk.create(
            "delete", filters=f"until={local}&since=2h&cursor=older-{uuid.uuid4()}"
        )
    filters = parse_filters(QueryDict(action.filters))
    assert filters.until == moment
    assert filters.since is not None
    assert abs(filters.since - (moment - timedelta(hours=2))) < timedelta(seconds=5)
    assert filters.cursor is None
    again = parse_filters(QueryDict(action.filters))
    assert again.since == filters.since


@pytest.mark.parametrize(
    ("kind", "target", "message"),
    [
        ("explode", {}, "explode"),
        ("retry", {"filters": "status=lost"}, "lost"),
        ("retry", {"run_ids": []}, "Select 1 to"),
    ],
)
def test_what_makes_no_sense_is_refused(kind: str, target: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        bulk.create(kind, **target)
    assert not BulkAction.objects.exists()


def test_an_id_that_is_none_is_refused() -> None:
    with pytest.raises(NotFoundError):
        bulk.create("retry", run_ids=["x"])
    with pytest.raises(NotFoundError):
        bulk.get(uuid.uuid4())


def test_the_same_order_twice_is_one_action(work: runs.JobDefinition) -> None:
    [run] = cancelled(work, 1)
    id = uuid.uuid4()
    first = bulk.create("retrigger", run_ids=[run.pk], id=id)
    finish(first)
    again = bulk.create("retrigger", run_ids=[run.pk], id=id)
    assert (again.pk, again.status) == (first.pk, "completed")
    finish(again)
    assert Run.objects.count() == 2


def test_a_count_ends_at_the_limit_and_out_of_time(
    work: runs.JobDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled(work, 5)
    monkeypatch.setattr(targets, "WINDOW", 2)
    assert bulk.count(filters="").by_status == {"cancelled": 5}
    monkeypatch.setattr(targets, "COUNT_LIMIT", 3)
    found = bulk.count(filters="")
    assert (found.total, found.is_exact) == (3, False)
    monkeypatch.setattr(targets, "COUNT_LIMIT", 100)
    monkeypatch.setattr(targets, "COUNT_SECONDS", -1)
    found = bulk.count(filters="")
    assert (found.total, found.is_exact) == (2, False)
    assert finish(bulk.create("delete", filters="")).done == 5


def test_no_statement_looks_at_more_than_a_window(
    work: runs.JobDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = cancelled(work, 1, labels={"a": "b"})
    cancelled(work, 7)
    mine += cancelled(work, 1, labels={"a": "b"})
    monkeypatch.setattr(targets, "WINDOW", 3)
    action = bulk.create("delete", filters="label=a:b")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert finish(action).done == 2
    reads = [
        q["sql"] for q in queries if 'FROM "runs_run"' in q["sql"] and "runs_label" in q["sql"]
    ]
    bounded = [sql for sql in reads if '"id" >= ' in sql]
    assert len(reads) - len(bounded) <= 1
    assert not Run.objects.filter(pk__in=[run.pk for run in mine]).exists()


# -- what is done


def test_a_run_in_the_wrong_state_is_refused_and_the_others_are_done(
    work: runs.JobDefinition,
) -> None:
    [over] = cancelled(work, 1)
    pending = work.trigger()
    action = finish(bulk.create("delete", filters="job=work", reason="old"))
    assert (action.done, action.refused) == (1, 1)
    refused = action.items.get(done=False)
    assert (refused.run_id, refused.job) == (pending.pk, "work")
    assert "can't be deleted" in refused.message
    assert action.items.get(done=True).run_id == over.pk


def test_a_run_that_is_gone_is_refused(work: runs.JobDefinition) -> None:
    [run] = cancelled(work, 1)
    action = bulk.create("retry", run_ids=[run.pk])
    assert action.expected == 1
    runs.delete_run(run)
    action = finish(action)
    assert (action.status, action.done) == ("completed", 0)


def test_run_again_names_the_new_run(work: runs.JobDefinition) -> None:
    [run] = cancelled(work, 1)
    action = finish(bulk.create("retrigger", run_ids=[run.pk], actor="ann", reason="why not"))
    item = action.items.get()
    assert item.result_id is not None
    copy = Run.objects.get(pk=item.result_id)
    assert copy.source_id == run.pk
    assert copy.triggered_by == f"ann (bulk action {str(action.pk)[-4:]})"
    event = RunEvent.objects.get(run=copy)
    assert event.reason == "why not"


def test_cancel_stops_what_is_not_over(work: runs.JobDefinition) -> None:
    made = [work.trigger() for _ in range(3)]
    finish(bulk.create("cancel", filters="status=pending", actor="ann", reason="stop"))
    assert {reload(run).status for run in made} == {"cancelled"}
    assert kinds(made[0]) == ["triggered", "cancelled"]
    assert drain() == []


def test_a_validator_that_breaks_refuses_its_run_only(
    work: runs.JobDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = cancelled(work, 2)
    original = bulk._OPERATIONS["retry"]

    def retry(id: uuid.UUID, **options: Any) -> Run | None:
        done = original(id, **options)
        if id == bad.pk:
            raise TypeError("in a validator")
        return done

    monkeypatch.setitem(bulk._OPERATIONS, "retry", retry)
    action = finish(bulk.create("retry", filters="status=cancelled"))
    assert (action.done, action.refused) == (1, 1)
    assert action.items.get(done=False).message == "TypeError: in a validator"
    assert (reload(good).status, reload(bad).status) == ("pending", "cancelled")


# -- interrupted, resumed, aborted


def test_what_one_owner_began_another_ends_and_every_run_is_done_once(
    work: runs.JobDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cancelled(work, 20)
    action = bulk.create("retrigger", filters="status=cancelled")
    original = bulk._keep
    calls = 0

    def dies_before_its_commit(*args: Any, **changes: Any) -> None:
        nonlocal calls
        calls += 1
        original(*args, **changes)
        if calls == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(bulk, "_keep", dies_before_its_commit)
    with pytest.raises(KeyboardInterrupt):
        bulk.advance(OWNER, 60)
    assert bulk.get(action.pk).done == 7
    assert not bulk.advance(OTHER, 60), "its lease has not run out"
    BulkAction.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    action = finish(action, OTHER)
    assert (action.status, action.done, action.refused) == ("completed", 20, 0)
    copies = Run.objects.filter(source_id__isnull=False)
    assert {copy.source_id for copy in copies} == {run.pk for run in made}
    assert copies.count() == 20


def test_what_a_dead_worker_held_is_free_at_once(work: runs.JobDefinition) -> None:
    cancelled(work, 3)
    action = bulk.create("retry", filters="status=cancelled")
    dead = factories.worker("work")
    assert bulk.advance(dead.pk, 0)
    taken = timezone.now() + timedelta(seconds=30)
    BulkAction.objects.update(lease_owner=dead.pk, lease_expires_at=taken, status="running")
    assert not bulk.advance(OWNER, 60)
    Worker.objects.update(stopped_at=timezone.now())
    assert finish(action).done == 3


def test_an_owner_that_lost_its_lease_changes_nothing(
    work: runs.JobDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled(work, 2)
    action = bulk.create("retry", filters="status=cancelled")
    original = bulk._OPERATIONS["retry"]

    def is_overtaken(*args: Any, **options: Any) -> Run | None:
        BulkAction.objects.update(lease_owner=OTHER)
        return original(*args, **options)

    monkeypatch.setitem(bulk._OPERATIONS, "retry", is_overtaken)
    assert bulk.advance(OWNER, 60)
    assert Run.objects.filter(status="cancelled").count() == 2
    assert not BulkItem.objects.exists()
    assert bulk.get(action.pk).done == 0


def test_abort_ends_it_and_what_is_done_stays_done(work: runs.JobDefinition) -> None:
    cancelled(work, 5)
    action = bulk.create("retry", filters="status=cancelled")
    taken = bulk._take(OWNER)
    assert taken == action
    assert bulk._do_batch(taken, OWNER, deadline=0)
    bulk.abort(action, actor="ann")
    with pytest.raises(bulk._LeaseGone):
        bulk._do_batch(taken, OWNER, deadline=0)
    assert not bulk.advance(OWNER, 60)
    action = bulk.get(action.pk)
    assert (action.status, action.aborted_by, action.done) == ("aborted", "ann", 1)
    assert action.finished_at is not None
    assert Run.objects.filter(status="pending").count() == 1
    with pytest.raises(ConflictError, match="aborted already"):
        bulk.abort(action)


def test_actions_come_one_after_the_other_and_a_busy_one_is_passed_by(
    work: runs.JobDefinition,
) -> None:
    one, two = cancelled(work, 2)
    first = bulk.create("retry", run_ids=[one.pk])
    second = bulk.create("retry", run_ids=[two.pk])
    assert bulk._take(OWNER) == first
    assert bulk.advance(OTHER, 60)
    assert (bulk.get(first.pk).status, bulk.get(second.pk).status) == ("running", "completed")


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_do_every_run_once(work: runs.JobDefinition) -> None:
    made = cancelled(work, 30)
    actions = [
        bulk.create("retrigger", run_ids=[run.pk for run in made[:15]]),
        bulk.create("retrigger", run_ids=[run.pk for run in made[15:]]),
    ]
    race(lambda: bulk.advance(OWNER, 30), lambda: bulk.advance(OTHER, 30))
    assert [bulk.get(action.pk).done for action in actions] == [15, 15]
    copies = Run.objects.filter(source_id__isnull=False)
    assert {copy.source_id for copy in copies} == {run.pk for run in made}
    assert len(copies) == len(made)


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_a_worker_killed_in_the_middle_has_done_every_run_once_when_the_next_one_ends_it(
    cluster: Cluster,
) -> None:
    count = 600
    now = timezone.now()
    Run.objects.bulk_create(
        Run(
            job="gone",
            status="failed",
            created_at=now,
            queued_at=now,
            finished_at=now,
            triggered_by="ann",
        )
        for _ in range(count)
    )
    action = bulk.create("cancel", filters="job=gone")
    Run.objects.update(status="pending", finished_at=None)
    for part in (4, 2):
        worker = cluster.start()
        cluster.until(
            lambda part=part: bulk.get(action.pk).done >= count // part,  # type: ignore[misc]
            f"1/{part} of it is done",
            timeout=60,
        )
        worker.kill()
        assert bulk.get(action.pk).status == "running"
    cluster.start()
    cluster.until(lambda: bulk.get(action.pk).is_over, "it is over", timeout=60)
    action = bulk.get(action.pk)
    assert (action.status, action.done, action.refused) == ("completed", count, 0)
    assert action.items.count() == count
    assert set(Run.objects.values_list("status", "seq")) == {("cancelled", 1)}
    assert RunEvent.objects.filter(kind="cancelled").count() == count
