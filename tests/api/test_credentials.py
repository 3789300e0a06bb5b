"""Who is let in, by what, and how the others are told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from runs import access
from runs.access import tokens
from runs.models import ApiToken, Run, RunEvent
from tests.access import people
from tests.api.callers import Caller
from tests.pages import factories

ALL_ROUTES = [
    ("GET", "/runs"),
    ("GET", "/runs/0199f2a4-7c1e-7b52-9d0a-3f6c1e8b7a90"),
    ("GET", "/runs/x/steps"),
    ("GET", "/runs/x/logs"),
    ("GET", "/runs/x/history"),
    ("POST", "/runs/x/retry"),
    ("POST", "/runs/x/retrigger"),
    ("POST", "/runs/x/cancel"),
    ("DELETE", "/runs/x"),
    ("GET", "/jobs"),
    ("GET", "/jobs/anything"),
    ("POST", "/jobs/anything/trigger"),
    ("POST", "/jobs/anything/trigger-batch"),
    ("POST", "/jobs/anything/pause"),
    ("POST", "/jobs/anything/resume"),
]


def refused(caller: Caller, method: str = "GET", path: str = "/runs") -> None:
    """That nobody is let in."""
    answer = caller.send(method, path)
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.fixture
def signed_in(jobs: Any, db: None) -> Caller:
    """A browser with a session, which sends no CSRF token by itself."""
    caller = Caller()
    caller.client.force_login(factories.user("ann", "view_run", "trigger_run"))
    return caller


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer durably_unknown"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Basic YW5uOnBhc3M="},
        {"authorization": "Bearer ü\x80"},
        {"cookie": "sessionid=nonsense"},
    ],
    ids=str,
)
def test_nobody_is_let_in_without_credentials(db: None, headers: dict[str, str]) -> None:
    for method, path in ALL_ROUTES:
        refused(Caller(**headers), method, path)


def test_before_anything_else_the_caller_is_asked_who_they_are(db: None) -> None:
    answer = Caller().send("POST", "/jobs/anything/trigger?x=1", b"{", "text/plain")
    assert answer.status == 401
    assert Caller().get("/runs?limit=0&x=1").status == 401


def test_a_token_lets_in_until_it_ends(db: None, jobs: Any) -> None:
    token, secret = people.token("ci")
    caller = Caller(authorization=f"Bearer {secret}")
    assert caller.get("/runs").status == 200
    assert Caller(authorization=f"bearer  {secret} ").get("/runs").status == 200
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    refused(caller)
    ApiToken.objects.update(expires_at=None)
    assert caller.get("/runs").status == 200
    tokens.revoke(token)
    refused(caller)


def test_a_token_of_a_user_may_what_both_may(db: None, jobs: Any) -> None:
    user = User.objects.get(pk=people.person("ann", access.VIEW).user.pk)
    caller = Caller.with_token(access.VIEW, access.TRIGGER, user=user)
    assert caller.get("/runs").status == 200
    assert caller.post("/jobs/anything/trigger").status == 403
    User.objects.update(is_active=False)
    refused(caller)


def test_a_program_needs_no_csrf_token(api: Caller) -> None:
    assert api.post("/jobs/anything/trigger").status == 201


def test_a_session_may_read(signed_in: Caller) -> None:
    assert signed_in.get("/runs").json == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("header", [{}, {"x_csrftoken": "wrong"}])
def test_a_session_alone_changes_nothing(signed_in: Caller, header: dict[str, str]) -> None:
    answer = signed_in.post("/jobs/anything/trigger", {}, **header)
    assert (answer.status, answer.code) == (403, "csrf-failed")
    assert not Run.objects.exists()


def test_a_session_with_its_csrf_token_acts_as_the_person(signed_in: Caller) -> None:
    signed_in.client.get("/api/docs")
    value = signed_in.client.cookies["csrftoken"].value
    answer = signed_in.post("/jobs/anything/trigger", {}, x_csrftoken=value)
    assert answer.status == 201
    assert answer.json["triggered_by"] == "ann"
    assert RunEvent.objects.get().actor == "ann"


def test_a_session_of_another_site_changes_nothing(signed_in: Caller) -> None:
    signed_in.client.get("/api/docs")
    value = signed_in.client.cookies["csrftoken"].value
    headers = {"x_csrftoken": value, "origin": "https://evil.example"}
    assert signed_in.post("/jobs/anything/trigger", {}, **headers).status == 403


def test_a_bad_token_is_refused_whoever_is_signed_in(signed_in: Caller) -> None:
    answer = signed_in.get("/runs", authorization="Bearer durably_unknown")
    assert (answer.status, answer.code) == (401, "unauthenticated")


def test_other_schemes_leave_the_session_alone(signed_in: Caller) -> None:
    """Such as that of a proxy which asks for a password of its own."""
    assert signed_in.get("/runs", authorization="Basic YW5uOnBhc3M=").status == 200


def test_who_acts_is_in_the_history(program: Callable[..., Caller]) -> None:
    caller = program(name="robot")
    id = caller.trigger()
    caller.post(f"/runs/{id}/cancel")
    assert {each.actor for each in RunEvent.objects.all()} == {"token:robot"}


@pytest.mark.parametrize("path", ["/api/openapi.json", "/api/docs", "/healthz", "/readyz"])
def test_what_holds_no_data_needs_no_credentials(db: None, path: str) -> None:
    assert Client(headers={"host": "localhost"}).get(path).status_code == 200
