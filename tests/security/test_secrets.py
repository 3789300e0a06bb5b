"""Secrets are where they belong and nowhere else: not stored, logged, shown or described.

Each test does what makes a program talk, errors most of all, and then reads everything that was
stored, logged and answered.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

import runs
from runs import Step, job
from runs.access import VIEW, denied, tokens
from runs.dashboard.signin import one_time_path
from runs.engine import bulk
from runs.models import ApiToken, BulkAction, BulkItem, DeniedAttempt, JobEvent, Run, RunEvent
from runs.registry import JobDefinition, registry
from runs.testing import drain
from tests import processes
from tests.access.people import token
from tests.pages import factories
from tests.processes import until
from tests.security.surfaces import ADMIN_LISTS, PAGES, Things, make_things

PASSWORD, WRONG = "the-right-passw0rd", "the-wrong-passw0rd"
SECRET = "s3cr3t-and-speci%23l"

ROOT = Path(settings.BASE_DIR)

#: Of a run with a step "one".
DOWNLOADS = ("log/?as=txt", "log/?as=jsonl", "input.json", "step.json?name=one")


def stored() -> str:
    """All rows of all tables, as text."""
    rows: list[Any] = []
    for model in apps.get_models():
        if model._meta.label != "sessions.Session":  # whose keys are how a session is found
            rows += model._default_manager.values_list()
    return repr(rows)


@pytest.fixture
def things(db: None, parcel_job: JobDefinition) -> Iterator[Things]:
    yield make_things()
    denied.memory.forget()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged, at any level."""
    caplog.set_level(logging.DEBUG)
    for name in ("axes", "huey", "django.request", "django.security", "runs"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def everywhere(said: pytest.LogCaptureFixture, *answers: Any) -> str:
    """All that was stored, logged and answered."""
    logged = [said.handler.format(record) for record in said.records]
    shown = [text_of(answer) + str(answer.headers) for answer in answers]
    return "\n".join([stored(), *logged, *shown])


def text_of(answer: Any) -> str:
    return (b"".join(answer) if answer.streaming else answer.content).decode()


def administrator() -> tuple[Client, set[str]]:
    """Somebody who may do everything, and what proves who they are, and the site itself."""
    user = factories.user("root", is_staff=True, is_superuser=True)
    person = Client()
    person.force_login(user)
    session, link = person.cookies["sessionid"].value, one_time_path(user).split("/")[-2]
    password = settings.DATABASES["default"].get("PASSWORD")
    held = {settings.SECRET_KEY, user.password, session, link}
    return person, held | {password} if password else held


def test_passwords(things: Things, said: pytest.LogCaptureFixture) -> None:
    user = factories.user("ann", "view_run")
    user.set_password(PASSWORD)
    user.save()
    signed_in = Client()
    form = {"username": "ann", "password": PASSWORD}
    new = {"new_password1": WRONG + "1", "new_password2": WRONG + "2"}
    answers = [
        Client().post("/login/", {"username": "ann", "password": WRONG}),
        Client().post("/login/", {"username": "nobody", "password": WRONG}),
        Client().post("/login/", {"username": "", "password": WRONG}),
        Client().post("/admin/login/", {"username": "ann", "password": WRONG}),
        Client(enforce_csrf_checks=True).post("/login/", {**form, "password": WRONG}),
        *(Client().post("/login/", {"username": "eva", "password": WRONG}) for _ in range(7)),
        signed_in.post("/login/", form),
        signed_in.post("/password/", {"old_password": WRONG, **new}),
        signed_in.post("/password/", {"old_password": PASSWORD, **new}),
    ]
    assert answers[-3].status_code == 302
    text = everywhere(said, *answers)
    assert "sign-in" in text
    for secret in (PASSWORD, WRONG):
        assert secret not in text


def test_secrets_of_tokens(things: Things, said: pytest.LogCaptureFixture) -> None:
    row, secret = token("robot", VIEW)
    revoked, dead = token("dead", VIEW)
    tokens.revoke(revoked)
    made_up = "durably_" + "x" * 43
    answers = []
    for each in (secret, dead, made_up):
        client = Client(headers={"Authorization": f"Bearer {each}"})
        for path in ("/api/runs", "/api/nowhere", "/api/durably/runs", "/api/durably/x", "/runs/"):
            answers += [client.get(path), client.post(path), client.get(f"{path}?limit=x")]
    signed_in = Client()
    signed_in.force_login(factories.user("ann", "view_run"))
    page = signed_in.post("/tokens/", {"name": "new", "permission": VIEW, "lifetime": "30"})
    new = page.context["secret"]
    assert new in page.content.decode()
    answers += [signed_in.get("/tokens/"), signed_in.get("/runs/")]
    text = everywhere(said, *answers)
    for each in (secret, dead, made_up, new):
        assert each not in text
        assert each.removeprefix(tokens.PREFIX) not in text
    shown = "".join(answer.content.decode() for answer in answers)
    assert row.digest not in shown


@pytest.mark.parametrize("path", ["/runs/", "/api/runs", "/api/durably/runs", "/admin/runs/run/"])
def test_an_error_of_the_server_tells_nothing(
    things: Things, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Neither to who asked, nor, of what the request came with, to the log."""

    def fail(*_: Any, **__: Any) -> None:
        hidden = WRONG  # noqa: F841 (what a page with DEBUG would show)
        raise RuntimeError("what went wrong")

    monkeypatch.setattr("runs.access.guard.scoped", fail)
    monkeypatch.setattr("runs.access.scoped", fail)
    monkeypatch.setattr("runs.access.sees_all_runs", fail)
    for client, secret in _callers(path):
        client.raise_request_exception = False
        answer = client.get(path, {"q": "x"})
        if answer.status_code == 500:
            shown = answer.content.decode()
            for each in ("what went wrong", "RuntimeError", "Traceback", "runs/", WRONG):
                assert each not in shown.replace("/static/runs/", "")
        assert secret not in everywhere(said, answer)
        assert WRONG not in everywhere(said, answer)
        assert settings.SECRET_KEY not in everywhere(said, answer)
    assert "what went wrong" in said.text, "nothing failed"


def _callers(path: str) -> Iterator[tuple[Client, str]]:
    """Who asks, and the secret that they ask with."""
    person = Client()
    person.force_login(factories.user("root", is_staff=True, is_superuser=True))
    yield person, person.cookies["sessionid"].value
    if path.startswith("/api"):
        _, secret = token("robot", VIEW)
        yield Client(headers={"Authorization": f"Bearer {secret}"}), secret


def test_no_page_shows_the_site_s_own(things: Things) -> None:
    """Pages, downloads, the admin, and what the API says about itself."""
    row, secret = token("robot")
    person, held = administrator()
    held |= {secret, row.digest}
    paths = [things.path(route) for route in (*PAGES, *ADMIN_LISTS) if route != "live/"]
    paths += [f"/admin/runs/apitoken/{row.pk}/change/", f"/admin/runs/run/{things.run.pk}/change/"]
    paths += ["/api/openapi.json", "/api/docs", "/healthz", "/readyz", "/nowhere/", "/api/jobs"]
    for path in paths:
        text = text_of(person.get(path))
        assert {each for each in held if each in text} == set(), path
    for path in DOWNLOADS:
        answer = person.get(f"/runs/{things.run.pk}/{path}")
        assert "attachment" in answer.headers["Content-Disposition"], path
        text = text_of(answer)
        assert {each for each in held if each in text} == set(), path


def _operate(program: Client, person: Client, run: Run) -> Iterator[Any]:
    """Do everything that is recorded; all answers."""

    def post(path: str, **body: Any) -> Any:
        return program.post(f"/api/{path}", body, content_type="application/json")

    options = {"input": {"name": "x"}, "idempotency_key": "once", "labels": {"a": "b"}}
    made = [post("jobs/parcel/trigger", **options), post("jobs/parcel/trigger", **options)]
    id = made[0].json()["id"]
    yield from made
    yield post(f"runs/{id}/cancel", reason="too early")
    yield post(f"runs/{id}/retry", reason="now")
    yield post(f"runs/{run.pk}/retry")
    assert len(drain()) == 2
    yield (copy := post(f"runs/{id}/retrigger"))
    yield post(f"runs/{copy.json()['id']}/cancel")
    yield program.delete(f"/api/runs/{copy.json()['id']}")
    yield post("jobs/parcel/pause", reason="a look")
    yield post("jobs/parcel/resume")
    selected = {"run": [id], "bound": id, "action": str(uuid.uuid4())}
    yield person.post("/bulk/", {"do": "retrigger", "confirm": "1", **selected})
    while bulk.advance(uuid.uuid4(), 60):
        pass
    yield from (person.get(f"/runs/{run.pk}/{path}") for path in DOWNLOADS)
    yield from (program.get(f"/api/runs/{id}{path}") for path in ("", "/history", "/logs"))


def test_records_of_what_was_done_hold_nothing_that_proves_who_did_it(
    things: Things, said: pytest.LogCaptureFixture
) -> None:
    person, held = administrator()
    row, secret = token("robot")
    program = Client(headers={"Authorization": f"Bearer {secret}"})
    answers = list(_operate(program, person, things.run))
    assert {answer.status_code for answer in answers} <= {200, 201, 204, 302}
    kinds = {"triggered", "cancelled", "retried", "started", "completed"}
    assert kinds <= set(RunEvent.objects.values_list("kind", flat=True))
    assert RunEvent.objects.filter(actor__contains="robot").count() >= 5
    assert JobEvent.objects.filter(actor__contains="robot").count() == 2
    assert BulkItem.objects.get(done=True).action.actor == "root"
    text = everywhere(said, *answers)
    for each in (secret, secret.removeprefix(tokens.PREFIX), *held, row.digest):
        for model in (RunEvent, JobEvent, BulkAction, BulkItem, DeniedAttempt):
            assert each not in repr(list(model._default_manager.values_list())), model
        belongs = each in (row.digest, *User.objects.values_list("password", flat=True))
        assert text.count(each) == int(belongs)  # in its column, and nowhere else


@pytest.mark.django_db(transaction=True)
def test_what_a_failing_job_holds_in_its_hands(said: pytest.LogCaptureFixture) -> None:
    """Of a traceback the places are kept, not the values: what was not said is not stored."""

    @job(name="holder")
    def holder(step: Step, payload: object) -> None:
        password = os.environ["HELD_SECRET"]
        step.run("use", lambda: [][len(password)])

    os.environ["HELD_SECRET"] = SECRET
    try:
        run = runs.trigger("holder", None)
        drain()
        assert Run.objects.get(pk=run.pk).status == "failed"
        assert SECRET not in everywhere(said)
    finally:
        del os.environ["HELD_SECRET"]
        registry.remove("holder")


def _command(*arguments: str, var: Path, **variables: str) -> tuple[int, str]:
    """The exit code of a command in an installation of its own, and all that it printed."""
    known = ("DATABASE_URL", "HUEY_URL", "SECRET_KEY", "DEBUG", "DURABLY_TEST_DIR")
    clean = {name: value for name, value in os.environ.items() if name not in known}
    env = {**clean, "DJANGO_SETTINGS_MODULE": "durably_site.settings", "VAR_DIR": str(var)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**env, "SECRET_KEY": f"key-{SECRET}", **variables},
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout


#: Places that nothing listens at, with a password; and what people mistype.
_AWAY = f"postgres://ann:{SECRET}@127.0.0.1:1/x"
_REDIS = f"redis://:{SECRET}@127.0.0.1:1/0"
_MISTYPED = [
    f"//:{SECRET}@127.0.0.1/0",
    f":{SECRET}@127.0.0.1:6379/0",
    f"{SECRET}@127.0.0.1",
    f"redis//:{SECRET}@127.0.0.1/0",
    "redis://:s3cr3t/x@127.0.0.1:6379/0",
    "redis://:s3cr3t#x@127.0.0.1:6379/0",
    "redis://:s3cr3t[x@127.0.0.1:6379/0",
    "redis://:x@127.0.0.1:s3cr3t/0",
]


@pytest.mark.parametrize(
    "command",
    [("check", "--deploy"), ("runs", "list"), ("trigger", "slow-report", "{}"), ("migrate",),
     ("tokens", "list")],
    ids=" ".join,
)  # fmt: skip
def test_a_command_that_can_t_reach_its_servers(tmp_path: Path, command: tuple[str, ...]) -> None:
    _, output = _command(*command, var=tmp_path, DATABASE_URL=_AWAY, HUEY_URL=_REDIS)
    assert "127.0.0.1" in output or command[0] == "check", output
    assert "s3cr3t" not in output


def test_a_worker_that_waits_for_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    places = {"DATABASE_URL": _AWAY, "HUEY_URL": _REDIS, "VAR_DIR": str(tmp_path)}
    worker = processes.start("worker", log=log, **places)
    try:
        until(lambda: "not ready" in log.read_text(), "the worker says that it waits")
    finally:
        processes.end(worker)
    assert "127.0.0.1" in log.read_text()
    assert "s3cr3t" not in log.read_text()


@pytest.mark.parametrize("url", _MISTYPED)
def test_a_place_that_was_mistyped(settings: Any, url: str) -> None:
    settings.HUEY_URL = url
    from django.core.checks import run_checks

    found = run_checks()
    assert [each.id for each in found] == ["runs.E003"]
    assert "s3cr3t" not in str(found)


@pytest.mark.parametrize(
    "url",
    [f"ann:{SECRET}@127.0.0.1/x", f"//ann:{SECRET}@127.0.0.1/x", "postgres://ann:s3cr3t/x@h/x",
     "postgres://ann:x@h:s3cr3t/x"],
)  # fmt: skip
def test_a_database_that_was_mistyped(tmp_path: Path, url: str) -> None:
    code, output = _command("check", var=tmp_path, DATABASE_URL=url)
    assert code == 1
    assert "Traceback" not in output
    assert "s3cr3t" not in output


def test_the_digest_is_all_that_is_kept_of_a_token(things: Things) -> None:
    row, secret = token("robot")
    assert secret not in stored()
    assert ApiToken.objects.get(digest=tokens.digest(secret)) == row
