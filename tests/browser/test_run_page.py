"""The page of a run, while the run goes on and afterwards."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, Route, expect

from runs.models import Run
from tests.browser.people import People
from tests.support.browserapp.jobs import Part
from tests.support.site import Site


def open_run(page: Page, run: Run) -> None:
    page.goto(f"/runs/{run.pk}/")


def live(page: Page) -> Locator:
    return page.locator("[data-live-button]")


def mark(page: Page) -> None:
    """Leave a mark that a reload would remove."""
    page.evaluate("window.marked = true")


def is_marked(page: Page) -> bool:
    return bool(page.evaluate("window.marked === true"))


def gated(site: Site, *names: str) -> Run:
    """A running run; each of these steps waits for the gate of its name."""
    parts = [Part(name=name, waits_for=name, log=[f"{name} begins"]) for name in names]
    run = site.script(*parts)
    site.await_status("running", run)
    return run


def test_progress_steps_and_log_move_without_a_reload(page: Page, site: Site) -> None:
    run = gated(site, "first", "second", "third", "fourth")
    open_run(page, run)
    expect(page.locator(".log")).to_contain_text("first begins")
    expect(live(page)).to_contain_text("Live")
    mark(page)
    site.open("first")
    expect(page.locator(".log")).to_contain_text("second begins")
    expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("value", "1")
    expect(page.get_by_text("first is done")).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("^first, completed"))).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("^second, running"))).to_be_visible()
    site.open("every")
    expect(page.locator(".head .badge")).to_have_text("Completed")
    expect(page.locator(".log li[class^=l-]")).to_have_count(4)
    expect(page.get_by_role("button", name="Run again")).to_be_visible()
    assert is_marked(page)


def test_what_somebody_opened_typed_and_selected_survives_updates(page: Page, site: Site) -> None:
    run = gated(site, "first", "second", "third")
    open_run(page, run)
    expect(live(page)).to_contain_text("Live")
    page.get_by_text("Cancel…").click()
    reason = page.get_by_label("Reason")
    reason.press_sequentially("Not needed")
    reason.evaluate("field => field.setSelectionRange(0, 3)")
    site.open("first")
    expect(page.get_by_role("link", name=re.compile("^second, running"))).to_be_visible()
    expect(page.locator(".log")).to_contain_text("second begins")
    expect(reason).to_be_visible()
    expect(reason).to_have_value("Not needed")
    expect(reason).to_be_focused()
    assert page.evaluate(
        "[document.activeElement.selectionStart, document.activeElement.selectionEnd]"
    ) == [0, 3]
    page.keyboard.press("Escape")
    expect(reason).to_be_hidden()
    expect(page.locator("#cancel summary")).to_be_focused()


def test_selected_text_survives_updates(page: Page, site: Site) -> None:
    run = gated(site, "first", "second", "third")
    open_run(page, run)
    expect(page.locator(".log")).to_contain_text("first begins")
    expect(live(page)).to_contain_text("Live")
    page.locator("#full-id").click(click_count=3)
    selected = "document.getSelection().toString().trim()"
    assert str(run.pk) in page.evaluate(selected)
    site.open("first")
    expect(page.locator(".log")).to_contain_text("second begins")
    expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("value", "1")
    assert str(run.pk) in page.evaluate(selected)


def test_the_page_reconnects_to_a_restarted_server_and_misses_nothing(
    page: Page, site: Site, people: People
) -> None:
    people.expect("ERR_CONNECTION_|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|Console error: htmx:")
    run = gated(site, "first", "second", "third")
    open_run(page, run)
    expect(live(page)).to_contain_text("Live")
    mark(page)
    site.web.kill()
    expect(live(page)).to_contain_text("Reconnecting")
    site.open("first")
    site.open("second")
    site.await_log(run, "third begins")
    site.restart_web()
    expect(live(page)).to_contain_text("Live", timeout=20_000)
    for text in ("first begins", "second begins", "third begins"):
        expect(page.locator(".log").get_by_text(text)).to_have_count(1)
    expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("value", "2")
    site.open("third")
    expect(page.locator(".head .badge")).to_have_text("Completed")
    assert is_marked(page)


def test_paused_updates_wait_until_they_are_resumed(page: Page, site: Site) -> None:
    run = gated(site, "first", "second")
    open_run(page, run)
    expect(live(page)).to_contain_text("Live")
    live(page).click()
    expect(live(page)).to_contain_text("Paused")
    site.open("first")
    site.await_log(run, "second begins")
    expect(page.locator(".log")).not_to_contain_text("second begins")
    page.keyboard.press("l")
    expect(live(page)).to_contain_text("Live")
    expect(page.locator(".log")).to_contain_text("second begins")


def test_a_step_is_opened_by_its_address(page: Page, site: Site) -> None:
    parts = [
        Part(name="read", result={"rows": [1, 2, 3]}, log=["reading"]),
        Part(name="check", warnings=["looks odd"], fails="Row 3 is odd", always=True),
    ]
    run = site.script(*parts)
    site.await_status("failed", run)
    open_run(page, run)
    page.get_by_role("link", name=re.compile("^read, completed")).click()
    expect(page).to_have_url(re.compile(r"[?&]step=read"))
    panel = page.locator("#run-step")
    expect(panel).to_contain_text("rows")
    expect(panel.get_by_role("list", name="Log of read")).to_contain_text("reading")
    page.goto(f"/runs/{run.pk}/?step=check")
    expect(panel).to_contain_text("Row 3 is odd")
    expect(panel.get_by_label("Traceback of the step")).to_contain_text("raise DeclinedError")
    panel.get_by_role("link", name="Close step").click()
    expect(panel).to_be_empty()


def test_the_log_is_searched_on_the_server_and_downloaded(page: Page, site: Site) -> None:
    noisy = Part(name="noisy", log=[f"line {n}" for n in range(700)], warnings=["a needle"])
    run = site.script(noisy)
    site.await_status("completed", run)
    open_run(page, run)
    lines = page.locator(".log li[class^=l-]")
    expect(page.locator(".log")).to_contain_text("a needle")
    shown = lines.count()
    assert shown < 701
    page.get_by_role("link", name="Load earlier lines").click()
    expect(lines).not_to_have_count(shown)
    page.get_by_role("group", name="Level").get_by_role("link", name=re.compile("Warn")).click()
    expect(lines).to_have_count(1)
    page.goto(f"/runs/{run.pk}/")
    page.get_by_label("Search the log").fill("line 12")
    page.keyboard.press("Enter")
    expect(lines).to_have_count(11)  # line 12, line 120 to line 129
    page.get_by_label("Download the log").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="As text").click()
    assert "a needle" in download.value.path().read_text()


def test_a_waiting_run_says_why(page: Page, site: Site) -> None:
    holder = site.script(Part(name="hold", waits_for="key"), concurrency_key="tenant-7")
    site.await_status("running", holder)
    waiter = site.script("work", concurrency_key="tenant-7")
    open_run(page, waiter)
    why = page.get_by_role("region", name="Why is it waiting?")
    expect(why).to_contain_text("Another run holds the key tenant-7")
    expect(why.get_by_role("link", name=str(holder.pk)[-4:]).first).to_be_visible()
    site.open("key")
    expect(page.locator(".head .badge")).to_have_text("Completed")
    expect(why).to_have_count(0)


def test_an_answer_under_way_does_not_end_a_pause(page: Page, site: Site) -> None:
    run = gated(site, "first", "second")
    open_run(page, run)
    expect(live(page)).to_contain_text("Live")
    held: list[Route] = []
    fragments = re.compile(r"/runs/[^/]+/(live|log)/")
    paused = False

    def hold(route: Route) -> None:
        if paused:
            route.continue_()
        else:
            held.append(route)

    page.route(fragments, hold)
    with page.expect_request(fragments):
        site.open("first")
    live(page).click()
    expect(live(page)).to_contain_text("Paused")
    site.await_log(run, "second begins")
    paused = True
    for route in held:
        route.continue_()
    expect(
        page.get_by_text("second begins").or_(page.get_by_text("first is done")).first
    ).to_be_visible()
    expect(live(page)).to_contain_text("Paused")
