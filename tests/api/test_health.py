"""Liveness and readiness."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from tests.api.callers import PROBLEM


def ask(path: str) -> Any:
    return Client(headers={"host": "localhost"}).get(path)


def test_a_process_that_answers_lives_whatever_its_database_does() -> None:
    answer = ask("/healthz")  # the test has no access to the database
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_it_is_ready_when_the_database_is(django_assert_max_num_queries: Any) -> None:
    ask("/readyz")
    with django_assert_max_num_queries(3):
        answer = ask("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_it_is_not_ready_before_it_is_migrated() -> None:
    applied = MigrationRecorder.Migration.objects.filter(app="runs")
    applied.filter(pk=applied.latest("id").pk).delete()
    answer = ask("/readyz")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, PROBLEM)
    assert answer.json()["code"] == "unavailable"
    assert "runs.0" in answer.json()["detail"]


@pytest.mark.django_db
def test_it_is_not_ready_without_its_database() -> None:
    away = OperationalError("connection to server at db.internal failed")
    with mock.patch("django.db.backends.base.base.BaseDatabaseWrapper.cursor", side_effect=away):
        answer = ask("/readyz")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, PROBLEM)
    assert b"db.internal" not in answer.content


@pytest.mark.django_db
def test_it_is_not_ready_while_its_database_can_only_be_read() -> None:
    with mock.patch("runs.engine.read_only.is_read_only", return_value=True):
        answer = ask("/readyz")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, PROBLEM)
    assert answer.json()["code"] == "unavailable"
    assert answer.json()["detail"] == "The database is read-only"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_they_only_answer_questions(path: str) -> None:
    client = Client(headers={"host": "localhost"}, enforce_csrf_checks=True)
    answer = client.post(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (405, PROBLEM)
    assert client.options(path).headers["Allow"] == "GET, HEAD, OPTIONS"
