"""What guessing comes to: of passwords, one-time links and old passwords."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import async_to_sync
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, RequestFactory
from django.utils import timezone

from runs.access import attempts, tokens
from runs.api.auth import TokenAuth
from runs.api.problems import problem_of
from runs.dashboard.signin import one_time_path
from runs.errors import RunsError
from runs.models import DeniedAttempt
from tests.pages import factories

pytestmark = pytest.mark.django_db

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(autouse=True)
def eva(settings: Any) -> User:
    settings.AXES_FAILURE_LIMIT = 3
    return factories.user("eva", "view_run")


def sign_in(password: str = "wrong", name: str = "eva", address: str = HERE, **more: Any) -> Any:
    form = {"username": name, "password": password}
    return Client(REMOTE_ADDR=address).post("/login/", form, **more)


def fail(times: int, **more: Any) -> list[int]:
    return [sign_in(**more).status_code for _ in range(times)]


def test_too_many_wrong_passwords_lock_the_name_out_at_that_address() -> None:
    assert fail(3) == [200, 200, 429]
    refused = sign_in("pass")
    page = refused.content.decode()
    assert refused.status_code == 429
    assert "Try again in 15 minutes" in page
    assert 840 < int(refused["Retry-After"]) <= 900
    assert sign_in("pass", address=ELSEWHERE).status_code == 302
    factories.user("bob", "view_run")
    assert sign_in("pass", name="bob").status_code == 302


def test_it_ends_by_itself_and_is_not_prolonged_by_trying_on() -> None:
    fail(3)
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=14, seconds=30))
    refused = sign_in("pass")
    assert "Try again in 1 minute:" in refused.content.decode()
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=15, seconds=1))
    assert sign_in("pass").status_code == 302


def test_other_processes_failures_count() -> None:
    """Each web process asks the database, and remembers nothing itself."""
    AccessAttempt.objects.create(
        username="eva", ip_address=HERE, user_agent="x", failures_since_start=3
    )
    assert sign_in("pass").status_code == 429


def test_a_success_forgets_the_name_s_failures_but_not_the_address_s() -> None:
    fail(2)
    fail(2, name="bob")
    assert sign_in("pass").status_code == 302
    assert fail(2) == [200, 200]
    assert set(AccessAttempt.objects.values_list("username", flat=True)) == {"eva", "bob"}


def test_one_password_for_many_names_locks_the_address_out() -> None:
    AccessAttempt.objects.bulk_create(
        AccessAttempt(username=f"u{n}", ip_address=HERE, user_agent="x", failures_since_start=1,
                      attempt_time=timezone.now())
        for n in range(29)
    )  # fmt: skip
    assert sign_in(name="u29").status_code == 429
    assert sign_in("pass").status_code == 429
    assert sign_in("pass", address=ELSEWHERE).status_code == 302


def test_a_client_can_not_change_its_address_by_a_header() -> None:
    for number in range(3):
        sign_in(headers={"x-forwarded-for": f"198.51.100.{number}"})
    assert sign_in("pass", headers={"x-forwarded-for": "198.51.100.9"}).status_code == 429


def test_a_client_can_not_use_up_the_addresses_of_its_network() -> None:
    for number in range(3):
        sign_in(address=f"2001:db8:1:2::{number}")
    assert sign_in("pass", address="2001:db8:1:2:ffff::1").status_code == 429
    assert sign_in("pass", address="2001:db8:1:3::1").status_code == 302


def test_an_address_that_is_none_can_be_limited() -> None:
    assert fail(3, address="unknown") == [200, 200, 429]


def test_the_server_answers_the_same_as_in_tests() -> None:
    async def attempt() -> int:
        response = await AsyncClient().post("/login/", {"username": "eva", "password": "wrong"})
        return response.status_code

    assert [async_to_sync(attempt)() for _ in range(3)] == [200, 200, 429]


def test_an_answer_does_not_tell_who_has_an_account() -> None:
    factories.user("closed", is_active=False)
    pages = []
    for name, password in (("eva", "wrong"), ("nobody", "wrong"), ("closed", "pass")):
        response = Client().post("/login/", {"username": name, "password": password})
        page = response.content.decode().replace(name, "NAME")
        pages.append(page.partition("<h1>")[2])
    assert pages[0] == pages[1] == pages[2]


@pytest.mark.parametrize("name", ["eva", "nobody", "closed"])
def test_the_time_of_an_answer_does_not_tell_who_has_an_account(name: str) -> None:
    """What takes the time is hashing the password, and that is done once in any case."""
    factories.user("closed", is_active=False)
    hasher = "django.contrib.auth.hashers.MD5PasswordHasher.encode"
    with mock.patch(hasher, return_value="md5$x$y") as encode:
        sign_in(name=name)
    assert encode.call_count == 1


def test_failures_are_recorded_and_logged_without_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        fail(2, password="hunter2")
    row = DeniedAttempt.objects.get(operation="sign-in")
    assert (row.actor, row.address, row.count) == ("eva", HERE, 2)
    assert "Denied: eva" in caplog.text
    stored = [*AccessAttempt.objects.values(), *DeniedAttempt.objects.values()]
    assert "hunter2" not in caplog.text + repr(stored)


def test_signing_in_rotates_the_session() -> None:
    client = Client()
    session = client.session  # as somebody else may have planted it
    session.save()
    client.post("/login/", {"username": "eva", "password": "pass"})
    assert client.cookies["sessionid"].value != session.session_key
    assert not client.session.exists(session.session_key or "")


class TestOneTimeLinks:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(attempts, "LIMIT", 3)

    def follow(self, path: str, address: str = HERE) -> Any:
        return Client(REMOTE_ADDR=address).get(path)

    def test_guessing_is_limited_at_an_address(self, eva: User) -> None:
        guessed = [self.follow(f"/login/once/MQ/x-{n}/").status_code for n in range(4)]
        assert guessed == [302, 302, 302, 429]
        path = one_time_path(eva)
        refused = self.follow(path)
        assert refused.status_code == 429
        assert "Try again in 5 minutes" in refused.content.decode()
        assert self.follow(path, ELSEWHERE)["Location"] == "/"

    def test_it_does_not_keep_anybody_from_signing_in_by_password(self) -> None:
        for number in range(4):
            self.follow(f"/login/once/MQ/x-{number}/")
        assert sign_in("pass").status_code == 302

    def test_it_ends_by_itself(self, eva: User) -> None:
        for number in range(4):
            self.follow(f"/login/once/MQ/x-{number}/")
        DeniedAttempt.objects.update(created_at=timezone.now() - attempts.WINDOW)
        assert self.follow(one_time_path(eva))["Location"] == "/"


class TestChangingThePassword:
    NEW = "correct horse battery staple"

    def change(self, client: Client, old: str = "pass", new: str = NEW) -> Any:
        form = {"old_password": old, "new_password1": new, "new_password2": new}
        return client.post("/password/", form)

    def test_it_ends_the_other_sessions_and_keeps_this_one(self, eva: User) -> None:
        here, there = Client(), Client()
        for client in (here, there):
            client.post("/login/", {"username": "eva", "password": "pass"})
        assert self.change(here)["Location"] == "/"
        assert "Other browsers are signed out" in here.get("/").content.decode()
        assert there.get("/")["Location"] == "/login/?next=/"
        assert sign_in(self.NEW).status_code == 302

    def test_it_kills_links_that_are_under_way(self, eva: User) -> None:
        path = one_time_path(eva)
        client = Client()
        client.force_login(eva)
        self.change(client)
        assert Client().get(path)["Location"] == "/login/"

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [("wrong", NEW, "incorrect"), ("pass", "short", "too short"), ("pass", "", "required")],
    )
    def test_what_is_wrong_is_said_at_its_field(
        self, operator: Client, old: str, new: str, problem: str
    ) -> None:
        page = self.change(operator, old, new).content.decode()
        assert problem in page
        assert 'aria-invalid="true"' in page

    def test_guessing_the_old_one_is_limited(
        self, operator: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(attempts, "LIMIT", 3)
        found = [self.change(operator, f"guess{n}").status_code for n in range(4)]
        assert found == [200, 200, 200, 429]
        assert self.change(operator, "pass").status_code == 429

    def test_an_account_without_a_password_is_told_how_to_get_one(self, eva: User) -> None:
        eva.set_unusable_password()
        eva.save()
        client = Client()
        client.force_login(eva)
        assert "changepassword eva" in client.get("/password/").content.decode()
        assert self.change(client).status_code == 200

    def test_strangers_are_sent_to_the_sign_in(self, client: Client) -> None:
        assert client.get("/password/")["Location"] == "/login/?next=/password/"


class TestTokens:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(attempts, "LIMIT", 3)

    def ask(self, token: str, address: str = HERE) -> int:
        """The status of the answer to a program that shows this token."""
        request = RequestFactory(REMOTE_ADDR=address).get("/api/jobs")
        try:
            TokenAuth().authenticate(request, token)
        except RunsError as error:
            answer = problem_of(request, error)
            assert ("Retry-After" in answer) == (answer.status_code == 429)
            return answer.status_code
        return 200

    def test_guessing_is_limited_at_an_address(self) -> None:
        assert [self.ask(f"durably_{n}") for n in range(4)] == [401, 401, 401, 429]
        assert self.ask("durably_x", ELSEWHERE) == 401

    def test_a_valid_token_goes_on_working_at_that_address(self) -> None:
        _, secret = tokens.create("cron", permissions=["runs.view_run"])
        for number in range(4):
            self.ask(f"durably_{number}")
        assert self.ask(secret) == 200

    def test_nobody_is_kept_from_signing_in_by_them(self) -> None:
        for number in range(4):
            self.ask(f"durably_{number}")
        assert sign_in("pass").status_code == 302
