"""Everything essential without JavaScript."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

import runs
from runs.models import Run
from tests.browser.people import People
from tests.support.browserapp.jobs import Part
from tests.support.site import PASSWORD, Site


@pytest.fixture
def page(people: People) -> Page:
    return people.open("operator", java_script_enabled=False)


def until(page: Page, status: str) -> None:
    """Reload, as somebody without scripts does, until the run has this status."""
    badge = page.locator(".head .badge")
    for _ in range(50):
        if badge.inner_text() == status:
            return
        page.reload()
    expect(badge).to_have_text(status)


def test_sign_in_and_out(people: People) -> None:
    page = people.open(None, "/jobs/", java_script_enabled=False)
    page.get_by_label("User name").fill("operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/jobs/$"))
    page.get_by_label("Account of operator").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_trigger_and_retry(page: Page, site: Site) -> None:
    page.goto("/jobs/process-order/")
    page.get_by_label("order_id").fill("order_12")
    page.locator("#trigger").get_by_role("button", name="Trigger").last.click()
    until(page, "Failed")
    page.get_by_label("Reason for Retry").fill("Once more")
    page.get_by_role("button", name="Retry").click()
    until(page, "Completed")
    expect(page.get_by_role("region", name="History")).to_contain_text("Once more")


def test_rows_are_added_to_a_form(page: Page, site: Site) -> None:
    page.goto("/jobs/send-parcel/")
    page.get_by_label("recipient", exact=True).fill("Ada")
    page.get_by_role("button", name="Add a row to items").click()
    expect(page.get_by_label(re.compile("^sku"))).to_have_count(2)
    expect(page.get_by_label("recipient", exact=True)).to_have_value("Ada")
    page.get_by_role("button", name="Remove row 2 of items").click()
    expect(page.get_by_label(re.compile("^sku"))).to_have_count(1)


def test_cancel_and_delete(page: Page, site: Site) -> None:
    run = site.script(Part(name="x", waits_for="never"))
    site.await_status("running", run)
    page.goto(f"/runs/{run.pk}/")
    page.get_by_text("Cancel…").click()
    page.get_by_label("Reason").fill("Not needed")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_text("Cancelled by operator")).to_contain_text("Not needed")
    site.await_released(run)
    page.reload()
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("is deleted")).to_be_visible()
    assert not Run.objects.exists()


def test_ask_what_a_retention_rule_would_delete(page: Page, site: Site) -> None:
    page.goto("/storage/")
    page.get_by_label("What would a rule of").fill("30")
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_text("A rule of 30 days would delete nothing now.")).to_be_visible()
    expect(page.get_by_label("What would a rule of")).to_have_value("30")


def test_filter_search_and_turn_pages(page: Page, site: Site) -> None:
    runs.get_job("scripted").batch_trigger([{"order": f"order {n}."} for n in range(60)])
    other = runs.trigger("process-order", {"order_id": "order_1"})
    site.await_idle()
    page.goto("/runs/")
    page.get_by_role("link", name="Older").click()
    page.get_by_role("link", name="Newer").click()
    page.locator("form[aria-label='Filter runs']").get_by_text("Job", exact=True).click()
    page.get_by_role("checkbox", name="process-order", exact=True).check()
    page.get_by_role("button", name="Apply").locator("visible=true").click()
    rows = page.locator("#run-rows tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_have_id(f"run-{other.pk}")
    page.get_by_role("link", name="Clear", exact=True).click()
    page.get_by_label("Find a run").fill("order 17.")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)


def test_act_on_many(page: Page, site: Site) -> None:
    made = [site.script(Part(name="x", fails="no")) for _ in range(3)]
    site.await_status("failed", *made)
    page.goto("/runs/")
    for run in made[:2]:
        page.locator(f"#run-{run.pk}").get_by_role("checkbox").check()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", name="Retry 2 runs?")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    until(page, "Completed")
    expect(page.get_by_role("region", name="Outcomes").locator("tbody tr")).to_have_count(2)
    site.await_status("completed", *made[:2])


def test_choose_theme_and_zone(page: Page, site: Site) -> None:
    page.goto("/runs/")
    page.get_by_role("button", name="Dark").locator("visible=true").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_text("Times in UTC").click()
    page.get_by_role("button", name="UTC").locator("visible=true").click()
    expect(page.get_by_role("heading", name="Runs", level=1)).to_be_visible()
