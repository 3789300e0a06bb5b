"""Pages without anything on them say what to do next."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser import accessible
from tests.support.site import Site

PAGES = {
    "/": "Everything is ready for the first run",
    "/runs/": "No run yet",
    "/runs/?q=nothing": "No run matches",
    "/jobs/scripted/": "scripted",
    "/failures/": "No failure in this time",
    "/failures/?q=nothing": "No error matches",
    "/workers/": "Workers",
    "/bulk/": "No bulk action yet",
}


@pytest.mark.parametrize("path", PAGES)
def test_an_empty_page_is_accessible_and_leads_on(path: str, page: Page, site: Site) -> None:
    page.goto(path)
    expect(page.get_by_role("heading", name=PAGES[path])).to_be_visible()
    accessible.check(page)


def test_the_first_page_leads_to_a_job(page: Page, site: Site) -> None:
    page.goto("/")
    page.locator("main .empty").get_by_role("link", name="Trigger").click()
    expect(page.locator("#trigger")).to_be_visible()


def test_without_a_worker_the_pages_say_so(page: Page, site: Site) -> None:
    site.worker.stop()
    try:
        run = site.script("x")
        page.goto("/workers/")
        expect(page.get_by_role("alert")).to_contain_text("No worker alive since")
        accessible.check(page)
        page.goto(f"/runs/{run.pk}/")
        why = page.get_by_role("region", name="Why is it waiting?")
        expect(why).to_contain_text("No worker")
        page.goto("/")
        expect(page.get_by_role("region", name="Needs a person")).to_contain_text("worker")
    finally:
        site.restart_worker()
    page.goto(f"/runs/{run.pk}/")
    expect(page.locator(".head .badge")).to_have_text("Completed")
