"""What the documentation says of the HTTP API is whole and true: routes, fields, codes, bounds."""

from __future__ import annotations

import re
from http import HTTPMethod

import pytest
from django.conf import settings
from pydantic import BaseModel

from runs import errors, listing
from runs.api import paging, problems, requests, schemas
from tests.api.callers import document
from tests.docs.blocks import ROOT, blocks, prose

PAGE = ROOT / "docs" / "reference" / "http-api.md"


def commands() -> list[str]:
    """Every call of curl in the page."""
    lines = "\n".join(block.text for block in blocks(PAGE)).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ curl")]


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path) for path, methods in document()["paths"].items() for method in methods],
)
def test_every_route_has_an_example(method: str, path: str) -> None:
    address = re.escape(f"127.0.0.1:8000{path}").replace(r"\{id\}", r"\$\w+")
    wanted = re.compile(address.replace(r"\{name\}", "[a-z-]+") + r'(\?[^" ]*)?"?( |$)')
    calls = [command for command in commands() if wanted.search(command)]
    assert any(_method(call) == method.upper() for call in calls), f"{method} {path}"
    assert f"{method.upper()} {path}`" in PAGE.read_text(), f"{method} {path}"


def _method(command: str) -> str:
    named = re.search(r" -X (\w+)", command)
    if named:
        return HTTPMethod(named[1]).value
    return "POST" if " -d " in command else "GET"


@pytest.mark.parametrize(
    "schema",
    [
        requests.TriggerBody,
        schemas.Run,
        schemas.RunError,
        schemas.Progress,
        schemas.Step,
        schemas.LogLine,
        schemas.HistoryEvent,
        schemas.Job,
        schemas.JobStatistics,
        schemas.Disposition,
        schemas.Problem,
        requests.RunQuery,
    ],
)
def test_every_field_is_documented(schema: type[BaseModel]) -> None:
    text = PAGE.read_text()
    for name in schema.model_fields:
        assert re.search(rf"[`\"]{name}[`\"]", text), name


def test_every_code_is_documented_with_its_status() -> None:
    documented = re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", PAGE.read_text(), re.MULTILINE)
    known = {
        (str(each.status), each.code)
        for module in (problems, errors)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, errors.RunsError)
    }
    #: Of the engine and of Python's callers: no request is answered with them.
    known -= {(s, c) for s, c in known if s in ("500", "504") or c.startswith("run-")}
    made_by_the_site = {("405", "method-not-allowed"), ("500", "internal-error")}
    assert set(documented) == known | made_by_the_site


def test_the_bounds_are_those_of_the_code() -> None:
    text = " ".join(prose(PAGE).split())
    for said in (
        f"`limit` is at most {requests.MAX_LIMIT}, and {requests.DEFAULT_LIMIT} by default",
        f"up to {requests.MAX_BATCH:,} such bodies",
        f"Up to {requests.MAX_LINES:,} a page",
        f"({requests.MAX_LIMIT}; at most {requests.MAX_LINES:,})",
        f"after {listing.SEARCH_BUDGET:g} s, other lists after {listing.LIST_BUDGET:g} s",
        f"{paging.MAX_PAGE // 1_000_000} MB of payloads",
        "10 MB, or four times `MAX_INPUT_BYTES`",
    ):
        assert said in text, said
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE == 10_000_000
