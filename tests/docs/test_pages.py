"""What the documentation says of pages is true: addresses, parameters, limits and buttons."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.http import QueryDict
from django.test import Client
from django.urls import URLPattern

from runs import job_stats, listing, scan, testing
from runs.access.permissions import WORDS
from runs.dashboard import (
    failures,
    input_fields,
    json_tree,
    logs,
    part,
    payload,
    run,
    shell,
    stalled,
    steps,
    storage,
    tabs,
    urls,
    waiting,
    workers,
)
from runs.engine import targets
from runs.filters import parse_filters
from runs.models import Run
from runs.storage import by_job, rules, trees
from tests.docs.blocks import ROOT, pages, prose

PAGES = ROOT / "docs" / "reference" / "pages.md"
OPERATE = ROOT / "docs" / "how-to" / "operate.md"

#: What the pages read from an address, wherever they do so.
_READ = re.compile(
    r"(?:(?:GET|query)\.get(?:list)?\(|request\.GET\[|(?:texts?|whole)_of\((?:request\.GET|query),)"
    r"\s*\"(\w+)\""
)

#: What pages ask for themselves with, to refresh a part of them.
_INTERNAL = {"fragment", "top", "shown", "seen", "step_seq", "of"}

#: The numbers in the table of bounds, by the row that they are in.
_BOUNDS: dict[str, tuple[float, ...]] = {
    "Runs on a page of the list": (listing.PAGE_SIZE,),
    "Time for a page of the list": (listing.LIST_BUDGET,),
    "Time for a search |": (listing.SEARCH_BUDGET, scan._LEAST),
    "Numbers on the status tabs": (tabs.MAX_COUNT, tabs.COUNT_BUDGET),
    '"New runs"': (tabs.MAX_NEW,),
    "Numbers in the navigation": (shell.MAX_RUNS, shell._KEEP_SECONDS),
    "Log lines shown": (logs.PAGE_SIZE,),
    "Time for a search in a log": (logs._BUDGET,),
    "Log lines counted": (logs.MAX_COUNT,),
    "Steps shown": (steps.PAGE_SIZE,),
    "Lines of a run's history": (run._MAX_EVENTS,),
    "Input, output": (json_tree.LIMIT, payload._MAX_PARSED),
    "Rows in a list": (input_fields.MAX_ROWS, input_fields.MAX_LEAVES),
    "Runs ahead": (waiting.MAX_AHEAD,),
    "Runs that a job's durations": (job_stats.SAMPLE,),
    "Pending runs": (job_stats._MAX_PENDING,),
    "Groups of failures": (failures._MAX_GROUPS, failures._SEARCHED),
    "Workers shown": (workers._MAX_WORKERS,),
    "Running runs": (stalled._MAX_RUNS,),
    "Figures of somebody": (part.MAX_ROWS, part.BUDGET),
    "Runs selected": (targets.MAX_SELECTION,),
    "Pages of an SQLite file": (trees.PAGES,),
    "Rows looked at": (by_job.SAMPLE,),
    "Jobs on the storage page": (storage.MAX_JOBS,),
    "Time for counting what a rule": (rules.BUDGET,),
    "Runs counted": (targets.COUNT_LIMIT, targets.COUNT_SECONDS),
}


def _rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    text = prose(PAGES).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def _routes() -> set[str]:
    """The site's addresses as a reader sees them: ``/runs/<id>/``."""
    patterns = [str(each.pattern) for each in urls.urlpatterns if isinstance(each, URLPattern)]
    return {"/" + re.sub(r"<\w+:(\w+)>", r"<\1>", pattern) for pattern in patterns}


def test_every_address_is_documented() -> None:
    documented = {code for row in _rows("Addresses") for code in re.findall(r"`([^`]+)`", row[0])}
    assert documented == _routes() | {"/admin/"}


def test_every_parameter_is_documented() -> None:
    read = set()
    for path in [*sorted((ROOT / "runs" / "dashboard").glob("*.py")), ROOT / "runs" / "filters.py"]:
        for found in _READ.finditer(path.read_text()):
            read.add(found[1])
    documented = {code for row in _rows("Addresses") for code in re.findall(r"`(\w+)`", row[2])}
    assert read - _INTERNAL <= documented
    # "next" is Django's; the times and the view of the steps are read by a name in a variable.
    assert documented - read <= {"next", "since", "until", "idle", "frames"}
    text = prose(PAGES).partition("## Overview")[2]
    for name in documented - {"next", "name"}:
        row = re.search(rf"^\| .*`{name}`.*\|", text, re.MULTILINE)
        assert row or f"`{name}` is" in text, name


def test_every_permission_is_documented() -> None:
    documented = {row[0].strip("`") for row in _rows("Permissions")}
    assert documented == WORDS.keys()


@pytest.mark.parametrize("what", _BOUNDS)
def test_the_documented_bounds_are_those_of_the_code(what: str) -> None:
    found = [row for row in _rows("What is bounded, and how") if f"{row[0]} |".startswith(what)]
    assert len(found) == 1
    for value in _BOUNDS[what]:
        assert re.search(rf"(?<![\d,.]){value:,g}(?!\d|,\d)", found[0][1]), (found[0], value)


def test_every_documented_bound_is_checked() -> None:
    for row in _rows("What is bounded, and how"):
        assert any(f"{row[0]} |".startswith(what) for what in _BOUNDS), row


@pytest.mark.django_db
def test_addresses_in_all_pages_lead_somewhere(client: Client) -> None:
    client.force_login(User.objects.create_superuser("ann"))
    named = {
        address
        for page in pages()
        for address in re.findall(r"`(/[\w/-]*/(?:\?[^`<]+)?|/)`", prose(page))
        if not address.startswith(("/api", "/live", "/preferences", "/logout", "/srv", "/etc"))
    }
    assert len(named) > 8
    for address in named:
        if address.startswith("/jobs/") and address.count("/") == 3:
            continue  # of a job that the page makes
        assert client.get(address, follow=True).status_code == 200, address


def test_filters_in_all_pages_make_sense() -> None:
    for page in pages():
        for query in re.findall(r"`/runs/\?([^`<]+)`", prose(page)):
            assert parse_filters(QueryDict(query)).problems == (), query


def test_what_operators_are_told_to_press_is_there() -> None:
    sources = [*(ROOT / "templates").rglob("*.html"), *(ROOT / "runs" / "dashboard").glob("*.py")]
    shown = "\n".join(path.read_text() for path in sources)
    for label in re.findall(r"\*\*([^*]+)\*\*", prose(OPERATE)):
        if not label.endswith("?") or label == "Why is it waiting?":
            for part in label.split(" … "):
                assert part in shown or part.lower() in shown, label


@pytest.mark.django_db(transaction=True)
def test_an_operator_can_do_what_the_page_says(client: Client) -> None:
    """Find a failed run by its input, see why, retry it, and run it with a corrected input."""
    client.force_login(User.objects.create_superuser("ann"))
    command = re.search(r"manage\.py (trigger .*)$", OPERATE.read_text(), re.MULTILINE)
    assert command is not None
    name, text = command[1].split(" ", 2)[1:]
    call_command("trigger", name, text.strip("'"))
    testing.drain()
    found = client.get("/runs/?status=failed&job=process-order&q=order_124").content.decode()
    failed = Run.objects.get()
    page = f"/runs/{failed.pk}/"
    assert page in found

    shown = client.get(page).content.decode()
    assert "PaymentDeclinedError" in shown
    assert "What Retry will do" in shown
    form = f"/jobs/process-order/?from={failed.pk}"
    assert form in shown
    assert "order_124" in client.get(form).content.decode()

    client.post(page, {"do": "retry", "reason": "the bank is back"})
    corrected = {"input.order_id": "order_125", "labels": "fixes:order_124"}
    client.post("/jobs/process-order/", corrected)
    testing.drain()
    assert sorted(Run.objects.values_list("status", "attempt")) == [
        ("completed", 1),
        ("completed", 2),
    ]
