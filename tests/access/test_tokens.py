"""API tokens: the secret is nowhere, and lets in only as long and as far as it should."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.core import serializers
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.access import DELETE, MANAGE_TOKENS, OPERATE, TRIGGER, VIEW, tokens
from runs.access.permissions import SEE_ALL_TENANTS, full_name, short_name
from runs.engine import database
from runs.errors import ConflictError, ValidationError
from runs.models import ApiToken
from tests.access.people import TENANTS, held, person, program, token

pytestmark = pytest.mark.django_db


def test_only_a_digest_is_stored() -> None:
    row, secret = token()
    assert re.fullmatch(r"durably_[\w-]{43}", secret)
    stored = serializers.serialize("json", [ApiToken.objects.get()])
    assert secret not in stored
    assert secret.removeprefix("durably_") not in stored
    assert len(row.digest) == 64
    assert row.hint == secret[-4:]


def test_the_secret_lets_in() -> None:
    row, secret = token("ci", VIEW)
    actor = tokens.authenticate(secret, "10.0.0.1")
    assert actor is not None
    assert (actor.name, actor.token, actor.address) == ("token:ci", row, "10.0.0.1")
    assert actor.may(VIEW)
    assert not actor.may(TRIGGER)


@pytest.mark.parametrize(
    "secret", ["", "durably_", "durably_x", "x" * 50, "durably_" + "x" * 500, "durably_\ud800"]
)
def test_nothing_else_does(secret: str) -> None:
    row, _ = token()
    assert tokens.authenticate(secret) is None
    assert tokens.authenticate(row.digest) is None


def test_a_revoked_token_is_dead() -> None:
    row, secret = token()
    tokens.revoke(row, actor="ann")
    assert tokens.authenticate(secret) is None
    row.refresh_from_db()
    assert row.revoked_by == "ann"
    with pytest.raises(ConflictError, match="revoked already"):
        tokens.revoke(row)


def test_an_expired_token_is_dead() -> None:
    _, secret = token(expires_at=timezone.now() + timedelta(minutes=5))
    assert tokens.authenticate(secret) is not None
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tokens.authenticate(secret) is None


def test_a_token_dies_with_its_user_s_account() -> None:
    user = person("ann").user
    _, secret = token(user=user)
    user.is_active = False
    user.save()
    assert tokens.authenticate(secret) is None
    with pytest.raises(ValidationError, match="ann is not active"):
        token("new", user=user)


def test_a_user_s_token_may_what_both_may() -> None:
    user = person("ann", VIEW, OPERATE).user
    _, secret = token("ci", VIEW, DELETE, user=user)
    actor = tokens.authenticate(secret)
    assert actor is not None
    assert [actor.may(each) for each in (VIEW, OPERATE, DELETE)] == [True, False, False]
    user.user_permissions.set(held(OPERATE))
    actor = tokens.authenticate(secret)
    assert actor is not None
    assert not actor.may(VIEW)


def test_a_token_of_its_own_has_nothing_but_its_permissions() -> None:
    actor = program("ci", VIEW)
    assert not any(actor.may(each) for each in (TRIGGER, MANAGE_TOKENS, SEE_ALL_TENANTS))


def test_its_use_is_noted_once_a_minute() -> None:
    row, secret = token()
    tokens.authenticate(secret)
    row.refresh_from_db()
    first = row.last_used_at
    assert first is not None
    with CaptureQueriesContext(connection) as asked:
        tokens.authenticate(secret)
    assert [query["sql"].split()[0] for query in asked] == ["SELECT"]
    ApiToken.objects.update(last_used_at=first - timedelta(seconds=61))
    tokens.authenticate(secret)
    row.refresh_from_db()
    assert row.last_used_at is not None
    assert row.last_used_at >= first


def test_it_has_what_was_named_and_nothing_else() -> None:
    assert token("ci", DELETE, TRIGGER, DELETE)[0].permissions == [TRIGGER, DELETE]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": " "}, "name must be"),
        ({"name": "x" * 101}, "name must be"),
        ({"name": "a\x00b"}, "name must be"),
        ({"name": "a\nb"}, "name must be"),
        ({"permissions": []}, "at least one"),
        ({"permissions": ["auth.add_user"]}, "'auth.add_user' is none of"),
        ({"permissions": [MANAGE_TOKENS]}, "is none of"),
        ({"permissions": [SEE_ALL_TENANTS]}, "is none of"),
        ({"labels": {"a b": "c"}}, "labels: key"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"expires_at": timezone.now() - timedelta(days=1)}, "must lie in the future"),
        ({"expires_at": timezone.now().replace(tzinfo=None)}, "with a time zone"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], problem: str) -> None:
    given: dict[str, Any] = {"name": "ci", "permissions": [VIEW], **options}
    with pytest.raises(ValidationError, match=problem):
        tokens.create(given.pop("name"), **given)
    assert not ApiToken.objects.exists()


def test_a_policy_s_own_permission_can_be_given(settings: Any) -> None:
    settings.ACCESS_POLICY = TENANTS
    assert token("ci", SEE_ALL_TENANTS)[0].permissions == [SEE_ALL_TENANTS]


def test_a_name_is_given_once() -> None:
    row, _ = token("ci")
    tokens.revoke(row)
    with pytest.raises(ConflictError, match="There is a token 'ci' already"):
        token("ci")
    assert ApiToken.objects.count() == 1


def test_people_see_their_own_tokens_and_managers_all() -> None:
    ann, bob = person("ann"), person("bob", MANAGE_TOKENS)
    own, _ = token("own", user=ann.user)
    service, _ = token("service")
    assert list(tokens.tokens_of(ann)) == [own]
    assert set(tokens.tokens_of(bob)) == {own, service}
    assert not tokens.tokens_of(program("p", user=ann.user)).exists()


@pytest.mark.parametrize("name", ["view", "view_run", "runs.view_run", " view "])
def test_a_permission_has_short_names(name: str) -> None:
    assert full_name(name) == VIEW
    assert short_name(VIEW) == "view"


@pytest.mark.parametrize("name", ["", "run", "views", "auth.view_run", "manage_tokens"])
def test_other_names_are_none(name: str) -> None:
    with pytest.raises(ValidationError, match="none of view, trigger, operate, delete"):
        full_name(name)


def test_the_write_of_a_use_waits_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite whoever writes takes a lock of the process first, or others poll for the file."""
    written = Mock(wraps=database.write)
    monkeypatch.setattr(database, "write", written)
    program()
    assert written.call_count == 2  # the token, and its use
