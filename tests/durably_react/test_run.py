"""One run and its steps, field by field, and what is done to it."""

from __future__ import annotations

import re
import uuid
from datetime import datetime

import pytest

from runs import JobDefinition, cancel
from runs.models import Run
from runs.testing import drain
from tests.durably_react.conftest import Caller, answer, error
from tests.pages import factories

pytestmark = pytest.mark.django_db

RUN_FIELDS = [
    "id", "jobName", "input", "status", "currentStepIndex", "completedStepCount", "progress",
    "output", "error", "labels", "startedAt", "completedAt", "createdAt", "isTerminal", "isActive",
]  # fmt: skip
STEP_FIELDS = [
    "id", "runId", "name", "index", "status", "output", "error", "startedAt", "completedAt",
]  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_pending_run_field_by_field(caller: Caller, importer: JobDefinition) -> None:
    id = caller.trigger("import-table", {"file": "a.csv"}, labels={"org": "5"})["runId"]
    run = caller.run(id)
    assert list(run) == RUN_FIELDS
    created = run.pop("createdAt")
    assert TIME.fullmatch(created)
    stored = Run.objects.get().created_at
    assert abs((datetime.fromisoformat(created) - stored).total_seconds()) < 0.001
    assert run == {
        "id": id,
        "jobName": "import-table",
        "input": {"file": "a.csv", "rows": 3},
        "status": "pending",
        "currentStepIndex": 0,
        "completedStepCount": 0,
        "progress": None,
        "output": None,
        "error": None,
        "labels": {"org": "5"},
        "startedAt": None,
        "completedAt": None,
        "isTerminal": False,
        "isActive": True,
    }


def test_a_completed_run_and_its_steps(caller: Caller, importer: JobDefinition) -> None:
    id = caller.trigger("import-table", {"file": "a.csv", "rows": 2})["runId"]
    drain()
    run = caller.run(id)
    assert (run["status"], run["isTerminal"], run["isActive"]) == ("completed", True, False)
    assert (run["currentStepIndex"], run["completedStepCount"]) == (2, 2)
    assert (run["output"], run["error"]) == ({"rows": 2}, None)
    assert run["progress"] == {"current": 1, "total": 2, "message": "rows"}
    assert TIME.fullmatch(run["startedAt"])
    assert TIME.fullmatch(run["completedAt"])
    steps = answer(caller.get("steps", runId=id))
    assert [list(step) for step in steps] == [STEP_FIELDS, STEP_FIELDS]
    assert [(step["name"], step["index"], step["status"]) for step in steps] == [
        ("open", 0, "completed"),
        ("read", 1, "completed"),
    ]
    assert [step["output"] for step in steps] == ["a.csv", [0, 1]]
    assert {step["runId"] for step in steps} == {id}
    assert all(isinstance(step["id"], str) for step in steps)
    assert all(TIME.fullmatch(step["completedAt"]) for step in steps)
    assert all(step["error"] is None for step in steps)


def test_a_failed_run_and_its_failed_step(caller: Caller, importer: JobDefinition) -> None:
    id = caller.trigger("import-table", {"file": "a.csv", "rows": 0})["runId"]
    drain()
    run = caller.run(id)
    assert (run["status"], run["output"]) == ("failed", None)
    assert run["error"] == "LookupError: the file is empty (in step read)"
    assert (run["currentStepIndex"], run["completedStepCount"]) == (1, 1)
    assert TIME.fullmatch(run["completedAt"])
    failed = answer(caller.get("steps", runId=id))[1]
    assert (failed["name"], failed["index"], failed["status"]) == ("read", 1, "failed")
    assert failed["error"] == "LookupError: the file is empty"
    assert failed["output"] is None


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("pending", "pending"),
        ("running", "leased"),
        ("waiting", "leased"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
    ],
)
def test_each_status_has_its_word_and_is_found_by_it(
    caller: Caller, status: str, word: str
) -> None:
    for each in ("pending", "running", "waiting", "completed", "failed", "cancelled"):
        factories.run(each)
    run = Run.objects.get(status=status)
    shown = caller.run(run)
    assert shown["status"] == word
    assert shown["isTerminal"] == (word in ("completed", "failed", "cancelled"))
    found = answer(caller.get("runs", status=word))
    assert str(run.pk) in [each["id"] for each in found]
    assert {each["status"] for each in found} == {word}


def test_progress_without_total_and_message_has_neither(caller: Caller) -> None:
    progress = {"current": 2, "total": None, "message": None}
    assert caller.run(factories.run("running", progress=progress))["progress"] == {"current": 2}


def test_nothing_is_told_of_leases_and_keys(caller: Caller) -> None:
    run = factories.run("running", concurrency_key="a-key", idempotency_key="another-key")
    for text in (caller.get("run", runId=run.pk), caller.get("runs")):
        for hidden in ("a-key", "another-key", str(run.lease_owner), "lease_"):
            assert hidden not in text.content.decode()


@pytest.mark.parametrize("path", ["run", "steps", "subscribe"])
def test_reading_without_a_run_id_or_of_an_unknown_run(caller: Caller, path: str) -> None:
    assert error(caller.get(path), 400) == "runId query parameter is required"
    assert error(caller.get(path, runId=""), 400) == "runId query parameter is required"
    for id in (str(uuid.uuid4()), "01HX", "a/b&c=d", "\x00", "é" * 1000):
        assert error(caller.get(path, runId=id), 404) == "Run not found"


def test_retrigger_cancel_and_delete_answer_with_json(
    caller: Caller, importer: JobDefinition
) -> None:
    id = caller.trigger("import-table", {"file": "a.csv"})["runId"]
    assert answer(caller.post("cancel", runId=id)) == {"success": True}
    assert caller.run(id)["status"] == "cancelled"
    again = answer(caller.post("retrigger", runId=id))
    copy = Run.objects.get(source_id=id)
    assert again == {"success": True, "runId": str(copy.pk)}
    assert answer(caller.delete("run", runId=id)) == {"success": True}
    assert error(caller.get("run", runId=id), 404) == "Run not found"


def test_what_the_state_does_not_allow_is_a_409(caller: Caller, importer: JobDefinition) -> None:
    active, over = importer.trigger({"file": "a"}), importer.trigger({"file": "b"})
    cancel(over)
    assert "pending" in error(caller.post("retrigger", runId=active.pk), 409)
    assert "pending" in error(caller.delete("run", runId=active.pk), 409)
    assert "cancelled" in error(caller.post("cancel", runId=over.pk), 409)


def test_retrigger_of_a_job_that_is_gone_or_has_changed(
    caller: Caller, importer: JobDefinition
) -> None:
    gone, unfit = factories.run(job="gone"), factories.run(job="import-table", input={"file": 7})
    assert "gone" in error(caller.post("retrigger", runId=gone.pk), 404)
    assert "file" in error(caller.post("retrigger", runId=unfit.pk), 400)


@pytest.mark.parametrize(
    ("method", "path"), [("post", "retrigger"), ("post", "cancel"), ("delete", "run")]
)
def test_operations_without_a_run_id_or_on_an_unknown_run(
    caller: Caller, method: str, path: str
) -> None:
    send = getattr(caller, method)
    assert error(send(path), 400) == "runId query parameter is required"
    assert error(send(path, runId=uuid.uuid4()), 404) == "Run not found"
