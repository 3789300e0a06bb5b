"""The client's trigger, what a program may add to it, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest

from runs import JobDefinition, Step, job
from runs.models import Run
from tests.durably_react.conftest import Caller, answer, error, ids
from tests.pages import factories

pytestmark = pytest.mark.django_db


def test_a_trigger_answers_with_the_run_id_and_what_came_of_it(
    caller: Caller, importer: JobDefinition
) -> None:
    found = caller.trigger("import-table", {"file": "a.csv"})
    run = Run.objects.get()
    assert found == {"runId": str(run.pk), "disposition": "created"}
    assert (run.input, run.triggered_by) == ({"file": "a.csv", "rows": 3}, "ann")


def test_a_trigger_takes_all_options_and_ignores_what_it_does_not_know(
    caller: Caller, importer: JobDefinition
) -> None:
    options = {
        "idempotencyKey": "upload-17",
        "concurrencyKey": "org-5",
        "coalesce": "skip",
        "labels": {"org": "5"},
        "color": "blue",
    }
    first = caller.trigger("import-table", {"file": "a.csv"}, **options)
    run = Run.objects.get()
    assert (run.idempotency_key, run.concurrency_key) == ("upload-17", "org-5")
    assert run.labels == {"org": "5"}
    again = caller.trigger("import-table", {"file": "b.csv"}, **options)
    assert again == {"runId": first["runId"], "disposition": "idempotent"}
    options["idempotencyKey"] = "upload-18"
    other = caller.trigger("import-table", {"file": "c.csv"}, **options)
    assert other == {"runId": first["runId"], "disposition": "coalesced"}
    body = {"jobName": "import-table", "input": {"file": "d"}, "concurrencyKey": "org-5"}
    assert first["runId"] in error(caller.post("trigger", body), 409)


def test_a_job_is_named_by_its_name_or_its_key(caller: Caller, importer: JobDefinition) -> None:
    caller.trigger("import-table", {"file": "a.csv"})
    caller.trigger("importTable", {"file": "b.csv"})
    assert set(Run.objects.values_list("job", flat=True)) == {"import-table"}
    every = ids(caller.get("runs"))
    assert ids(caller.get("runs", jobName="importTable")) == every
    assert ids(caller.get("runs", jobName="import-table")) == every
    assert len(every) == 2
    text = error(caller.post("trigger", {"jobName": "importTables", "input": {}}), 404)
    assert text == "Job not found: importTables"


def test_a_key_that_two_jobs_have_finds_both_and_triggers_neither(caller: Caller) -> None:
    @job(name="send-mail")
    def first(step: Step) -> None: ...

    @job(name="send.mail")
    def second(step: Step) -> None: ...

    assert "send-mail or send.mail" in error(caller.post("trigger", {"jobName": "sendMail"}), 400)
    caller.trigger("send-mail")
    caller.trigger("send.mail")
    assert len(ids(caller.get("runs", jobName="sendMail"))) == 2


def test_a_job_without_a_schema_may_be_triggered_without_an_input(caller: Caller) -> None:
    @job
    def anything(step: Step, payload: Any) -> None: ...

    answer(caller.post("trigger", {"jobName": "anything"}))
    assert Run.objects.get().input is None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "jobName is required"),
        ({"jobName": "", "input": {}}, "jobName is required"),
        ({"jobName": 7, "input": {}}, "jobName is required"),
        ({"jobName": "import-table"}, "Input"),
        ({"jobName": "import-table", "input": {"file": 7}}, "file"),
        ({"coalesce": "skip"}, "coalesce"),
        ({"coalesce": "merge", "concurrencyKey": "a"}, "coalesce"),
        ({"idempotencyKey": ""}, "idempotency"),
        ({"idempotencyKey": ["a"]}, "idempotency"),
        ({"concurrencyKey": ""}, "concurrency"),
        ({"labels": {"a b": "c"}}, "a b"),
        ({"labels": {"a": 5}}, "labels.a"),
        ({"labels": ["a"]}, "labels"),
        ([], "object"),
        ("null", "object"),
        ("", "JSON"),
        ("{", "JSON"),
        ('{"jobName": NaN}', "JSON"),
        ('{"jobName": "\\ud800"}', "JSON"),
        ("[" * 100_000, "JSON"),
        ("1" * 10_000, "JSON|object"),
        (b"\xff\xfe\xfa", "JSON"),
    ],
)
def test_a_trigger_that_makes_no_sense_is_a_400(
    caller: Caller, importer: JobDefinition, body: Any, says: str
) -> None:
    if isinstance(body, dict) and body and "jobName" not in body:
        body = {"jobName": "import-table", "input": {"file": "a"}, **body}
    assert re.search(says, error(caller.post("trigger", body), 400))
    assert not Run.objects.exists()


def test_a_body_that_is_too_large_is_a_413(caller: Caller, importer: JobDefinition) -> None:
    body = {"jobName": "import-table", "input": {"file": "a" * 3_000_000}}
    assert error(caller.post("trigger", body), 413)


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", ""],
)
@pytest.mark.parametrize("path", ["trigger", "retrigger", "cancel"])
def test_a_body_that_is_not_json_is_a_415(caller: Caller, path: str, content_type: str) -> None:
    run = factories.run()
    response = caller.client.post(
        f"/api/durably/{path}?runId={run.pk}",
        '{"jobName": "import-csv"}',
        content_type=content_type,
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert error(response, 415)  # type: ignore[arg-type]
