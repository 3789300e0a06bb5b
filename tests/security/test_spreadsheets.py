"""No table can be downloaded for a spreadsheet, in which a cell of somebody's could be a formula.

Whoever adds such an export has to see to its cells first: the tests of this file then fail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from runs.registry import JobDefinition
from tests.api.callers import document
from tests.pages import factories
from tests.security.surfaces import ADMIN_FORMS, ADMIN_LISTS, PAGES, Things
from tests.security.world import make_world, rows

FORMULA = "=HYPERLINK(1)"

#: Kinds of files that spreadsheets open, in content types and names of files.
_SHEET = re.compile(r"csv|\btsv|tab-separated|spreadsheet|excel|\.xlsx?|\.ods", re.IGNORECASE)

#: What writes them.
_WRITERS = {"csv", "odf", "openpyxl", "pandas", "tablib", "xlsxwriter", "xlwt", "import_export"}


@pytest.fixture
def world(db: None, parcel_job: JobDefinition) -> Things:
    return make_world(FORMULA)


@pytest.fixture
def root(world: Things) -> Client:
    client = Client(headers={"accept": "text/csv, application/vnd.ms-excel, */*"})
    client.force_login(factories.user("root", is_staff=True, is_superuser=True))
    return client


def sheet_in(answer: Any) -> str:
    """What a spreadsheet would open the answer for; nothing if it would not."""
    headers = (answer.headers.get(name, "") for name in ("Content-Type", "Content-Disposition"))
    found = _SHEET.search(" ".join(headers))
    return found[0] if found else ""


@pytest.mark.parametrize("route", [route for route in PAGES if route != "live/"])
def test_no_page_is_one(root: Client, world: Things, route: str) -> None:
    path = world.path(route)
    for query in ("", "?format=csv", *(f"?{name}=csv" for name in PAGES[route])):
        assert not sheet_in(root.get(path + query)), query


def test_none_of_the_admin_is(root: Client, world: Things) -> None:
    for base, row in rows():
        for path in (base, f"{base}?format=csv", f"{base}export/", f"{base}{row.pk}/change/"):
            assert not sheet_in(root.get(path)), path
    for route in ADMIN_FORMS:
        page = root.get(f"/{route}").content.decode()
        actions = re.findall(r'<option value="(\w+)"', page.split('name="action"')[1])
        assert actions
        [row] = [row for base, row in rows() if base == f"/{route}"]
        for action in actions:
            answer = root.post(f"/{route}", {"action": action, "_selected_action": row.pk})
            assert not sheet_in(answer), action
    assert len(ADMIN_LISTS) == len(list(rows()))


def test_nor_does_the_api_answer_one(root: Client, world: Things) -> None:
    described = document()["paths"]
    for template in described:
        path = template.format(id=world.run.pk, name="parcel")
        if "get" in described[template] and "event-stream" not in str(described[template]):
            for query in ("", "?format=csv"):
                assert not sheet_in(root.get(path + query)), path
    for path in ("jobs", "runs", f"run?runId={world.run.pk}", f"steps?runId={world.run.pk}"):
        assert not sheet_in(root.get(f"/api/durably/{path}")), path
    assert not _SHEET.search(str(sorted(_announced(described)))), "so the description"


def _announced(described: Any) -> Iterator[str]:
    """The content types that the API's description names."""
    for operations in described.values():
        for operation in operations.values():
            for response in operation["responses"].values():
                yield from response.get("content", ())


def writers(source: str) -> Iterator[str]:
    """What a module has to write such a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = []
            if re.match(r"(text|application)/", node.value) and _SHEET.search(node.value):
                yield node.value
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in _WRITERS)


def test_no_module_writes_one() -> None:
    found = []
    for folder in ("runs", "durably_site"):
        for path in sorted((Path(settings.BASE_DIR) / folder).rglob("*.py")):
            found += [f"{path.name}: {each}" for each in writers(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    ("source", "is_one"),
    [
        ("import csv", True),
        ("def f():\n    from csv import writer", True),
        ("import openpyxl.styles as s", True),
        ("x(content_type='text/csv; charset=utf-8')", True),
        ("import json", False),
        ("x('The file.csv, as text/csv')", False),
    ],
)
def test_a_writer_would_be_found(source: str, is_one: bool) -> None:
    assert bool(list(writers(source))) is is_one
