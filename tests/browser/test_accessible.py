"""axe finds nothing on any page with something on it, nor does any page scroll sideways."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

import runs
from runs.engine import bulk
from runs.models import Run
from tests.browser import accessible
from tests.browser.people import People
from tests.support.browserapp.jobs import Part
from tests.support.site import Site

LONG = "a-very-long-name-" * 12


class Furnished:
    """An installation with runs of every kind."""

    def __init__(self, site: Site) -> None:
        site.wipe()
        labels = {"tenant": "acme", "region": "eu-central", "import": LONG}
        make = site.script
        self.failed = make(
            Part(name="fetch", log=["fetching"], result={"rows": [1, {"a": None}]}),
            Part(name="charge", warnings=["slow"], fails=f"The bank said no to {LONG}"),
            order="order_1",
            labels=labels,
        )
        self.completed = make(
            *(Part(name=f"step-{n}", log=[f"line {n}"], result=n) for n in range(30)),
            Part(name=LONG, log=[LONG]),
            output={"total": 3, "text": LONG, "list": list(range(40))},
        )
        site.await_idle()
        runs.retrigger(self.failed, actor=site.people["operator"])
        self.running = make("one", Part(name="two", waits_for="never"), concurrency_key="tenant-7")
        site.await_status("running", self.running)
        self.waiting = make("one", concurrency_key="tenant-7", labels=labels)
        self.cancelled = make("one", concurrency_key="tenant-8")
        site.await_status("completed", self.cancelled)
        self.later = runs.trigger("scripted", {}, run_at=_tomorrow())
        runs.cancel(self.later, actor="operator", reason="Not needed")
        self.action = bulk.create(
            "retrigger",
            run_ids=[str(self.completed.pk), str(self.running.pk)],
            actor=site.people["operator"],
            reason="To be sure",
        )
        site.await_bulk(self.action.pk)
        site.count()
        self.failed.refresh_from_db()


def _tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(scope="module")
def furnished(installation: Site) -> Furnished:
    return Furnished(installation)


@pytest.fixture(autouse=True)
def site(installation: Site, furnished: Furnished) -> Site:
    """Not emptied between these tests."""
    return installation


def run_page(name: str, query: str = "") -> Callable[[Furnished], str]:
    def path(furnished: Furnished) -> str:
        run: Run = getattr(furnished, name)
        return f"/runs/{run.pk}/{query}"

    return path


PAGES: dict[str, str | Callable[[Furnished], str]] = {
    "overview": "/",
    "overview-week": "/?range=7d",
    "runs": "/runs/",
    "runs-filtered": "/runs/?job=scripted&label=tenant:acme&status=failed&since=24h",
    "runs-search": "/runs/?q=tenant",
    "run-failed": run_page("failed"),
    "run-failed-step": run_page("failed", "?step=charge"),
    "run-completed": run_page("completed"),
    "run-completed-step": run_page("completed", "?step=step-3"),
    "run-completed-table": run_page("completed", "?steps=table"),
    "run-running": run_page("running"),
    "run-waiting": run_page("waiting"),
    "run-cancelled": run_page("later"),
    "jobs": "/jobs/",
    "job": "/jobs/scripted/",
    "job-large-form": "/jobs/send-parcel/",
    "job-file": "/jobs/import-csv/",
    "failures": "/failures/",
    "failure": lambda furnished: f"/failures/{furnished.failed.error_fingerprint}/",
    "workers": "/workers/",
    "storage": "/storage/?days=1",
    "tokens": "/tokens/",
    "bulk": "/bulk/",
    "bulk-action": lambda furnished: f"/bulk/{furnished.action.pk}/",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible(name: str, people: People, furnished: Furnished) -> None:
    path = PAGES[name]
    page = people.open("operator", path if isinstance(path, str) else path(furnished))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    accessible.check(page)


def test_open_menus_and_details_are_accessible(people: People, furnished: Furnished) -> None:
    page = people.open("operator", f"/runs/{furnished.running.pk}/")
    page.get_by_text("Cancel…").click()
    accessible.check(page)
    page.goto("/jobs/scripted/")
    for summary in page.locator("main summary").all():
        summary.evaluate("summary => { summary.parentElement.open = true }")
    accessible.check(page)


def test_making_and_revoking_a_token_is_accessible(people: People) -> None:
    page = people.open("operator", "/tokens/")
    page.get_by_label("Name").fill("a-program-of-a-test")
    page.get_by_role("button", name="Make token").click()
    expect(page.get_by_text("Copy it now.")).to_be_visible()
    accessible.check(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto("/tokens/")
    page.locator("summary", has_text="Revoke…").first.click()
    accessible.check(page)
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_text("Token a-program-of-a-test is revoked.")).to_be_visible()


def test_the_sheet_of_shortcuts_is_accessible(people: People) -> None:
    page = people.open("operator", "/runs/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    accessible.check(page)


def test_a_selection_and_its_confirmation_are_accessible(people: People) -> None:
    page = people.open("operator", "/runs/")
    page.locator("[data-pick-all]").check()
    expect(page.get_by_role("group", name="Selected runs")).to_be_visible()
    accessible.check(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", name=re.compile("^Retry"))).to_be_visible()
    accessible.check(page)


def test_a_refused_form_is_accessible(people: People) -> None:
    people.expect("status of 400")
    page = people.open("operator", "/jobs/send-parcel/")
    page.get_by_label("recipient", exact=True).fill("Ada")
    form = page.locator("#trigger")
    form.evaluate("form => { form.noValidate = true }")
    form.get_by_role("button", name="Trigger", exact=True).last.click()
    expect(page.get_by_role("alert")).to_be_visible()
    accessible.check(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("button", name="JSON", exact=True).click()
    accessible.check(page)


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [
        ("/nowhere/", "operator", 404),
        ("/runs/01a203dc-28c1-702f-a29f-64e8419ee9cc/", "operator", 404),
        ("/runs/", "stranger", 403),
        ("/runs/?status=odd", "operator", 400),
        ("/login/", None, 200),
    ],
)
def test_what_goes_wrong_is_accessible(
    path: str, name: str | None, status: int, people: People
) -> None:
    people.expect(f"status of {status}")
    page = people.open(name)
    answer = page.goto(path)
    assert answer is not None
    assert answer.status == status
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("Resolver404")
    accessible.check(page)
