"""The list of runs."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

import runs
from runs.models import Run
from tests.browser.people import People
from tests.support.browserapp.jobs import Part
from tests.support.site import Site


def rows(page: Page) -> Locator:
    return page.locator("#run-rows tbody tr")


def row(page: Page, run: Run) -> Locator:
    return page.locator(f"#run-{run.pk}")


def await_live(page: Page) -> None:
    expect(page.locator("[data-live-button]")).to_contain_text("Live")


def test_filters_are_in_the_address_and_can_be_taken_away(page: Page, site: Site) -> None:
    acme = site.script("a", labels={"tenant": "acme"})
    other = site.script(Part(name="b", fails="no"), labels={"tenant": "other"})
    order = runs.trigger("process-order", {"order_id": "order_1"}, labels={"tenant": "acme"})
    site.await_idle()
    page.goto("/runs/")
    expect(rows(page)).to_have_count(3)
    page.locator("form[aria-label='Filter runs']").get_by_text("Job", exact=True).click()
    page.get_by_role("checkbox", name="scripted", exact=True).check()
    page.get_by_role("button", name="Apply").locator("visible=true").click()
    expect(rows(page)).to_have_count(2)
    expect(row(page, order)).to_have_count(0)
    page.locator("form[aria-label='Filter runs']").get_by_text("Label", exact=True).click()
    page.get_by_label("Runs with the label").fill("tenant:acme")
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(1)
    expect(row(page, acme)).to_be_visible()
    expect(page).to_have_url(re.compile(r"job=scripted&.*label=tenant%3Aacme"))
    page.get_by_role("link", name="Remove filter label tenant:acme").click()
    expect(rows(page)).to_have_count(2)
    page.get_by_role("navigation", name="Status").get_by_role("link", name="Failed").click()
    expect(rows(page)).to_have_count(1)
    expect(row(page, other)).to_contain_text("DeclinedError")
    page.goto("/runs/?until=1h")
    expect(page.get_by_role("heading", name="No run matches")).to_be_visible()
    page.get_by_role("link", name="Clear filters").click()
    expect(rows(page)).to_have_count(3)


def test_a_time_that_is_none_is_said_to_be(page: Page, people: People) -> None:
    people.expect("status of 400")
    page.goto("/runs/?since=soon&status=odd")
    expect(page.get_by_role("alert").filter(has_text="“soon” is no time")).to_be_visible()
    expect(page.get_by_role("alert").filter(has_text="no status “odd”")).to_be_visible()


def test_pages_lead_to_older_runs_and_back(page: Page, site: Site) -> None:
    made = runs.get_job("scripted").batch_trigger([{"order": str(n)} for n in range(60)])
    site.await_idle()
    page.goto("/runs/")
    first = rows(page).count()
    assert first < 60
    expect(row(page, made[-1])).to_be_visible()
    page.get_by_role("link", name="Older").click()
    expect(row(page, made[0])).to_be_visible()
    expect(row(page, made[-1])).to_have_count(0)
    assert first + rows(page).count() == 60
    page.keyboard.press("p")
    expect(row(page, made[-1])).to_be_visible()
    assert rows(page).count() == first
    page.keyboard.press("n")
    expect(row(page, made[0])).to_be_visible()
    page.get_by_role("link", name="Newest").click()
    expect(page).to_have_url(re.compile(r"/runs/$"))


def test_rows_change_in_place_and_new_runs_wait_behind_a_button(page: Page, site: Site) -> None:
    run = site.script(Part(name="slow", waits_for="go"), "then")
    site.await_status("running", run)
    page.goto("/runs/")
    await_live(page)
    expect(row(page, run).locator(".badge")).to_have_text("Running")
    row(page, run).get_by_role("checkbox").check()
    new = [site.script("x"), site.script("y")]
    expect(page.get_by_role("link", name="Show 2 new runs")).to_be_visible()
    site.open("go")
    expect(row(page, run).locator(".badge")).to_have_text("Completed")
    expect(rows(page)).to_have_count(1)
    expect(row(page, run).get_by_role("checkbox")).to_be_checked()
    page.get_by_role("link", name="Show 2 new runs").click()
    expect(rows(page)).to_have_count(3)
    expect(rows(page).first).to_have_id(f"run-{new[1].pk}")


def test_a_deleted_run_keeps_its_place(page: Page, site: Site) -> None:
    made = [site.script("x") for _ in range(3)]
    site.await_idle()
    page.goto("/runs/")
    await_live(page)
    runs.delete_run(made[1], actor="somebody")
    site.script("x")  # so that the page looks again
    expect(rows(page).nth(1)).to_contain_text("was deleted")
    expect(rows(page)).to_have_count(3)


def test_the_list_is_used_by_keys_alone(page: Page, site: Site) -> None:
    made = [site.script("x") for _ in range(3)]
    site.await_idle()
    page.goto("/runs/")
    links = [row(page, run).get_by_role("link", name="scripted") for run in reversed(made)]
    page.keyboard.press("j")
    expect(links[0]).to_be_focused()
    page.keyboard.press("j")
    expect(links[1]).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(links[2]).to_be_focused()
    page.keyboard.press("k")
    expect(links[1]).to_be_focused()
    page.keyboard.press("x")
    expect(row(page, made[1]).get_by_role("checkbox")).to_be_checked()
    expect(page.get_by_role("group", name="Selected runs")).to_contain_text("1 selected")
    page.keyboard.press("Escape")
    expect(row(page, made[1]).get_by_role("checkbox")).not_to_be_checked()
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(sheet).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(links[1]).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(str(made[1].pk)))


def test_shortcuts_can_be_switched_off(page: Page, site: Site) -> None:
    site.script("x")
    site.await_idle()
    page.goto("/runs/")
    page.keyboard.press("?")
    page.get_by_label("Single-key shortcuts").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("/")
    expect(page.get_by_label("Find a run")).not_to_be_focused()
    page.reload()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_search_says_what_it_searched(page: Page, site: Site) -> None:
    site.script("x", output={"invoice": "INV-4711"})
    site.script("x")
    site.await_idle()
    page.goto("/runs/")
    page.get_by_label("Search these runs").fill("inv-4711")
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_text("All 2 searched")).to_be_visible()


def test_counts_come_after_the_page(page: Page, site: Site) -> None:
    site.script("x")
    site.script(Part(name="x", fails="no"))
    site.await_idle()
    page.goto("/runs/")
    tabs = page.get_by_role("navigation", name="Status")
    expect(tabs.get_by_role("link", name="Failed")).to_have_text(re.compile("1$"))
    expect(tabs.get_by_role("link", name="All")).to_have_text(re.compile("2$"))
