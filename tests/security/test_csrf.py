"""A page of another site changes nothing, whatever it posts where with the session of a visitor.

The routes are read from the site's own table of addresses, so a new one is tested at once.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client, RequestFactory

from runs.models import ApiToken, Run
from runs.registry import JobDefinition
from tests.pages import factories
from tests.security.surfaces import (
    ADMIN_FORMS,
    FORMS,
    OTHER_POSTS,
    Things,
    make_things,
    routes,
)

pytestmark = pytest.mark.django_db

METHODS = ("POST", "PUT", "PATCH", "DELETE")

#: What would do something if it came from a page of this site.
POSTED: dict[str, dict[str, Any]] = {
    "login/": {"username": "root", "password": "pass"},
    "logout/": {},
    "password/": {
        "old_password": "pass",
        "new_password1": "a new long one", "new_password2": "a new long one",
    },
    "preferences/": {"theme": "dark"},
    "jobs/<str:name>/": {"input": '{"name": "x"}'},
    "runs/<uuid:id>/": {"do": "retry"},
    "bulk/": {"do": "retry", "confirm": "1", "all": "1", "filters": "status=failed"},
    "bulk/<uuid:id>/": {"do": "abort"},
    "tokens/": {"name": "ci", "permission": "runs.view_run", "lifetime": "30"},
    "admin/runs/run/": {"action": "cancel"},
    "admin/runs/apitoken/": {"action": "revoke"},
}  # fmt: skip


#: What is stored by these is the browser's, or its session.
ONLY_COOKIES = ("logout/", "preferences/")


@pytest.fixture
def things(parcel_job: JobDefinition) -> Things:
    return make_things()


@pytest.fixture
def root(things: Things) -> Client:
    """The browser of somebody who may do everything; it asks for the token as a server does."""
    user = factories.user("root", is_staff=True, is_superuser=True)
    client = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    client.force_login(user)
    client.get("/runs/")  # which sets the cookie that the token is held against
    return client


def rows() -> list[Any]:
    """All that is stored, but for what is refused, sessions, and the times of sign-ins."""
    left_out = {"deniedattempt", "session", "accessattempt", "accessfailurelog"}
    found: list[Any] = []
    for model in apps.get_models():
        assert issubclass(model, Model)
        if model._meta.model_name not in left_out:
            found += model._default_manager.order_by("pk").values_list()
    return found


def is_refused(answer: Any) -> bool:
    """Whether it was refused for want of the token, or the origin that stands for it."""
    text = answer.content.decode()
    said = ("This form has expired", '"csrf-failed"', "not sent by a page of this site")
    return answer.status_code == 403 and any(each in text for each in said)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_changed_without_the_token(root: Client, things: Things, method: str) -> None:
    """With what would do something, and as a form of another site sends it: without a token."""
    before = rows()
    took = []
    for route, _ in routes():
        answer = root.generic(
            method,
            things.path(route),
            b"confirm=1&do=retry&all=1",
            content_type="application/x-www-form-urlencoded",
            headers={"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        )
        # 405 from what can only be read; 404 where nothing is.
        if not is_refused(answer) and answer.status_code not in (404, 405):
            took.append(f"{method} {route}: {answer.status_code}")
    assert took == []
    assert rows() == before


def test_every_form_is_refused_without_it_and_taken_with_it(root: Client, things: Things) -> None:
    """So that the test above has no empty hands: each of these does something."""
    for route, form in POSTED.items():
        path = things.path(route)
        rows_of = {"admin/runs/run/": Run, "admin/runs/apitoken/": ApiToken}
        selected = (
            [str(row.pk) for row in rows_of[route]._default_manager.all()]
            if route in rows_of
            else []
        )
        sent = {**form, "_selected_action": selected}
        before = rows()
        for token in ({}, {"csrfmiddlewaretoken": "x" * 64}, {"csrfmiddlewaretoken": "ä"}):
            assert is_refused(root.post(path, {**sent, **token})), route
        assert rows() == before, route
        strict = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
        if route != "login/":
            strict.force_login(User.objects.get(username="root"))
        strict.get("/login/?next=/" if route == "login/" else "/runs/")
        token = {"csrfmiddlewaretoken": strict.cookies["csrftoken"].value}
        before = rows()
        taken = strict.post(path, {**sent, **token})
        assert taken.status_code in (200, 302), (route, taken.content.decode())
        assert (rows() != before) is (route not in ONLY_COOKIES), route


def test_every_form_is_in_the_table(client: Client, things: Things) -> None:
    """A route that takes a POST with the token, and is no entry, is a form that nobody tests."""
    factories.user("root", is_staff=True, is_superuser=True)
    others = re.compile("|".join(OTHER_POSTS))
    found = set()
    for route, _ in routes():
        if others.fullmatch(route):
            continue
        client.force_login(User.objects.get(username="root"))
        status = client.post(things.path(route)).status_code
        if status not in (403, 404, 405):
            found.add(route)
    assert found == {*FORMS}, "Add an entry to tests/security/surfaces.py for each"
    assert POSTED.keys() == {*FORMS, *ADMIN_FORMS}


def test_every_action_of_the_admin_is_in_the_table(rf: RequestFactory) -> None:
    request = rf.get("/admin/")
    request.user = factories.user("root", is_staff=True, is_superuser=True)
    found = {
        f"admin/{model._meta.app_label}/{model._meta.model_name}/"
        for model, its_admin in site._registry.items()
        if model._meta.app_label != "auth" and its_admin.get_actions(request)
    }
    assert found == {*ADMIN_FORMS}, "Add an entry to tests/security/surfaces.py for each"


def test_only_the_api_sees_to_it_itself() -> None:
    """Views that Django's own check leaves alone."""
    exempt = {route for route, view in routes() if getattr(view, "csrf_exempt", False)}
    others = {route for route in exempt if not re.fullmatch("|".join(OTHER_POSTS), route)}
    assert others == set()


def test_a_cookie_goes_with_no_request_of_another_site(things: Things, settings: Any) -> None:
    """A second line: browsers send neither cookie with a post from elsewhere."""
    assert settings.SESSION_COOKIE_SAMESITE in ("Lax", "Strict")
    assert settings.CSRF_COOKIE_SAMESITE in ("Lax", "Strict")
    assert settings.SESSION_COOKIE_HTTPONLY
