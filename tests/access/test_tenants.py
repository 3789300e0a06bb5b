"""Tenants see nothing of each other."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from runs import access
from runs.access import VIEW, Actor
from runs.access.permissions import SEE_ALL_TENANTS
from runs.engine.triggers import BatchItem
from runs.errors import NotFoundError, PermissionDeniedError
from runs.models import Run
from runs.registry import JobDefinition
from tests.access.people import TENANTS, person, program
from tests.pages import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def tenants(settings: Any) -> None:
    settings.ACCESS_POLICY = TENANTS


@pytest.fixture
def runs() -> dict[str, Run]:
    """A run of each of three tenants, and one of none."""
    made = {name: factories.run(labels={"tenant": name}) for name in ("acme", "beta", "gamma")}
    return made | {"": factories.run(labels={"other": "acme"})}


def seen(actor: Actor, runs: dict[str, Run]) -> set[str]:
    """The tenants whose runs the actor sees, however they are asked for."""
    listed = set(access.visible_runs(actor).values_list("pk", flat=True))
    for run in runs.values():
        shown = run.pk in listed
        assert access.may(actor, run, "read") == access.is_visible(actor, run) == shown
        if shown:
            assert access.get_run(actor, run.pk) == run
        else:
            with pytest.raises(NotFoundError):
                access.get_run(actor, run.pk)
    return {name for name, run in runs.items() if run.pk in listed}


def test_people_see_the_runs_of_their_groups(runs: dict[str, Run]) -> None:
    assert seen(person("ann", tenants=("acme",)), runs) == {"acme"}
    assert seen(person("bob", tenants=("acme", "beta")), runs) == {"acme", "beta"}
    assert seen(person("cid", tenants=("delta",)), runs) == set()
    assert seen(person("dot"), runs) == set()


def test_some_see_the_runs_of_all(runs: dict[str, Run]) -> None:
    assert seen(person("eve", VIEW, SEE_ALL_TENANTS), runs) == set(runs)
    root = Actor("root", User.objects.create_superuser("root"))
    assert seen(root, runs) == set(runs)
    assert access.sees_all_runs(root)


def test_a_token_sees_the_runs_of_its_label(runs: dict[str, Run]) -> None:
    assert seen(program("a", labels={"tenant": "beta"}), runs) == {"beta"}
    assert seen(program("b"), runs) == set()
    assert seen(program("c", VIEW, SEE_ALL_TENANTS), runs) == set(runs)
    assert seen(program("d", VIEW, SEE_ALL_TENANTS, labels={"tenant": "beta"}), runs) == {"beta"}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [({}, {"acme"}), ({"tenant": "acme"}, {"acme"}), ({"tenant": "beta"}, set())],
)
def test_a_user_s_token_sees_no_more_than_the_user(
    runs: dict[str, Run], labels: dict[str, str], expected: set[str]
) -> None:
    user = person("ann", tenants=("acme",)).user
    assert seen(program(user=user, labels=labels), runs) == expected


def test_a_superuser_s_token_sees_all_only_if_it_says_so(runs: dict[str, Run]) -> None:
    root = User.objects.create_superuser("root")
    assert seen(program("a", VIEW, user=root), runs) == set()
    assert seen(program("b", VIEW, SEE_ALL_TENANTS, user=root), runs) == set(runs)


@pytest.mark.parametrize(
    ("labels", "allowed"),
    [
        ({"tenant": "acme"}, True),
        ({"tenant": "acme", "more": "x"}, True),
        ({"tenant": "beta"}, False),
        ({"Tenant": "acme"}, False),
        ({"tenant": ""}, False),
        ({}, False),
    ],
)
def test_a_trigger_needs_one_s_own_label(
    labels: dict[str, str], allowed: bool, example: JobDefinition
) -> None:
    item = BatchItem({}, labels=labels)
    for actor in (person("ann", tenants=("acme",)), program(labels={"tenant": "acme"})):
        if allowed:
            assert access.trigger(actor, "example", item).labels == labels
        else:
            with pytest.raises(PermissionDeniedError, match="with these labels"):
                access.trigger(actor, "example", item)
    with pytest.raises(PermissionDeniedError):
        access.trigger(person("dot"), "example", item)


def test_the_label_is_a_setting(settings: Any) -> None:
    settings.TENANT_LABEL = "org"
    runs = {"acme": factories.run(labels={"org": "acme", "tenant": "beta"})}
    runs["beta"] = factories.run(labels={"tenant": "acme"})
    assert seen(person("ann", tenants=("acme",)), runs) == {"acme"}


def test_names_of_groups_are_compared_letter_by_letter(runs: dict[str, Run]) -> None:
    ann = person("ann", tenants=("ACME", ""))
    ann.user.groups.create(name="Tenant:acme")
    assert seen(ann, runs) == set()


def test_a_scope_by_label_stays_one_when_it_is_narrowed_but_not_widened() -> None:
    runs = Run.objects.with_any_label("tenant", ["a", "b"])
    assert runs.along_label == ("tenant", ("a", "b"))
    narrowed: Any = runs.filter(status="failed").summaries().newest_first()
    assert narrowed.along_label == ("tenant", ("a", "b"))
    assert (runs | Run.objects.filter(status="failed")).along_label is None
    assert Run.objects.all().along_label is None
    factories.run(labels={"tenant": "a"})
    assert not Run.objects.with_any_label("tenant", []).exists()
