"""A client that a stranger would generate from the OpenAPI document, at work."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from runs.registry import registry
from tests import processes
from tests.access import people
from tests.processes import until
from tests.support.web import Web

PACKAGE = "durably_client"


@pytest.fixture
def client(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The generated client, with a token, of a site that is up."""
    web = Web(tmp_path / "web.log")
    worker = processes.start("worker", log=tmp_path / "worker.log")
    try:
        url = f"http://127.0.0.1:{web.port}"
        document = tmp_path / "openapi.json"
        document.write_bytes(httpx.get(f"{url}/api/openapi.json").content)
        made = _generate(document, tmp_path / PACKAGE)
        assert "WARNING" not in made
        monkeypatch.syspath_prepend(str(tmp_path))
        secret = people.token("generated")[1]
        yield _module("client").AuthenticatedClient(base_url=url, token=secret)
    finally:
        processes.end(worker)
        processes.end(web.process)
        for name in [each for each in sys.modules if each.split(".")[0] == PACKAGE]:
            del sys.modules[name]


def _generate(document: Path, package: Path) -> str:
    """What the generator says."""
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    command += ["--path", str(document), "--output-path", str(package)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=package.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _module(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


def _call(tag: str, operation: str) -> Callable[..., Any]:
    """The generated function; what it returns is parsed."""
    found: Callable[..., Any] = _module(f"api.{tag}.{operation}").sync
    return found


@pytest.mark.slow
def test_a_generated_client_triggers_streams_and_retries_a_run(client: Any) -> None:
    models = _module("models")
    assert "process-order" in registry.names()
    body = models.TriggerBody.from_dict(
        {"input": {"order_id": "order_124"}, "labels": {"by": "client"}}
    )
    run = _call("jobs", "trigger_job")("process-order", client=client, body=body)
    assert isinstance(run, models.TriggeredRun)
    assert (run.disposition, run.status, run.labels["by"]) == ("created", "pending", "client")

    kinds = _follow(client, run.id)
    assert kinds[-1] == ("run", "failed")
    assert ("step", "fetch-order") in kinds

    def read() -> Any:
        return _call("runs", "get_run")(run.id, client=client)

    failed = read()
    assert isinstance(failed, models.Run)
    assert failed.error.type_ == "PaymentDeclinedError"
    listed = _call("runs", "list_runs")(client=client, status=[failed.status], label=["by:client"])
    assert [each.id for each in listed.items] == [run.id]

    refused = _call("runs", "cancel_run")(run.id, client=client)
    assert isinstance(refused, models.Problem)
    assert (refused.status, refused.code) == (409, "conflict")

    reason = models.ReasonBody(reason="the bank is back")
    again = _call("runs", "retry_run")(run.id, client=client, body=reason)
    assert (again.attempt, again.error) == (2, None)
    until(lambda: read().status == "completed", "the end of the retried run")

    steps = _call("runs", "list_steps")(run.id, client=client)
    assert [step.index for step in steps.items] == list(range(len(steps.items)))
    lines = _call("runs", "list_logs")(run.id, client=client)
    assert any("order" in line.message for line in lines.items)
    history = _call("runs", "list_history")(run.id, client=client)
    assert "the bank is back" in [event.reason for event in history.items]
    jobs = _call("jobs", "list_jobs")(client=client)
    assert "process-order" in [job.name for job in jobs.items]

    body = models.BatchBody(items=[models.TriggerBody(input_={"order_id": "order_1"})])
    batch = _call("jobs", "trigger_job_batch")("process-order", client=client, body=body)
    assert len(batch.items) == 1
    gone = _module("api.runs.delete_run").sync_detailed(run.id, client=client)
    assert gone.status_code == 204
    assert read().code == "not-found"
    assert _call("health", "readyz")(client=client).status == "ok"


def _follow(client: Any, id: UUID) -> list[tuple[str, str]]:
    """What the run's stream tells to its end: kind of message, and status or name."""
    request = _module("api.events.stream_run")._get_kwargs(id, after="0")
    found, kind = [], ""
    with client.get_httpx_client().stream(**request, timeout=30) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data = json.loads(value)
                assert data["run_id"] == str(id)
                found.append((kind, data.get("status" if kind == "run" else "name", "")))
    return found
