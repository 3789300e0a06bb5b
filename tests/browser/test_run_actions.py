"""Retry, Run again, Edit input, Cancel and Delete on the page of a run."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

import runs
from runs.models import Run
from tests.browser.people import People
from tests.support.browserapp.jobs import Part
from tests.support.site import Site


def open_run(page: Page, run: Run) -> None:
    page.goto(f"/runs/{run.pk}/")


def failed(site: Site, **options: object) -> Run:
    """A run that fails in its first attempt, in its second step."""
    part = Part(name="charge", fails="The bank said no")
    run = site.script("fetch", part, "confirm", **options)
    site.await_status("failed", run)
    return run


def test_one_click_retries_a_failed_order_to_its_completion(page: Page, site: Site) -> None:
    run = runs.trigger("process-order", {"order_id": "order_124"})
    site.await_status("failed", run)
    open_run(page, run)
    expect(page.get_by_text("The bank declined").first).to_be_visible()
    preview = page.get_by_role("region", name="What Retry will do")
    expect(preview.get_by_role("row", name=re.compile("fetch-order"))).to_contain_text("Kept")
    expect(preview.get_by_role("row", name=re.compile("process-payment"))).to_contain_text(
        "Will run again"
    )
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".head .badge")).to_have_text("Completed")
    run.refresh_from_db()
    assert run.attempt == 2
    assert run.output == {"success": True}


def test_run_again_makes_a_linked_copy(page: Page, site: Site) -> None:
    run = site.script("only", output="done", labels={"tenant": "acme"})
    site.await_status("completed", run)
    open_run(page, run)
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("it repeats")).to_be_visible()
    copy = Run.objects.get(source_id=run.pk)
    expect(page).to_have_url(re.compile(str(copy.pk)))
    details = page.get_by_role("region", name="Details")
    expect(details.get_by_role("link", name="tenant:acme")).to_be_visible()
    details.get_by_role("link", name=str(run.pk)[-4:]).click()
    expect(page).to_have_url(re.compile(str(run.pk)))
    expect(page.get_by_text("Repeated by")).to_be_visible()


def test_edit_input_starts_a_new_run_with_what_was_corrected(page: Page, site: Site) -> None:
    run = runs.trigger("process-order", {"order_id": "order_200"}, labels={"tenant": "acme"})
    site.await_status("failed", run)
    open_run(page, run)
    page.get_by_role("link", name="Edit input…").click()
    expect(page.get_by_text("nothing is triggered yet")).to_be_visible()
    field = page.get_by_label("order_id")
    expect(field).to_have_value("order_200")
    field.fill("order_201")
    page.locator("#trigger").get_by_role("button", name="Trigger").last.click()
    expect(page.locator(".head .badge")).to_have_text("Completed")
    new = Run.objects.exclude(pk=run.pk).get()
    expect(page).to_have_url(re.compile(str(new.pk)))
    assert new.input == {"order_id": "order_201"}
    assert new.labels == {"tenant": "acme"}
    assert site.status(run) == "failed"


def test_who_cancels_and_why_stands_in_the_history(page: Page, site: Site) -> None:
    run = runs.trigger("slow-report", {"sections": 600, "seconds": 600})
    site.await_status("running", run)
    open_run(page, run)
    page.get_by_text("Cancel…").click()
    page.get_by_label("Reason").fill("Started by mistake")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator(".head .badge")).to_have_text("Cancelled")
    history = page.get_by_role("region", name="History")
    expect(history.get_by_text("Started by mistake")).to_be_visible()
    expect(history.get_by_role("listitem").filter(has_text="Started by mistake")).to_contain_text(
        "operator"
    )
    # When its body has stopped, it may be deleted.
    expect(page.get_by_text("Delete…")).to_be_visible()


def test_delete_asks_and_leads_to_the_list(page: Page, site: Site) -> None:
    run = failed(site)
    open_run(page, run)
    page.get_by_text("Delete…").click()
    expect(page.get_by_role("heading", name="Delete this run?")).to_be_visible()
    expect(page.locator("#delete")).to_contain_text("2 steps")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page).to_have_url(re.compile(r"/runs/$"))
    expect(page.get_by_text(f"Run …{str(run.pk)[-4:]} of scripted is deleted")).to_be_visible()
    assert not Run.objects.exists()


def test_an_open_page_says_when_its_run_is_deleted(page: Page, site: Site, people: People) -> None:
    run = failed(site)
    open_run(page, run)
    live = page.locator("[data-live-button]")
    expect(live).to_contain_text("Live")
    people.expect("404")
    runs.delete_run(run, actor="somebody else")
    expect(live).to_contain_text("Deleted")


def test_a_failed_run_is_found_by_its_order_number_understood_and_retried(
    page: Page, site: Site
) -> None:
    """What a new operator does with a complaint about order 8731, from the start page."""
    others = [failed(site, order=f"order_{number}") for number in range(8725, 8731)]
    wanted = failed(site, order="order_8731")
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("order_8731")
    page.keyboard.press("Enter")
    rows = page.locator("#run-rows tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("The bank said no")
    rows.get_by_role("link", name="scripted").click()
    error = page.get_by_role("region", name="Error")
    expect(error).to_contain_text("DeclinedError")
    expect(error).to_contain_text("The bank said no")
    expect(page.get_by_role("region", name="Input")).to_contain_text("order_8731")
    page.get_by_label("Reason for Retry").fill("The bank is back")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".head .badge")).to_have_text("Completed")
    expect(page.get_by_role("region", name="History")).to_contain_text("The bank is back")
    assert site.status(wanted) == "completed"
    assert {site.status(run) for run in others} == {"failed"}
