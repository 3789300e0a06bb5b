"""The page of API tokens."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from runs.access import DELETE, MANAGE_TOKENS, TRIGGER, VIEW, tokens
from runs.models import ApiToken, DeniedAttempt
from tests.access.people import TENANTS, person, token

pytestmark = pytest.mark.django_db

MAKE = {"name": "ci", "permission": [VIEW], "lifetime": "90"}


@pytest.fixture
def ann(client: Client) -> User:
    """Somebody who may see and trigger runs, signed in."""
    user: User = person("ann", VIEW, TRIGGER).user
    client.force_login(user)
    return user


@pytest.fixture
def manager(client: Client) -> User:
    """Somebody who manages tokens, signed in."""
    user: User = person("max", VIEW, MANAGE_TOKENS).user
    client.force_login(user)
    return user


def get(client: Client, path: str = "/tokens/") -> str:
    response = client.get(path)
    assert response.status_code == 200
    return str(response.content.decode())


def make(client: Client, status: int = 200, **more: Any) -> str:
    response = client.post("/tokens/", {**MAKE, **more})
    assert response.status_code == status
    return str(response.content.decode())


def secret_on(page: str) -> str:
    found = re.search(r'<code class="secret" id="secret">([^<]+)<', page)
    assert found
    return found[1]


def test_a_token_is_made_and_shown_once(client: Client, ann: User) -> None:
    response = client.post("/tokens/", {**MAKE, "permission": [VIEW, TRIGGER]})
    assert "no-store" in response["Cache-Control"]
    secret = secret_on(response.content.decode())
    actor = tokens.authenticate(secret)
    assert actor is not None
    assert (actor.user, actor.may(TRIGGER), actor.may(DELETE)) == (ann, True, False)
    row = ApiToken.objects.get()
    assert (row.name, row.created_by, row.user, row.labels) == ("ci", "ann", ann, {})
    assert row.expires_at is not None
    left = row.expires_at - timezone.now()
    assert timedelta(days=89) < left <= timedelta(days=90)
    page = get(client)
    assert secret not in page
    assert f"…{row.hint}" in page
    stored = [client.session.items(), Session.objects.get().get_decoded().items()]
    assert secret not in str(stored)
    assert secret not in str(response.request["PATH_INFO"]) + response.request["QUERY_STRING"]


def test_a_form_that_is_sent_again_makes_no_second_token(client: Client, ann: User) -> None:
    make(client)
    again = make(client, 409)
    assert "No token was made. There is a token &#x27;ci&#x27; already" in again
    assert 'value="ci"' in again
    assert ApiToken.objects.count() == 1


def test_nobody_hands_on_what_they_don_t_hold(client: Client, ann: User) -> None:
    page = get(client)
    assert re.findall(r'name="permission" value="([^"]+)"', page) == [VIEW, TRIGGER]
    refused = make(client, 403, permission=[VIEW, DELETE])
    assert "ann may not delete runs" in refused
    assert not ApiToken.objects.exists()
    assert DeniedAttempt.objects.get().operation == DELETE


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"name": " "}, "name must be 1 to 100"),
        ({"permission": []}, "name at least one"),
        ({"permission": ["auth.add_user"]}, "may not auth.add_user"),
        ({"lifetime": "9999"}, "last &#x27;9999&#x27; days"),
    ],
)
def test_what_makes_no_sense_is_said(
    client: Client, ann: User, form: dict[str, Any], problem: str
) -> None:
    page = client.post("/tokens/", {**MAKE, **form})
    assert page.status_code in (400, 403)
    assert problem in page.content.decode()
    assert not ApiToken.objects.exists()


def test_labels_are_for_who_manages_tokens(client: Client, ann: User) -> None:
    assert 'name="labels"' not in get(client)
    assert "ann may not manage API tokens" in make(client, 403, labels="tenant:acme")
    assert not ApiToken.objects.exists()


def test_a_manager_gives_labels(client: Client, manager: User) -> None:
    make(client, labels="tenant:acme\nenv:test", lifetime="0")
    row = ApiToken.objects.get()
    assert row.labels == {"tenant": "acme", "env": "test"}
    assert row.expires_at is None
    assert "Line 1 is not key:value" in make(client, 400, name="b", labels="tenant")
    assert "labels: key" in make(client, 400, name="b", labels="a b:c")


def test_a_policy_s_permission_is_offered_to_who_holds_it(client: Client, settings: Any) -> None:
    settings.ACCESS_POLICY = TENANTS
    client.force_login(User.objects.create_superuser("root"))
    assert "See the runs of all tenants" in get(client)
    client.force_login(person("ann", tenants=("acme",)).user)
    assert "all tenants" not in get(client)


def test_one_sees_and_revokes_one_s_own(client: Client, ann: User) -> None:
    own, secret = token("own", VIEW, user=ann)
    other, _ = token("service", VIEW)
    page = get(client)
    assert "own" in page
    assert "service" not in page
    assert client.post("/tokens/", {"revoke": str(other.pk)}).status_code == 404
    assert client.post("/tokens/", {"revoke": "x"}).status_code == 404
    said = client.post("/tokens/", {"revoke": str(own.pk)}, follow=True).content.decode()
    assert "Token own is revoked." in said
    assert "Revoke…" not in said
    assert tokens.authenticate(secret) is None
    again = client.post("/tokens/", {"revoke": str(own.pk)}, follow=True).content.decode()
    assert "is revoked already" in again
    other.refresh_from_db()
    assert other.revoked_at is None


def test_a_manager_sees_and_revokes_everybody_s(client: Client, manager: User) -> None:
    row, _ = token("anns", VIEW, user=person("ann").user)
    token("service", VIEW)
    page = get(client)
    assert ">ann</td>" in page
    assert "itself" in page
    client.post("/tokens/", {"revoke": str(row.pk)})
    row.refresh_from_db()
    assert row.revoked_by == "max"


def test_each_has_a_state(client: Client, ann: User) -> None:
    row, secret = token("one", VIEW, user=ann, expires_at=timezone.now() + timedelta(days=1))
    assert ">Active<" in get(client)
    assert ">never<" in get(client)
    tokens.authenticate(secret)
    assert get(client).count(">never<") == 0
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(days=1))
    assert ">Expired<" in get(client)
    tokens.revoke(row)
    assert ">Revoked<" in get(client)


def test_the_list_goes_on(client: Client, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.dashboard.tokens.PAGE_SIZE", 2)
    for name in ("one", "two", "three"):
        token(name, VIEW, user=ann)
    page = get(client)
    assert re.findall(r'class="name">(\w+)<', page) == ["three", "two"]
    older = re.search(r'href="(\?before=\d+)"', page)
    assert older
    assert re.findall(r'class="name">(\w+)<', get(client, f"/tokens/{older[1]}")) == ["one"]


def test_who_holds_nothing_sees_no_form_and_no_figures(client: Client) -> None:
    client.force_login(person("sam", "no_permission").user)
    page = get(client)
    assert "no permission that a token could have" in page
    assert "running now" not in page


def test_one_has_to_be_signed_in(client: Client) -> None:
    for answer in (client.get("/tokens/"), client.post("/tokens/", MAKE)):
        assert answer["Location"].startswith("/login/")
    assert not ApiToken.objects.exists()


def test_names_are_shown_as_text(client: Client, ann: User) -> None:
    make(client, name="<script>x</script>")
    assert "<script>x" not in get(client)
