"""The groups that the migration makes, and what each may do."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.db import connection

from runs import startup
from runs.access import ALL, DELETE, MANAGE_TOKENS, OPERATE, TRIGGER, VIEW, Actor
from runs.access.permissions import SEE_ALL_TENANTS, WORDS
from tests.access.groups import make_groups

pytestmark = pytest.mark.django_db

migration = import_module("runs.migrations.0006_groups")


@pytest.fixture(autouse=True)
def no_groups() -> None:
    Group.objects.all().delete()


@pytest.mark.parametrize(
    ("group", "may"),
    [
        ("viewer", {VIEW}),
        ("operator", {VIEW, TRIGGER, OPERATE}),
        ("admin", {VIEW, TRIGGER, OPERATE, DELETE, MANAGE_TOKENS}),
    ],
)
def test_each_group_may_what_its_name_says(group: str, may: set[str]) -> None:
    make_groups()
    user = User.objects.create_user("ann")
    user.groups.add(Group.objects.get(name=group))
    ann = Actor("ann", User.objects.get(pk=user.pk))
    assert {each for each in (*ALL, MANAGE_TOKENS, SEE_ALL_TENANTS) if ann.may(each)} == may
    assert ann.may("runs.view_deniedattempt") == ann.may("runs.view_apitoken") == (group == "admin")
    others = {m._meta.model_name for m in apps.get_app_config("runs").get_models()}
    for model in others - {"apitoken", "deniedattempt"}:
        assert ann.may(f"runs.view_{model}"), model


def test_permissions_that_are_not_there_yet_are_made() -> None:
    """On a new database Django makes them after all migrations."""
    Permission.objects.filter(content_type__app_label="runs").delete()
    make_groups()
    assert Group.objects.get(name="admin").permissions.count() == len(migration.ADMINISTER)
    found = Permission.objects.filter(content_type__app_label="runs").values_list("codename")
    assert {f"runs.{codename}" for (codename,) in found} >= WORDS.keys()


def test_a_group_that_was_there_gains_nothing() -> None:
    own = Group.objects.create(name="admin")
    make_groups()
    make_groups()
    assert not own.permissions.exists()
    assert Group.objects.count() == 3


def test_undoing_leaves_groups_that_somebody_is_in() -> None:
    make_groups()
    User.objects.create_user("ann").groups.add(Group.objects.get(name="viewer"))
    migration.remove_groups(apps, connection.schema_editor())
    assert [group.name for group in Group.objects.all()] == ["viewer"]


def test_the_first_account_may_do_everything() -> None:
    make_groups()
    operator = startup.ensure_operator()
    assert operator is not None
    assert all(Actor("operator", operator).may(each) for each in WORDS)


def test_groups_that_see_jobs_see_what_happened_to_them() -> None:
    """Also those that were made before this was recorded."""
    see_jobs, see_nothing = (Group.objects.create(name=name) for name in ("theirs", "others"))
    see_jobs.permissions.add(Permission.objects.get(codename="view_job"))
    later = import_module("runs.migrations.0008_job_events_and_parked_by_job")
    later.let_groups_see(apps, connection.schema_editor())
    assert {each.codename for each in see_jobs.permissions.all()} == {"view_job", "view_jobevent"}
    assert not see_nothing.permissions.exists()
