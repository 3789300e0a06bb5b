from __future__ import annotations

import json
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from runs.models import Job, Run
from runs.registry import JobDefinition
from tests.pages import factories

pytestmark = pytest.mark.django_db

PATH = "/jobs/parcel/"
FILLED = {
    "input.name": "box",
    "input.count": "3",
    "input.size": '"large"',
    "rows.lines": "1",
    "input.lines[0]": "1",
}


@pytest.fixture
def data_dir(settings: Settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def test_the_list_shows_jobs_of_the_code_and_jobs_that_were(
    operator: Client, parcel_job: JobDefinition
) -> None:
    Job.objects.create(
        name="gone", title="Gone", source="x.py:1", code_version="1", synced_at=timezone.now()
    )
    factories.failed_run(job="gone")
    page = operator.get("/jobs/").content.decode()
    assert "Send a parcel." in page
    assert page.count("No longer in the code") == 1
    assert page.index("Send a parcel.") < page.index("No longer in the code") < page.index("Gone")
    assert "Failed" in page


def test_a_job_that_is_gone_can_be_seen_but_not_triggered(operator: Client) -> None:
    factories.run(job="gone")
    page = operator.get("/jobs/gone/").content.decode()
    assert "no longer in the code" in page
    assert 'id="trigger"' not in page
    assert operator.post("/jobs/gone/", {"input": "{}"}).status_code == 404
    assert operator.get("/jobs/never/").status_code == 404


def test_the_page_tells_about_the_job_and_asks_for_its_input(
    operator: Client, parcel_job: JobDefinition
) -> None:
    factories.run(job="parcel")
    page = operator.get(PATH).content.decode()
    assert "Send a parcel." in page
    assert "By mail." in page
    assert "tests/pages/conftest.py:" in page
    assert 'name="upload.letter"' in page
    assert '<option value="&quot;small&quot;" selected>small</option>' in page
    assert 'name="input.count" value="2"' in page
    assert "Completed" in page


def test_who_may_only_look_gets_no_form(viewer: Client, parcel_job: JobDefinition) -> None:
    assert 'id="trigger"' not in viewer.get(PATH).content.decode()
    assert viewer.post(PATH, FILLED).status_code == 403
    assert not Run.objects.exists()


def test_the_form_triggers_a_run(operator: Client, parcel_job: JobDefinition) -> None:
    response = operator.post(PATH, FILLED, follow=True)
    run = Run.objects.get()
    assert response.redirect_chain == [(f"/runs/{run.id}/", 302)]
    assert "is triggered" in response.content.decode()
    assert run.triggered_by == "ann"
    assert run.input == {
        "name": "box",
        "count": 3,
        "size": "large",
        "fragile": False,
        "weight": None,
        "lines": [1],
        "letter": None,
    }


def test_json_triggers_a_run(operator: Client, parcel_job: JobDefinition) -> None:
    page = operator.get(f"{PATH}?as=json").content.decode()
    skeleton = page.split('name="input"')[1].split(">", 1)[1].split("</textarea>")[0]
    assert json.loads(unescape(skeleton))["count"] == 2
    operator.post(PATH, {"input": '{"name": "box", "weight": 1.5}'})
    assert Run.objects.get().input["weight"] == 1.5


@pytest.mark.parametrize("typed", ["1e999", "-2.5e400"])
def test_a_number_that_python_cannot_hold_is_refused_at_its_field(
    operator: Client, parcel_job: JobDefinition, typed: str
) -> None:
    response = operator.post(PATH, {**FILLED, "input.weight": typed})
    assert response.status_code == 400
    assert "This number is too large." in response.content.decode()
    assert f'value="{typed}"' in response.content.decode()


def test_options_reach_the_run(operator: Client, parcel_job: JobDefinition) -> None:
    options = {
        "labels": "tenant: acme\n\nenv:prod:2",
        "concurrency_key": "c",
        "idempotency_key": "i",
        "priority": "-5",
        "run_at": "2031-01-02 10:00",
    }
    operator.cookies["zone"] = "Asia/Tokyo"
    operator.post(PATH, {**FILLED, **options})
    run = Run.objects.get()
    assert run.labels == {"tenant": "acme", "env": "prod:2"}
    assert (run.concurrency_key, run.idempotency_key, run.priority) == ("c", "i", -5)
    assert run.run_at == datetime(2031, 1, 2, 1, tzinfo=UTC)


def test_errors_stand_at_their_fields_and_nothing_typed_is_lost(
    operator: Client, parcel_job: JobDefinition
) -> None:
    typed = {
        "input.name": "<box>",
        "input.count": "many",
        "input.size": '"large"',
        "input.fragile": "true",
        "rows.lines": "2",
        "input.lines[0]": "1",
        "input.lines[1]": "x",
        "labels": "tenant:acme",
    }
    response = operator.post(PATH, typed)
    page = response.content.decode()
    assert response.status_code == 400
    assert 'value="&lt;box&gt;"' in page
    assert 'value="many"' in page
    assert '<option value="&quot;large&quot;" selected>' in page
    assert 'value="true" checked' in page
    assert 'name="input.lines[1]" value="x"' in page
    assert "tenant:acme" in page
    assert 'id="input-count-e">Input should be a valid integer' in page
    assert 'id="input-lines-1-e">Input should be a valid integer' in page
    assert not Run.objects.exists()


def test_a_field_that_is_missing_is_named(operator: Client, parcel_job: JobDefinition) -> None:
    page = operator.post(PATH, {"input.name": ""}).content.decode()
    assert 'id="input-name-e">Field required' in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "a",\n "count": }', "line 2, column 11"),
        ('{"name": NaN}', "NaN is not a JSON value"),
        ('{"name": "a"', "This is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"name": "a", "count": 0}', "count: Input should be greater"),
        ("5", "Input should be an object"),
        ("", "Input should be an object"),
    ],
)
def test_bad_json_is_explained_and_kept(
    operator: Client, parcel_job: JobDefinition, text: str, message: str
) -> None:
    response = operator.post(PATH, {"input": text})
    assert response.status_code == 400
    page = unescape(response.content.decode())
    assert message in page
    assert text in page.replace("\r", "")


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("labels", "nocolon", "Line 1 is not key:value"),
        ("labels", "a:1\na:2", "Line 2 names a a second time"),
        ("labels", "bad key:1", "bad key"),
        ("priority", "high", "A whole number"),
        ("priority", "99999", "99999"),
        ("run_at", "someday", "A time such as"),
        ("idempotency_key", "x" * 300, "idempotency"),
        ("coalesce", "maybe", "coalesce"),
    ],
)
def test_a_bad_option_is_explained_and_kept(
    operator: Client, parcel_job: JobDefinition, option: str, text: str, message: str
) -> None:
    response = operator.post(PATH, {**FILLED, option: text})
    assert response.status_code == 400
    page = unescape(response.content.decode())
    assert message in page
    assert 'class="more" open' in page
    assert not Run.objects.exists()


def test_a_key_that_is_taken_is_a_conflict_or_leads_to_its_run(
    operator: Client, parcel_job: JobDefinition
) -> None:
    operator.post(PATH, {**FILLED, "concurrency_key": "c", "idempotency_key": "i"})
    refused = operator.post(PATH, {**FILLED, "concurrency_key": "c"})
    assert refused.status_code == 409
    assert 'value="box"' in refused.content.decode()
    skipped = {**FILLED, "concurrency_key": "c", "coalesce": "skip"}
    assert "pending already" in operator.post(PATH, skipped, follow=True).content.decode()
    same = operator.post(PATH, {**FILLED, "idempotency_key": "i"}, follow=True)
    assert "has this idempotency key already" in same.content.decode()
    assert Run.objects.count() == 1


def test_an_uploaded_file_becomes_the_input(
    operator: Client, parcel_job: JobDefinition, data_dir: Path
) -> None:
    letter = SimpleUploadedFile("dear.txt", b"hello")
    operator.post(PATH, {**FILLED, "upload.letter": letter})
    name = Run.objects.get().input["letter"]
    assert (data_dir / name).read_bytes() == b"hello"


def test_an_upload_survives_an_error_elsewhere(
    operator: Client, parcel_job: JobDefinition, data_dir: Path
) -> None:
    letter = SimpleUploadedFile("dear.txt", b"hello")
    page = operator.post(
        PATH, {**FILLED, "input.count": "0", "upload.letter": letter}
    ).content.decode()
    name = page.split('name="input.letter" value="')[1].split('"')[0]
    operator.post(PATH, {**FILLED, "input.letter": name})
    assert Run.objects.get().input["letter"] == name


def test_a_file_that_does_not_exist_is_named(
    operator: Client, parcel_job: JobDefinition, data_dir: Path
) -> None:
    response = operator.post(PATH, {**FILLED, "input.letter": "../secret"})
    assert response.status_code == 400
    assert 'id="input-letter-e"' in response.content.decode()
