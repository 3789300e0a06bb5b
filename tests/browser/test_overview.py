"""The overview and the workers: figures, and where they lead."""

from __future__ import annotations

import re

from playwright.sync_api import Page, Request, expect

from tests.processes import until
from tests.support.browserapp.jobs import Part
from tests.support.site import Site


def test_every_number_leads_to_the_list_behind_it(page: Page, site: Site) -> None:
    failed = [site.script(Part(name="x", fails="no")) for _ in range(2)]
    site.await_status("failed", *failed)
    for _ in range(3):
        site.script("x")
    site.await_idle()
    running = site.script(Part(name="x", waits_for="never"))
    site.await_status("running", running)
    site.count()
    page.goto("/")
    links = page.locator("main .stats a, main .legend a, main .why a, main table a")
    hrefs = {link.get_attribute("href") or "" for link in links.all()}
    assert any("status=failed" in href for href in hrefs)
    assert any("status=running" in href for href in hrefs)
    for href in hrefs:
        assert page.request.get(href).ok, href
    tiles = page.get_by_role("list", name="Runs by status")
    tiles.get_by_role("link", name=re.compile("Failed")).click()
    expect(page.locator("#run-rows tbody tr")).to_have_count(2)
    page.go_back()
    tiles.get_by_role("link", name=re.compile("Running")).click()
    expect(page.locator("#run-rows tbody tr")).to_have_count(1)
    page.go_back()
    activity = page.locator("#activity")
    activity.get_by_role("link", name="3", exact=True).click()
    expect(page.locator("#run-rows tbody tr")).to_have_count(3)
    page.go_back()
    failing = page.get_by_role("region", name="Failing jobs")
    failing.get_by_role("link", name="2", exact=True).click()
    expect(page.locator("#run-rows tbody tr")).to_have_count(2)


def test_bars_of_the_chart_lead_to_lists(page: Page, site: Site) -> None:
    site.script("x")
    site.await_idle()
    site.count()
    page.goto("/")
    bars = page.locator("#activity svg.chart g.bar a")
    assert bars.count() >= 1
    for bar in bars.all():
        assert page.request.get(bar.get_attribute("href") or "").ok
    table = page.locator("#activity-table")
    expect(table).to_contain_text("Completed")


def test_a_worker_shows_what_it_does(page: Page, site: Site) -> None:
    run = site.script(Part(name="x", waits_for="go"))
    site.await_status("running", run)
    page.goto("/workers/")
    row = page.get_by_role("row", name=re.compile(str(site.worker.process.pid)))
    expect(row).to_contain_text(f"scripted …{str(run.pk)[-4:]}")
    expect(row.get_by_role("img")).to_have_attribute("aria-label", "1 of 4 slots busy")
    row.locator("summary").click()
    expect(row.get_by_role("link", name="import-csv")).to_be_visible()
    page.keyboard.press("Escape")
    site.open("go")
    expect(row.get_by_role("img")).to_have_attribute("aria-label", "0 of 4 slots busy")


def test_an_open_overview_asks_when_something_happens_and_again_when_it_is_counted(
    page: Page, site: Site
) -> None:
    site.script("x")
    site.await_idle()
    site.count()
    page.clock.install()
    # The counters that say whether anything runs are a few seconds old.
    until(lambda: page.goto("/") and page.locator("[data-every='60000']").count(), "all is quiet")
    expect(page.locator("[data-live-button]")).to_contain_text("Live")
    asked: list[str] = []

    def note(request: Request) -> None:
        if "fragment=1" in request.url:
            asked.append(request.url)

    page.on("request", note)
    page.clock.run_for(35_000)
    assert asked == []  # nothing happens, nothing runs
    site.script("x")
    site.await_idle()

    def asks() -> bool:
        page.clock.run_for(500)
        return bool(asked)

    # The page's clock must not go on while an answer is under way: it would seem slow.
    with page.expect_response(lambda response: "fragment=1" in response.url):
        until(asks, "the page asks")
    page.wait_for_function("!document.querySelector('.htmx-request')")
    page.clock.run_for(6_000)
    before = len(asked)
    page.clock.run_for(12_000)
    assert len(asked) > before  # what happened has been counted by now
