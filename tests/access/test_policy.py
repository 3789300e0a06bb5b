"""A policy that fails, or answers anything but yes, says no."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from runs import access
from runs.access import OPERATE, TRIGGER, VIEW, AccessPolicy
from runs.engine.triggers import BatchItem
from runs.errors import NotFoundError, PermissionDeniedError
from runs.models import DeniedAttempt, Run
from runs.registry import JobDefinition
from tests.access.people import Odd, OwnRuns, person, program
from tests.pages import factories

pytestmark = pytest.mark.django_db

NOT_TRUE: list[Any] = [RuntimeError("broken"), None, False, 1, "yes", [], {"may": True}]
NOT_RUNS: list[Any] = [RuntimeError("broken"), None, True, [], "no", AccessPolicy]


@pytest.fixture
def odd(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    settings.ACCESS_POLICY = "tests.access.people.Odd"
    return lambda **answers: [monkeypatch.setattr(Odd, k, v) for k, v in answers.items()]


@pytest.mark.parametrize("answer", NOT_TRUE, ids=repr)
def test_any_answer_but_true_denies(odd: Any, answer: Any, example: JobDefinition) -> None:
    odd(answer=answer)
    actor, run = person(), factories.failed_run()
    assert not access.may(actor, run, "read")
    assert not access.is_visible(actor, run)
    assert access.refusal(actor, run, "retry")
    with pytest.raises(NotFoundError):
        access.get_run(actor, run.pk)
    with pytest.raises(PermissionDeniedError):
        access.trigger(actor, "example", BatchItem({}))
    with pytest.raises(PermissionDeniedError):
        access.batch_trigger(actor, "example", [BatchItem({})])
    assert Run.objects.get().status == "failed"


@pytest.mark.parametrize("answer", NOT_RUNS, ids=repr)
def test_any_scope_but_runs_shows_none(odd: Any, answer: Any) -> None:
    odd(scoped=answer)
    actor, run = person(), factories.run()
    assert not access.visible_runs(actor).exists()
    assert not access.sees_all_runs(actor)
    assert access.visible_ids(actor, [run.pk]) == set()
    with pytest.raises(NotFoundError):
        access.get_run(actor, run.pk)


def test_runs_of_another_kind_are_none(odd: Any) -> None:
    odd(scoped=DeniedAttempt.objects.all())
    assert not access.visible_runs(person()).exists()


def test_a_policy_that_is_not_there_denies(settings: Any) -> None:
    settings.ACCESS_POLICY = "nowhere.Policy"
    actor, run = person(), factories.run()
    assert not access.visible_runs(actor).exists()
    assert not access.may(actor, run, "read")


def test_a_class_without_hooks_denies(settings: Any) -> None:
    settings.ACCESS_POLICY = "datetime.date"
    assert not access.visible_runs(person()).exists()


def test_by_default_permissions_alone_decide(example: JobDefinition) -> None:
    viewer, operator = person("vic", VIEW), person("ann")
    run = factories.failed_run(job="example")
    assert access.get_run(viewer, run.pk) == run
    assert access.sees_all_runs(viewer)
    for operation in ("retry", "retrigger", "cancel", "delete"):
        with pytest.raises(PermissionDeniedError, match="vic may not"):
            access.operate(viewer, run.pk, operation)
    with pytest.raises(PermissionDeniedError):
        access.trigger(viewer, "example", BatchItem({}))
    assert access.trigger(operator, "example", BatchItem({})).triggered_by == "ann"
    again = access.operate(operator, run.pk, "retry")
    assert again is not None
    assert again.status == "pending"


def test_without_the_permission_nobody_learns_whether_a_run_or_job_exists() -> None:
    stranger = person("sam", TRIGGER)
    run = factories.run()
    said = set()
    for id in (run.pk, uuid.uuid4(), "no id"):
        with pytest.raises(PermissionDeniedError) as refused:
            access.get_run(stranger, id)
        said.add(str(refused.value))
    assert len(said) == 1
    viewer = person("vic", VIEW)
    with pytest.raises(PermissionDeniedError):
        access.trigger(viewer, "no-such-job", BatchItem({}))
    with pytest.raises(PermissionDeniedError):
        access.operate(viewer, uuid.uuid4(), "retry")


def test_who_may_operate_but_not_look_can_do_just_that(example: JobDefinition) -> None:
    bob = person("bob", OPERATE)
    run = factories.failed_run(job="example")
    assert access.operate(bob, run.pk, "retry") is not None
    with pytest.raises(PermissionDeniedError, match="bob may not see runs"):
        access.get_run(bob, run.pk)
    assert not access.visible_runs(bob).exists()


def test_who_may_see_a_run_but_not_operate_is_told_so(settings: Any) -> None:
    settings.ACCESS_POLICY = f"{OwnRuns.__module__}.OwnRuns"
    ann = person("ann")
    own, other = factories.run(triggered_by="ann"), factories.run(triggered_by="bob")
    assert list(access.visible_runs(ann)) == [own]
    assert not access.sees_all_runs(ann)
    assert access.visible_ids(ann, [own.pk, other.pk, uuid.uuid4()]) == {own.pk}
    with pytest.raises(PermissionDeniedError, match=f"ann may not delete run {own.pk}"):
        access.operate(ann, own.pk, "delete")
    with pytest.raises(NotFoundError, match=f"There is no run {other.pk}"):
        access.operate(ann, other.pk, "delete")
    assert not access.may(ann, other, "read")
    assert Run.objects.count() == 2


def test_a_retrigger_asks_whether_one_may_trigger(
    odd: Any, monkeypatch: pytest.MonkeyPatch, example: JobDefinition
) -> None:
    odd()
    monkeypatch.setattr(Odd, "may_trigger", lambda *_: False)
    run = factories.failed_run(job="example", labels={"a": "b"})
    with pytest.raises(PermissionDeniedError, match="may not trigger example with the labels"):
        access.operate(person(), run.pk, "retrigger")
    assert Run.objects.count() == 1


def test_a_person_who_lost_a_permission_has_lost_it(example: JobDefinition) -> None:
    ann = person("ann")
    run = factories.failed_run(job="example")
    ann.user.user_permissions.clear()
    now = access.actor_by_reference(ann.reference)
    assert now is not None
    assert not access.may(now, run, "read")
    ann.user.is_active = False
    ann.user.save()
    assert access.actor_by_reference(ann.reference) is None


@pytest.mark.parametrize("reference", ["", "user:", "user:no", "token:", "token:x", "token:٣", "x"])
def test_no_reference_but_a_real_one_finds_an_actor(reference: str) -> None:
    assert access.actor_by_reference(reference) is None


def test_references_find_people_and_tokens() -> None:
    for actor in (person(), program()):
        found = access.actor_by_reference(actor.reference)
        assert found is not None
        assert (found.name, found.reference) == (actor.name, actor.reference)
