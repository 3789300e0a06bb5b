from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.test import Client

from runs.dashboard import signin
from runs.dashboard.signin import one_time_path
from tests.pages import factories

pytestmark = pytest.mark.django_db

PAGES = ("/", "/runs/", "/runs/live/", "/jobs/", "/jobs/x/")


@pytest.mark.parametrize("path", PAGES)
def test_pages_send_strangers_to_the_sign_in(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"] == f"/login/?next={path}"


@pytest.mark.parametrize("path", PAGES)
def test_pages_refuse_who_may_not_see_runs(client: Client, path: str) -> None:
    client.force_login(factories.user("eve"))
    response = client.get(path)
    assert response.status_code == 403
    assert "eve may not see runs" in response.content.decode()


def test_an_open_page_reloads_when_the_session_is_over(client: Client) -> None:
    response = client.get("/runs/live/", headers={"hx-request": "true"})
    assert response["HX-Refresh"] == "true"


def test_signing_in_goes_on_to_next_and_nowhere_else(client: Client) -> None:
    factories.user("ann", "view_run")
    form = {"username": "ann", "password": "pass"}
    assert client.post("/login/", {**form, "next": "/runs/?q=1"})["Location"] == "/runs/?q=1"
    client.logout()
    assert client.post("/login/", {**form, "next": "https://evil.example/"})["Location"] == "/"


def test_a_wrong_password_keeps_the_name(client: Client) -> None:
    page = client.post("/login/", {"username": "ann", "password": "no"}).content.decode()
    assert 'value="ann"' in page
    assert 'role="alert"' in page


def test_signing_out_takes_a_post(operator: Client) -> None:
    assert operator.get("/logout/").status_code == 405
    assert operator.post("/logout/")["Location"] == "/login/"
    assert operator.get("/runs/").status_code == 302


def test_a_one_time_link_signs_in_once(client: Client) -> None:
    path = one_time_path(factories.user("ann", "view_run"))
    assert client.get(path)["Location"] == "/"
    assert client.get("/jobs/").status_code == 200
    again = Client().get(path, follow=True)
    assert again.redirect_chain == [("/login/", 302)]
    assert "used up" in again.content.decode()


def test_two_links_made_at_once_die_together(client: Client) -> None:
    ann = factories.user("ann", "view_run")
    first, second = one_time_path(ann), one_time_path(ann)
    client.get(first)
    assert Client().get(second)["Location"] == "/login/"


def test_a_one_time_link_dies_after_an_hour(client: Client) -> None:
    path = one_time_path(factories.user())
    later = signin.tokens._now() + timedelta(hours=1, seconds=1)
    with mock.patch.object(signin.SignInTokens, "_now", return_value=later):
        assert client.get(path)["Location"] == "/login/"


@pytest.mark.parametrize("uid", ["MQ", "!!", "AAAA"])
def test_a_made_up_link_is_refused(client: Client, uid: str) -> None:
    assert client.get(f"/login/once/{uid}/x-y/")["Location"] == "/login/"


def test_a_link_of_a_closed_account_is_refused(client: Client) -> None:
    path = one_time_path(factories.user("ann", is_active=False))
    assert client.get(path)["Location"] == "/login/"


def test_theme_and_zone_are_kept_and_shown(operator: Client) -> None:
    operator.post("/preferences/", {"theme": "dark", "next": "/jobs/"})
    response = operator.post("/preferences/", {"zone": "Asia/Tokyo", "next": "//evil.example"})
    assert response["Location"] == "/"
    page = operator.get("/jobs/").content.decode()
    assert 'data-theme="dark"' in page
    assert "Times in Asia/Tokyo" in page


@pytest.mark.parametrize("zone", ["../../etc/passwd", "Nowhere", "\x00", "/etc/localtime"])
def test_a_zone_that_does_not_exist_is_ignored(operator: Client, zone: str) -> None:
    assert "zone" not in operator.post("/preferences/", {"zone": zone}).cookies
    operator.cookies["zone"] = zone.replace("\x00", "")
    assert "Times in UTC" in operator.get("/jobs/").content.decode()


def test_a_missing_page_and_a_missing_token_look_like_ours(operator: Client) -> None:
    missing = operator.get("/runs/01a20394-5627-70b1-a595-bbdab0133533/")
    assert missing.status_code == 404
    assert "may have been deleted" in missing.content.decode()
    strict = Client(enforce_csrf_checks=True)
    refused = strict.post("/login/", {})
    assert refused.status_code == 403
    assert "This form has expired" in refused.content.decode()


def test_nothing_is_inline(operator: Client) -> None:
    factories.run("running", progress={"current": 1, "total": 2})
    response = operator.get("/runs/")
    page = response.content.decode()
    assert "unsafe" not in response["Content-Security-Policy"]
    assert " style=" not in page
    assert "<script>" not in page
