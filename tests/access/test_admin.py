"""The admin goes by the same rules as the pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from runs.access import MANAGE_TOKENS, VIEW
from runs.models import ApiToken, DeniedAttempt, Run, RunEvent, Step
from runs.registry import JobDefinition
from tests.access.people import TENANTS, held, person, token
from tests.access.world import World, secrets_in

pytestmark = pytest.mark.django_db

MODELS = [model for model in admin.site._registry if model._meta.app_label == "runs"]


@pytest.fixture
def world(settings: Any, example: JobDefinition) -> World:
    settings.ACCESS_POLICY = TENANTS
    return World()


def staff(client: Client, *permissions: str, tenants: tuple[str, ...] = ()) -> User:
    user: User = person("ann", *permissions, tenants=tenants).user
    user.is_staff = True
    user.save()
    client.force_login(user)
    return user


def listing(model: Any) -> str:
    return reverse(f"admin:runs_{model._meta.model_name}_changelist")


def page(row: Any) -> str:
    return reverse(f"admin:runs_{row._meta.model_name}_change", args=[row.pk])


def test_every_model_is_there() -> None:
    assert set(MODELS) == set(apps.get_app_config("runs").get_models())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_list_tells_nothing_of_hidden_runs(client: Client, world: World, model: Any) -> None:
    user = staff(client, tenants=("acme",))
    user.user_permissions.add(*held("view_apitoken", "view_deniedattempt"))
    answer = client.get(listing(model))
    assert answer.status_code == 200
    assert secrets_in(answer.content.decode(), world.secrets) == set()
    for row in answer.context["cl"].queryset:
        shown = client.get(page(row))
        assert shown.status_code == 200
        assert secrets_in(shown.content.decode(), world.secrets) == set(), row


def test_who_sees_all_sees_all(client: Client, world: World) -> None:
    client.force_login(User.objects.create_superuser("root"))
    for model in (Run, Step, RunEvent, DeniedAttempt):
        text = client.get(listing(model)).content.decode()
        assert secrets_in(text, world.secrets), model


def test_nothing_is_at_the_address_of_what_belongs_to_a_hidden_run(
    client: Client, world: World
) -> None:
    staff(client, tenants=("acme",))
    hidden = world.hidden["failed"]
    rows = [hidden, hidden.steps.first(), hidden.logs.first(), hidden.events.first()]
    for row in [*rows, hidden.label_rows.first(), world.action]:
        answer = client.get(page(row))
        assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert DeniedAttempt.objects.filter(actor="ann", target=str(hidden.pk)).exists()


def test_an_action_touches_no_hidden_run(client: Client, world: World) -> None:
    staff(client, tenants=("acme",))
    own, hidden = world.own["failed"], world.hidden["failed"]
    chosen = [str(own.pk), str(hidden.pk)]
    client.post(listing(Run), {"action": "delete", "_selected_action": chosen})
    left = set(Run.objects.filter(pk__in=chosen).values_list("pk", flat=True))
    assert left == {hidden.pk}


def test_tokens_are_shown_without_what_they_are_found_by(client: Client) -> None:
    user = staff(client, VIEW, MANAGE_TOKENS)
    row, secret = token("ci", VIEW, labels={"a": "b"})
    own, _ = token("own", VIEW, user=user)
    for path in (listing(ApiToken), page(row)):
        text = client.get(path).content.decode()
        assert "ci" in text
        assert row.digest not in text
        assert secret not in text
    client.post(listing(ApiToken), {"action": "revoke", "_selected_action": [row.pk, own.pk]})
    row.refresh_from_db()
    assert row.revoked_by == "ann"
    again = {"action": "revoke", "_selected_action": [row.pk]}
    said = client.post(listing(ApiToken), again, follow=True).context["messages"]
    assert "Token 'ci' is revoked already." in [str(each) for each in said]


def test_who_may_only_look_at_tokens_sees_their_own(client: Client) -> None:
    user = staff(client, VIEW)
    user.user_permissions.add(*held("view_apitoken"))
    row, _ = token("other")
    own, _ = token("own", VIEW, user=user)
    assert list(client.get(listing(ApiToken)).context["cl"].queryset) == [own]
    client.post(listing(ApiToken), {"action": "revoke", "_selected_action": [row.pk]})
    row.refresh_from_db()
    assert row.revoked_at is None


def test_without_the_permission_there_are_neither(client: Client) -> None:
    staff(client, VIEW)
    for model in (ApiToken, DeniedAttempt):
        assert client.get(listing(model)).status_code == 403
