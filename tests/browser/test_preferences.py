"""Theme and time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page, expect

from tests.browser.people import People
from tests.support.site import Site

BACKGROUND = "getComputedStyle(document.documentElement).backgroundColor"


def test_a_theme_is_kept_and_wins_over_the_systems(page: Page, people: People) -> None:
    page.goto("/runs/")
    light = page.evaluate(BACKGROUND)
    page.get_by_role("button", name="Dark").click()
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    dark = page.evaluate(BACKGROUND)
    assert dark != light
    page.goto("/jobs/")
    assert page.evaluate(BACKGROUND) == dark
    page.get_by_role("button", name="As the system").click()
    expect(page.get_by_role("button", name="As the system")).to_have_attribute(
        "aria-pressed", "true"
    )
    assert page.evaluate(BACKGROUND) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(BACKGROUND) == dark


def test_times_are_those_of_the_browser_until_somebody_chooses(people: People, site: Site) -> None:
    run = site.script("x")
    site.await_idle()
    run.refresh_from_db()
    assert run.created_at is not None
    here = run.created_at.astimezone(UTC)
    there = here + timedelta(hours=9)
    page = people.open("operator", "/runs/", zone=None, timezone_id="Asia/Tokyo")
    created = page.locator(f"#run-{run.pk} time")
    expect(page.get_by_role("columnheader", name="Created, Asia/Tokyo")).to_be_visible()
    expect(created).to_have_text(clock(there))
    page.get_by_text("Times in Asia/Tokyo").click()
    page.get_by_role("button", name="UTC").locator("visible=true").click()
    expect(page.get_by_role("columnheader", name="Created, UTC")).to_be_visible()
    expect(created).to_have_text(clock(here))
    page.reload()
    expect(created).to_have_text(clock(here))


def clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"
