"""Acting on many runs at once."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

import runs
from runs.models import BulkAction, Run
from tests.support.browserapp.jobs import Part
from tests.support.site import Site


def fail(site: Site, count: int) -> list[Run]:
    """So many failed runs, which a retry completes."""
    script = {"parts": [{"name": "charge", "fails": "The bank said no"}]}
    made = runs.get_job("scripted").batch_trigger([script] * count)
    site.await_status("failed", *made)
    return made


def test_a_selection_is_retried_after_a_confirmation(page: Page, site: Site) -> None:
    made = fail(site, 3)
    done = site.script("fine")
    site.await_idle()
    page.goto("/runs/")
    for run in (made[0], made[2], done):
        page.locator(f"#run-{run.pk}").get_by_role("checkbox").check()
    bar = page.get_by_role("group", name="Selected runs")
    expect(bar).to_contain_text("3 selected")
    expect(bar.get_by_role("button", name="Cancel")).to_be_disabled()
    bar.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", name="Retry 3 runs?")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^Failed 2"))).to_contain_text("will be retried")
    expect(page.get_by_role("row", name=re.compile("^Completed 1"))).to_contain_text("refused")
    page.get_by_label("Reason").fill("The bank is back")
    page.get_by_role("button", name=re.compile("^Retry")).click()
    expect(page.locator(".head .badge")).to_have_text("Completed")
    outcomes = page.get_by_role("region", name="Outcomes")
    expect(outcomes.locator("tbody tr")).to_have_count(3)
    expect(outcomes.locator("tbody tr", has_text="Refused")).to_contain_text("completed")
    page.get_by_role("navigation", name="Which outcomes").get_by_text("Refused").click()
    expect(outcomes.locator("tbody tr")).to_have_count(1)
    site.await_status("completed", made[0], made[2])
    assert site.status(made[1]) == "failed"


def test_all_that_match_are_cancelled_and_watched(page: Page, site: Site) -> None:
    runs.get_job("scripted").batch_trigger(
        [{"parts": [{"name": "wait", "waits_for": "never"}]}] * 12
    )
    other = site.script(Part(name="wait", waits_for="other"), labels={"keep": "yes"})
    page.goto("/runs/?job=scripted&status=pending")
    page.locator("[data-pick-all]").check()
    page.get_by_label(re.compile("^Select all .* matching")).check()
    page.get_by_role("group", name="Selected runs").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name=re.compile(r"Cancel \d+ runs\?"))).to_be_visible()
    page.get_by_role("button", name=re.compile("^Cancel")).click()
    expect(page.locator(".head .badge")).to_have_text("Completed")
    expect(page.get_by_role("progressbar")).to_be_visible()
    assert not Run.objects.filter(status="pending").exists()
    assert Run.objects.filter(status="running").count() == 4
    assert site.status(other) == "cancelled"


def test_a_bulk_action_that_waits_is_aborted(page: Page, site: Site) -> None:
    made = fail(site, 2)
    site.worker.stop()
    try:
        page.goto("/runs/?status=failed")
        page.locator("[data-pick-all]").check()
        bar = page.get_by_role("group", name="Selected runs")
        bar.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("heading", name="Delete 2 runs?")).to_be_visible()
        page.get_by_role("button", name=re.compile("^Delete")).click()
        expect(page.get_by_text("No worker is running")).to_be_visible()
        page.get_by_role("button", name="Abort").click()
        expect(page.locator(".head .badge")).to_have_text("Aborted")
        expect(page.get_by_text("Aborted by operator")).to_be_visible()
    finally:
        site.restart_worker()
    assert BulkAction.objects.get().done == 0
    assert {site.status(run) for run in made} == {"failed"}
    page.goto("/bulk/")
    expect(page.get_by_role("row", name=re.compile("Aborted"))).to_contain_text("operator")


def test_all_runs_of_a_failure_are_retried(page: Page, site: Site) -> None:
    made = fail(site, 3)
    site.count()
    page.goto("/failures/")
    group = page.get_by_role("row", name=re.compile("DeclinedError"))
    expect(group).to_contain_text("The bank said no")
    group.get_by_role("link", name=re.compile("DeclinedError")).click()
    expect(page.get_by_role("heading", name="DeclinedError", level=1)).to_be_visible()
    newest = page.get_by_role("region", name="Newest runs failed like this")
    expect(newest.locator("tbody tr")).to_have_count(3)
    newest.get_by_role("link", name="See all 3").click()
    expect(page.locator("#run-rows tbody tr")).to_have_count(3)
    page.go_back()
    page.get_by_role("button", name="Retry all").click()
    expect(page.get_by_role("heading", name="Retry 3 runs?")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Retry")).click()
    expect(page.locator(".head .badge")).to_have_text("Completed")
    site.await_status("completed", *made)
    page.goto("/failures/")
    expect(page.get_by_role("row", name=re.compile("DeclinedError"))).not_to_contain_text(
        "Retry all"
    )
