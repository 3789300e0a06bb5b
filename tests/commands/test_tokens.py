"""``manage.py createtoken`` and ``manage.py tokens``."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from runs.access import DELETE, OPERATE, TRIGGER, VIEW, tokens
from runs.access.permissions import SEE_ALL_TENANTS
from runs.models import ApiToken
from tests.access.people import TENANTS
from tests.pages import factories

pytestmark = pytest.mark.django_db


def call(command: str, *arguments: str) -> tuple[str, str]:
    """What it prints on both streams."""
    out, err = io.StringIO(), io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def refusal(command: str, *arguments: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        call(command, *arguments)
    return caught.value


def test_it_prints_the_secret_alone() -> None:
    out, err = call("createtoken", "ci")
    actor = tokens.authenticate(out.removesuffix("\n"))
    assert actor is not None
    assert err == "Token ci: may view, never expires.\n"
    row = ApiToken.objects.get()
    assert row.permissions == [VIEW]
    assert (row.user, row.labels, row.expires_at) == (None, {}, None)
    assert row.created_by.startswith("shell: ")


@pytest.mark.parametrize(
    ("named", "held"),
    [
        (["--permission", "trigger"], [TRIGGER]),
        (["--permission", "view", "delete_run"], [VIEW, DELETE]),
        (["--permission", "runs.operate_run", "--permission", "view"], [VIEW, OPERATE]),
        (["--permission", "view,trigger"], [VIEW, TRIGGER]),
    ],
)
def test_permissions_have_short_and_whole_names(named: list[str], held: list[str]) -> None:
    call("createtoken", "ci", *named)
    assert ApiToken.objects.get().permissions == held


def test_a_policy_s_permission_is_given_as_well(settings: Any) -> None:
    assert "none of view, trigger" in str(
        refusal("createtoken", "ci", "--permission", "see_all_tenants")
    )
    settings.ACCESS_POLICY = TENANTS
    call("createtoken", "ci", "--permission", "see_all_tenants")
    assert ApiToken.objects.get().permissions == [SEE_ALL_TENANTS]


def test_it_acts_for_a_user() -> None:
    user = factories.user("ann", "view_run")
    _, err = call("createtoken", "ci", "--user", "ann", "--permission", "view", "delete")
    assert ApiToken.objects.get().user == user
    assert "may view, delete, acts for ann" in err
    assert "ann does not hold delete, so neither does the token." in err


def test_it_expires_and_has_labels() -> None:
    call("createtoken", "a", "--expires", "90d", "--label", "tenant=acme", "--label", "x=y")
    call("createtoken", "b", "--expires", "2999-12-31T18:00:00+01:00")
    b, a = ApiToken.objects.all()
    assert a.labels == {"tenant": "acme", "x": "y"}
    assert a.expires_at is not None
    assert timedelta(days=89) < a.expires_at - timezone.now() <= timedelta(days=90)
    assert b.expires_at is not None
    assert b.expires_at.year == 2999


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["ci", "--permission", "fly"], "permission 'fly' is none of view, trigger, operate"),
        (["ci", "--user", "nobody"], "There is no user 'nobody'."),
        (["ci", "--expires", "soon"], "--expires 'soon': write 90d"),
        (["ci", "--expires", "0d"], "--expires '0d': write 90d"),
        (["ci", "--expires", "2001-01-01"], "--expires '2001-01-01': it must lie"),
        (["ci", "--label", "tenant"], "write it as key=value"),
        (["ci", "--label", "a b=c"], "labels: key"),
        ([" "], "name must be 1 to 100"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(arguments: list[str], problem: str) -> None:
    error = refusal("createtoken", *arguments)
    assert error.returncode == 64
    assert problem in str(error)
    assert "\n" not in str(error)
    assert not ApiToken.objects.exists()


def test_a_name_that_is_taken_is_refused() -> None:
    call("createtoken", "ci")
    error = refusal("createtoken", "ci")
    assert (error.returncode, str(error)) == (
        1,
        "There is a token 'ci' already; choose another name",
    )


def test_tokens_are_listed_without_their_secrets() -> None:
    assert call("tokens", "list")[0] == "No tokens.\n"
    secret, _ = call("createtoken", "ci", "--label", "tenant=acme")
    call("createtoken", "old", "--expires", "1d")
    ApiToken.objects.filter(name="old").update(expires_at=timezone.now() - timedelta(days=1))
    out, _ = call("tokens", "list")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][:3] == ["NAME", "STATE", "MAY"]
    assert lines[1][:3] == ["old", "expired", "view"]
    assert (lines[2][:3], lines[2][-1]) == (["ci", "active", "view"], "tenant=acme")
    assert secret.strip() not in out
    found = json.loads(call("tokens", "list", "--json")[0])["items"]
    assert [each["name"] for each in found] == ["old", "ci"]
    assert found[1]["permissions"] == [VIEW]
    assert "digest" not in found[1]


def test_tokens_are_revoked_by_name() -> None:
    secret, _ = call("createtoken", "ci")
    User.objects.create_user("ann")
    assert call("tokens", "revoke", "ci")[0] == "ci revoked\n"
    assert tokens.authenticate(secret.strip()) is None
    assert "revoked" in call("tokens", "list")[0]
    error = refusal("tokens", "revoke", "ci")
    assert (error.returncode, str(error)) == (1, "Token 'ci' is revoked already")


def test_a_wrong_name_revokes_none() -> None:
    call("createtoken", "ci")
    error = refusal("tokens", "revoke", "ci", "cj")
    assert (error.returncode, str(error)) == (1, "There is no token 'cj'.")
    assert ApiToken.objects.get().revoked_at is None
