"""A bulk action has the rights of whoever ordered it, as they are when it is done."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from runs import access
from runs.access import DELETE, VIEW, Actor, tokens
from runs.engine import bulk, targets
from runs.models import BulkAction, DeniedAttempt, Run
from runs.registry import JobDefinition
from tests.access.people import TENANTS, OwnRuns, held, person, program
from tests.pages import factories

pytestmark = pytest.mark.django_db

OWN, OTHER = {"tenant": "acme"}, {"tenant": "other"}


@pytest.fixture
def tenants(settings: Any) -> None:
    settings.ACCESS_POLICY = TENANTS


@pytest.fixture
def runs(example: JobDefinition) -> list[Run]:
    """Two failed runs of acme, and two of somebody else, the newest last."""
    return [factories.failed_run(job="example", labels=label) for label in (OWN, OTHER) * 2]


def finish(action: BulkAction, owner: uuid.UUID | None = None) -> BulkAction:
    while bulk.advance(owner or uuid.uuid4(), 60):
        pass
    return bulk.get(action.pk)


def outcomes(action: BulkAction) -> dict[uuid.UUID, str]:
    """What was refused, and why."""
    return dict(action.items.filter(done=False).values_list("run_id", "message"))


def statuses() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for run in Run.objects.all():
        found.setdefault(run.labels["tenant"], set()).add(run.status)
    return found


@pytest.mark.usefixtures("tenants")
@pytest.mark.parametrize("all_of_them", [True, False])
def test_it_counts_and_touches_only_what_the_actor_sees(runs: list[Run], all_of_them: bool) -> None:
    ann = person("ann", tenants=("acme",))
    target: dict[str, Any] = {"filters": "status=failed"}
    if not all_of_them:
        target = {"run_ids": [run.pk for run in runs]}
    scope = bulk.count(actor=ann, kind="retry", **target)
    assert scope.by_status == {"failed": 2}
    assert scope.bound not in {run.pk for run in runs}  # which would name a hidden run
    action = bulk.create("retry", actor=ann, bound=scope.bound, **target)
    assert (action.expected, action.actor_reference) == (2, f"user:{ann.user.pk}")
    action = finish(action)
    assert (action.done, action.refused, action.status) == (2, 0, "completed")
    assert statuses() == {"acme": {"pending"}, "other": {"failed"}}
    if not all_of_them:
        assert set(action.selection) == {str(runs[0].pk), str(runs[2].pk)}


@pytest.mark.usefixtures("tenants")
def test_a_user_is_an_actor_too(runs: list[Run]) -> None:
    user = person("ann", tenants=("acme",)).user
    action = finish(bulk.create("delete", filters="", actor=user))
    assert (action.actor, action.done) == ("ann", 2)
    assert set(statuses()) == {"other"}


@pytest.mark.usefixtures("tenants", "runs")
@pytest.mark.parametrize("actor", [None, "cron"])
def test_code_has_all_rights(actor: str | None) -> None:
    action = finish(bulk.create("delete", filters="", actor=actor))
    assert (action.expected, action.done) == (4, 4)


def test_who_has_lost_the_permission_by_then_is_refused(runs: list[Run]) -> None:
    ann = person("ann")
    action = bulk.create("delete", filters="", actor=ann)
    ann.user.user_permissions.set(held(VIEW))
    action = finish(action)
    assert (action.done, action.refused, action.status) == (0, 4, "completed")
    assert outcomes(action) == dict.fromkeys([run.pk for run in runs], "ann may not delete runs.")
    assert Run.objects.count() == 4
    recorded = DeniedAttempt.objects.get()
    assert (recorded.actor, recorded.operation) == ("ann", "bulk delete")
    assert recorded.target == str(action.pk)


def test_the_right_is_asked_about_again_in_each_batch(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "_BATCH", 2)
    ann = person("ann")
    action = bulk.create("delete", filters="", actor=ann)
    taken = bulk._take(owner := uuid.uuid4())
    assert taken is not None
    assert bulk._do_batch(taken, owner, deadline=float("inf"))
    ann.user.user_permissions.set(held(VIEW))
    action = finish(action, owner)
    assert (action.done, action.refused) == (2, 2)
    assert set(outcomes(action)) == {runs[0].pk, runs[1].pk}


@pytest.mark.usefixtures("tenants")
def test_who_has_left_the_tenant_by_then_finds_nothing_to_do(runs: list[Run]) -> None:
    ann = person("ann", tenants=("acme",))
    action = bulk.create("delete", filters="", actor=ann)
    ann.user.groups.clear()
    action = finish(action)
    assert (action.done, action.refused, action.status) == (0, 0, "completed")


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("who", ["person", "program"])
def test_who_is_gone_by_then_has_no_rights(who: str) -> None:
    actor: Actor
    if who == "person":
        actor = person("ann")
        actor.user.is_active = False
    else:
        actor = program("ci")
    action = bulk.create("delete", filters="", actor=actor)
    if actor.token is not None:
        tokens.revoke(actor.token)
    else:
        actor.user.save()
    action = finish(action)
    assert (action.status, action.done, action.refused) == ("aborted", 0, 0)
    assert action.aborted_by == f"the worker, as {actor.name} has no access any more"
    assert action.finished_at is not None
    assert Run.objects.count() == 4
    assert not bulk.advance(uuid.uuid4(), 1)


def test_nobody_in_particular_has_no_rights(runs: list[Run]) -> None:
    action = finish(bulk.create("delete", filters="", actor=Actor("anonymous")))
    assert (action.status, Run.objects.count()) == ("aborted", 4)


def test_a_policy_that_looks_at_each_run_is_asked_before_and_after(
    settings: Any, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ACCESS_POLICY = f"{OwnRuns.__module__}.OwnRuns"
    ann = person("ann")
    Run.objects.filter(pk__in=[run.pk for run in runs[:3]]).update(triggered_by="ann")
    Run.objects.filter(pk=runs[3].pk).update(triggered_by="bob")
    assert bulk.count(filters="", actor=ann, kind="delete").total == 0
    assert bulk.count(filters="", actor=ann, kind="retry").total == 3
    monkeypatch.setattr(targets, "_ASKED", 2)
    assert bulk.count(filters="", actor=ann, kind="delete").total == 3
    action = finish(bulk.create("delete", filters="", actor=ann))
    assert (action.done, action.refused) == (0, 3)
    message = f"ann may not delete run {runs[0].pk}."
    assert outcomes(action)[runs[0].pk] == message


@pytest.mark.usefixtures("tenants")
def test_a_refusal_names_no_hidden_run(runs: list[Run]) -> None:
    ann = person("ann", tenants=("acme",))
    Run.objects.filter(pk=runs[0].pk).update(concurrency_key="k")
    hidden = factories.run("pending", job="example", labels=OTHER, concurrency_key="k")
    action = finish(bulk.create("retrigger", run_ids=[runs[0].pk], actor=ann))
    [message] = outcomes(action).values()
    assert message == "A run of example that you can't see has this key."
    assert str(hidden.pk) not in message


@pytest.mark.usefixtures("runs")
def test_a_program_s_token_is_enough() -> None:
    ci = program("ci", DELETE)
    action = finish(bulk.create("delete", filters="", actor=ci))
    assert (action.actor, action.done) == ("token:ci", 4)
    assert not access.visible_runs(ci).exists()
