"""Callers of the original engine's protocol, as the client calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import AsyncClient, Client
from pydantic import BaseModel

from runs import JobDefinition, Step, job
from runs.access import AccessPolicy, Actor
from runs.live import feeds
from runs.models import Run, RunQuerySet
from runs.registry import registry
from tests.durably_react.listening import Listener
from tests.pages import factories
from tests.processes import until
from tests.support.engine import HandWorker

#: What a page of this site sends, as Chromium does.
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"}

EVERYTHING = ("view_run", "trigger_run", "operate_run", "delete_run")


class Caller:
    """The client's requests, in the session of a user."""

    def __init__(self, *permissions: str, name: str = "ann") -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.user = factories.user(name, *permissions)
        self.client.force_login(self.user)

    def get(self, path: str, **query: Any) -> HttpResponse:
        return self.client.get(f"/api/durably/{path}", query)  # type: ignore[return-value]

    def post(self, path: str, body: Any = None, **query: Any) -> HttpResponse:
        """A body that isn't text or bytes is sent as JSON; None is none."""
        options: dict[str, Any] = {"headers": SAME_ORIGIN, "query_params": query}
        if body is not None:
            data = body if isinstance(body, str | bytes) else json.dumps(body)
            options |= {"data": data, "content_type": "application/json"}
        else:
            options |= {"data": "", "content_type": ""}
        return self.client.post(f"/api/durably/{path}", **options)  # type: ignore[return-value]

    def delete(self, path: str, **query: Any) -> HttpResponse:
        return self.client.delete(  # type: ignore[return-value]
            f"/api/durably/{path}", headers=SAME_ORIGIN, query_params=query
        )

    def trigger(self, job: str, input: Any = None, **more: Any) -> Any:
        """What the trigger of a run answers."""
        response = self.post("trigger", {"jobName": job, "input": input, **more})
        assert response.status_code == 200, response.content
        return json.loads(response.content)

    def run(self, run: Run | str) -> Any:
        """The run's JSON."""
        id = run if isinstance(run, str) else str(run.pk)
        return answer(self.get("run", runId=id))


def answer(response: HttpResponse, status: int = 200) -> Any:
    """The JSON of an answer with this status."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    return json.loads(response.content)


def error(response: HttpResponse, status: int) -> str:
    """The text of an answer that says what went wrong, and nothing else."""
    found = answer(response, status)
    assert list(found) == ["error"]
    assert isinstance(found["error"], str)
    assert found["error"]
    return str(found["error"])


def ids(response: HttpResponse) -> list[str]:
    """The ids of the runs in an answer."""
    return [run["id"] for run in answer(response)]


@pytest.fixture(autouse=True)
def forget_jobs_of_the_test() -> Iterator[None]:
    """A job that a test defines is gone after it."""
    known = set(registry.names())
    yield
    for name in set(registry.names()) - known:
        registry.remove(name)


@pytest.fixture
def caller(db: None) -> Caller:
    """Somebody who may do everything with runs."""
    return Caller(*EVERYTHING)


class File(BaseModel):
    """What is imported."""

    file: str
    rows: int = 3


@pytest.fixture
def importer() -> JobDefinition:
    """Imports in two steps; fails if there is nothing to import."""

    @job(name="import-table")
    def import_table(step: Step, payload: File) -> dict[str, int]:
        step.run("open", lambda: payload.file)
        step.progress(1, payload.rows, "rows")
        if payload.rows == 0:
            step.run("read", _nothing)
        step.run("read", lambda: list(range(payload.rows)))
        return {"rows": payload.rows}

    return import_table


def _nothing() -> None:
    raise LookupError("the file is empty")


@pytest.fixture
def worker() -> HandWorker:
    return HandWorker("worker")


class Hiding(AccessPolicy):
    """Hides runs with the label ``hidden`` from everybody."""

    def scope_runs(self, actor: Actor, runs: RunQuerySet) -> RunQuerySet:
        return runs.exclude(label_rows__key="hidden")


def async_client(user: User) -> AsyncClient:
    """A browser in which somebody is signed in."""
    client = AsyncClient()
    client.force_login(user)
    return client


@pytest.fixture
def open_stream(transactional_db: None) -> Iterator[Callable[..., Listener]]:
    """Opens streams by path, for somebody who may see runs; all are closed in the end."""
    client = async_client(factories.user("ann", "view_run"))
    opened: list[Listener] = []

    def open(path: str, last_id: str = "") -> Listener:
        opened.append(Listener(client, path, last_id))
        return opened[-1]

    yield open
    for each in opened:
        each.close()
    until(lambda: not feeds.is_polling, "nobody is told any more")
