"""Whoever may not, and whatever is not there: always JSON, never a redirect or a page."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from runs import JobDefinition
from runs.access import tokens
from runs.models import DeniedAttempt, Run
from tests.durably_react.conftest import Caller, answer, error, ids
from tests.pages import factories

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["run", "runs", "steps", "subscribe", "runs/subscribe", "trigger"])
def test_without_credentials_it_is_a_401_and_no_redirect(client: Client, path: str) -> None:
    send = client.post if path == "trigger" else client.get
    response = send(f"/api/durably/{path}")
    assert error(response, 401)  # type: ignore[arg-type]
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_permissions_are_asked_for(importer: JobDefinition, db: None) -> None:
    viewer = Caller("view_run")
    run = factories.run("pending")
    assert caller_reads(viewer, run)
    assert error(viewer.post("trigger", {"jobName": "import-table", "input": {}}), 403)
    assert error(viewer.post("cancel", runId=run.pk), 403)
    assert error(viewer.delete("run", runId=factories.run().pk), 403)
    stranger = Caller(name="eve")
    for path in ("run", "steps", "subscribe"):
        assert error(stranger.get(path, runId=run.pk), 403)
    assert error(stranger.get("runs"), 403)
    assert error(stranger.get("runs/subscribe"), 403)
    assert DeniedAttempt.objects.filter(actor="eve").exists()


def caller_reads(caller: Caller, run: Run) -> bool:
    return bool(caller.run(run)["id"] == ids(caller.get("runs"))[0])


def test_a_token_lets_in_without_an_origin(importer: JobDefinition, client: Client) -> None:
    _, secret = tokens.create("ci", permissions=["runs.view_run", "runs.trigger_run"])
    headers = {"Authorization": f"Bearer {secret}"}
    response = client.post(
        "/api/durably/trigger",
        {"jobName": "import-table", "input": {"file": "a"}},
        content_type="application/json",
        headers=headers,
    )
    answer(response)  # type: ignore[arg-type]
    assert Run.objects.get().triggered_by == "token:ci"
    assert len(ids(client.get("/api/durably/runs", headers=headers))) == 1  # type: ignore[arg-type]


def test_a_bad_token_is_refused_whoever_is_signed_in(caller: Caller) -> None:
    response = caller.client.get(
        "/api/durably/runs", headers={"Authorization": "Bearer durably_nonsense"}
    )
    assert error(response, 401)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("get", "trigger", "POST"),
        ("put", "trigger", "POST"),
        ("get", "cancel", "POST"),
        ("get", "retrigger", "POST"),
        ("post", "run", "GET, DELETE"),
        ("post", "runs", "GET"),
        ("delete", "steps", "GET"),
        ("post", "subscribe", "GET"),
        ("patch", "runs/subscribe", "GET"),
        ("options", "runs", "GET"),
    ],
)
def test_a_wrong_method_is_a_405(caller: Caller, method: str, path: str, allowed: str) -> None:
    response = getattr(caller.client, method)(f"/api/durably/{path}")
    assert error(response, 405)
    assert response["Allow"] == allowed


@pytest.mark.parametrize("path", ["", "run/", "runs/", "trigger/", "nothing", "runs/subscribe/"])
def test_other_addresses_are_a_404_and_no_redirect(caller: Caller, path: str) -> None:
    assert error(caller.get(path), 404)
    assert error(caller.post(path, {}), 404)


def test_a_database_that_is_away_is_a_503(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*arguments: Any, **options: Any) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr("runs.api.durably.listing.walk", away)
    assert "database" in error(caller.get("runs"), 503)


def test_a_mistake_of_the_server_is_json_too_and_tells_nothing(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("runs.api.durably.listing.walk", broken)
    assert "a secret" not in error(caller.get("runs"), 500)
    assert "a secret" in caplog.text


def test_answers_are_not_kept_by_caches(caller: Caller) -> None:
    assert caller.get("runs")["Cache-Control"] == "no-store"


def test_another_host_is_refused_as_json(caller: Caller) -> None:
    response = caller.client.get("/api/durably/runs", headers={"Host": "evil.com"})
    assert "evil.com" in error(response, 400)  # type: ignore[arg-type]
