"""The description of the API: whole, true, and of use to a generator of clients."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import pytest
from django.http import HttpResponse
from django.test import Client

from runs.api.problems import problem
from runs.api.schemas import Run
from runs.models import EventKind, RunStatus
from runs.registry import registry
from runs.representation import run_detail
from tests.api.callers import PROBLEM, Answer, document
from tests.pages import factories

#: The routes that others depend on, and what each is answered with if all goes well.
ROUTES = {
    ("post", "/api/jobs/{name}/trigger"): {"201", "200"},
    ("post", "/api/jobs/{name}/trigger-batch"): {"201"},
    ("get", "/api/jobs"): {"200"},
    ("get", "/api/jobs/{name}"): {"200"},
    ("post", "/api/jobs/{name}/pause"): {"200"},
    ("post", "/api/jobs/{name}/resume"): {"200"},
    ("get", "/api/runs"): {"200"},
    ("get", "/api/runs/{id}"): {"200", "304"},
    ("get", "/api/runs/{id}/steps"): {"200"},
    ("get", "/api/runs/{id}/logs"): {"200"},
    ("get", "/api/runs/{id}/history"): {"200"},
    ("post", "/api/runs/{id}/retry"): {"200"},
    ("post", "/api/runs/{id}/retrigger"): {"201"},
    ("post", "/api/runs/{id}/cancel"): {"200"},
    ("delete", "/api/runs/{id}"): {"204"},
    ("get", "/healthz"): {"200"},
    ("get", "/readyz"): {"200"},
}


def operations() -> list[tuple[str, str, Any]]:
    """Method, path and description of each."""
    return [
        (method, path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]


def test_it_is_served_to_everybody() -> None:
    answer = Client(headers={"host": "localhost"}).get("/api/openapi.json")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json() == document()


def test_every_route_is_described() -> None:
    described = {(method, path): each["responses"].keys() for method, path, each in operations()}
    for route, statuses in ROUTES.items():
        good = {status for status in described[route] if status < "400"}
        assert good == statuses, route


def test_every_operation_says_what_it_does_and_what_can_go_wrong() -> None:
    for method, path, operation in operations():
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"].endswith("."), where
        if not path.startswith("/api/"):
            continue
        assert {"401", "403", "429", "503"} <= operation["responses"].keys(), where
        assert operation["security"] == [{"TokenAuth": []}, {"SessionAuth": []}]
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= operation["responses"].keys(), where
        if "{" in path:
            assert "404" in operation["responses"], where


def test_problems_are_described_as_they_are_sent() -> None:
    for _, path, operation in operations():
        for status, response in operation["responses"].items():
            if status < "400":
                continue
            content = response["content"]
            assert content.keys() == {PROBLEM}, path
            assert content[PROBLEM]["schema"] == {"$ref": "#/components/schemas/Problem"}
            example = content[PROBLEM]["example"]
            _check(example, content[PROBLEM]["schema"])
            assert example["status"] == int(status)


def test_names_of_operations_are_names() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z_]+", name) for name in names)


def test_every_parameter_is_explained() -> None:
    for _, path, operation in operations():
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (path, parameter["name"])
            assert "anyOf" not in parameter["schema"] or parameter["in"] == "header"
            if "example" in parameter:
                _check(parameter["example"], parameter["schema"])
            assert "examples" not in parameter  # a list there is not OpenAPI


def test_schemas_have_true_examples() -> None:
    schemas = document()["components"]["schemas"]
    shown = [name for name, schema in schemas.items() if "examples" in schema]
    assert {"Run", "TriggeredRun", "Step", "LogLine", "HistoryEvent", "Job", "TriggerBody"} <= {
        *shown
    }
    for name in shown:
        for example in schemas[name]["examples"]:
            _check(example, {"$ref": f"#/components/schemas/{name}"})
            if "properties" in schemas[name] and name not in ("TriggerBody", "ReasonBody"):
                assert example.keys() == schemas[name]["properties"].keys(), name


def test_every_reference_leads_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    text = str(document())
    used = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert used == schemas.keys()  # none is left over either


def test_words_that_are_listed_are_all_there_are() -> None:
    schemas = document()["components"]["schemas"]
    assert schemas["RunStatus"]["enum"] == RunStatus.values
    assert schemas["EventKind"]["enum"] == EventKind.values


def test_it_holds_no_data() -> None:
    """It is public, so it must not tell which jobs there are."""
    text = str(document()).replace("process-order", "")  # of the examples
    for name in registry.names():
        assert name not in text


def _check(value: Any, schema: Any) -> None:
    whole = {"components": document()["components"], **schema}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)


@pytest.mark.django_db
def test_tests_notice_answers_that_are_not_described() -> None:
    """What holds every answer of these tests against the document does so."""
    run = factories.run()
    good = run_detail(run)
    path = f"/api/runs/{run.pk}"

    def check(content: Any, kind: str = "application/json", status: int = 200) -> None:
        response = HttpResponse(json.dumps(content), status=status, content_type=kind)
        Answer(response).check("GET", path)

    check(good)
    assert good.keys() == Run.model_fields.keys()
    for bad in (
        {**good, "status": "odd"},
        {**good, "id": "7"},
        {k: good[k] for k in list(good)[1:]},
    ):
        with pytest.raises(jsonschema_rs.ValidationError):
            check(bad)
    for wrong in (("text/html", 200), ("application/json", 202), ("text/html", 404)):
        with pytest.raises(AssertionError):
            check(good, *wrong)
    Answer(problem(404, "not-found", "gone")).check("GET", path)
