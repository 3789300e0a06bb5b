"""Open pages in a real browser: what changes by itself, and what must not move."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from runs.models import Run
from tests.pages import factories
from tests.support.streams import session_of
from tests.support.web import Web

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def site(web: Web, context: BrowserContext, page: Page) -> Page:
    """A page of somebody who may do everything with runs."""
    names = ("view_run", "trigger_run", "operate_run", "delete_run")
    base = f"http://127.0.0.1:{web.port}"
    session = session_of(factories.user("ann", *names))
    context.add_cookies([{"name": "sessionid", "value": session, "url": base}])
    page.set_default_timeout(15_000)
    return page


def visit(page: Page, web: Web, path: str) -> None:
    page.goto(f"http://127.0.0.1:{web.port}{path}")
    expect(page.locator("[data-live-button]")).to_contain_text("Live")
    expect(page.locator("[data-live-button]")).to_contain_text(re.compile("now|ago"))


def change(run: Run, status: str, kind: str) -> None:
    """What the engine does with a run, for a page to hear of."""
    Run.objects.filter(pk=run.pk).update(status=status)
    factories.event(run, kind)


def test_rows_change_where_they_are_and_new_ones_wait(site: Page, web: Web) -> None:
    runs = [factories.run("pending", job=f"job-{number}") for number in range(3)][::-1]
    visit(site, web, "/runs/")
    expect(site.locator("#tabs [aria-current] span")).to_have_text("3")
    site.keyboard.press("j")
    site.keyboard.press("j")
    site.keyboard.press("x")
    before = site.locator(f"#run-{runs[1].id}").bounding_box()
    factories.event(factories.run("pending"), "triggered")
    change(runs[1], "running", "started")
    expect(site.locator(f"#run-{runs[1].id} .badge")).to_have_text("Running")
    expect(site.locator(".news")).to_have_text("Show 1 new run")
    assert site.locator(f"#run-{runs[1].id}").bounding_box() == before
    expect(site.locator(f"#run-{runs[1].id} input")).to_be_checked()
    expect(site.locator(f"#run-{runs[1].id} a.name")).to_be_focused()
    expect(site.get_by_role("button", name="Cancel")).to_be_enabled()
    expect(site.get_by_role("button", name="Retry")).to_be_disabled()
    site.keyboard.press("Escape")
    expect(site.locator(f"#run-{runs[1].id} input")).not_to_be_checked()
    site.keyboard.press("Enter")
    expect(site).to_have_url(re.compile(f"/runs/{runs[1].id}/"))


def test_a_page_survives_a_restart_and_a_pause(site: Page, web: Web) -> None:
    run = factories.run("pending")
    visit(site, web, f"/runs/{run.id}/")
    badge = site.locator("h1 + .badge")
    web.restart()
    change(run, "running", "started")
    expect(badge).to_have_text("Running")
    expect(site.locator("[data-live-word]")).to_have_text("Live")
    site.locator("[data-live-button]").click()
    expect(site.locator("[data-live-word]")).to_have_text("Paused")
    expect(site.locator("#announce")).to_have_text("Live updates are paused")
    change(run, "waiting", "handed_back")
    site.wait_for_timeout(1500)
    expect(badge).to_have_text("Running")
    site.locator("[data-live-button]").click()
    expect(badge).to_have_text("Waiting")


def test_shortcuts_have_a_sheet_and_a_switch(site: Page, web: Web) -> None:
    factories.run()
    visit(site, web, "/runs/")
    sheet = site.get_by_role("dialog", name="Keyboard shortcuts")
    site.keyboard.press("?")
    expect(sheet).to_be_visible()
    assert Axe().run(site).violations_count == 0
    site.get_by_label("Single-key shortcuts").uncheck()
    site.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    site.keyboard.press("?")
    expect(sheet).to_be_hidden()
    site.keyboard.press("j")
    expect(site.locator("#run-rows a.name")).not_to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_list_with_a_selection_is_accessible(
    site: Page, web: Web, scheme: str, width: int
) -> None:
    complaints: list[str] = []
    site.on("console", lambda message: complaints.append(message.text))
    site.on("pageerror", lambda error: complaints.append(str(error)))
    for status in ("pending", "running", "waiting", "completed", "failed", "cancelled"):
        factories.run(status, labels={"tenant": "acme"})
    site.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    site.set_viewport_size({"width": width, "height": 844})
    visit(site, web, "/runs/?label=tenant:acme")
    site.locator("#run-rows input[name=run]").first.check()
    factories.event(factories.run(labels={"tenant": "acme"}), "triggered")
    expect(site.locator(".news")).to_have_text("Show 1 new run")
    results = Axe().run(site)
    assert results.violations_count == 0, results.generate_report()
    assert complaints == []


def test_times_are_in_the_zone_of_the_browser_until_somebody_chooses(
    web: Web, site: Page, context: BrowserContext
) -> None:
    factories.run()
    client = context.browser
    assert client is not None
    abroad = client.new_context(timezone_id="Asia/Tokyo", storage_state=context.storage_state())
    page = abroad.new_page()
    page.goto(f"http://127.0.0.1:{web.port}/runs/")
    expect(page.locator("thead")).to_contain_text("Created, Asia/Tokyo")
    page.locator(".side-foot details", has_text="Times in").locator("summary").click()
    page.get_by_role("button", name="UTC").first.click()
    expect(page.locator("thead")).to_contain_text("Created, UTC")
    abroad.close()
