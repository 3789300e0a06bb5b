"""Signing in and out."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from runs.dashboard.signin import one_time_path
from tests.browser import accessible
from tests.browser.people import People
from tests.support.site import PASSWORD, Site


def test_who_signs_in_comes_to_the_page_that_was_asked_for(people: People) -> None:
    page = people.open(None, "/jobs/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("User name").fill("operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/jobs/$"))
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()


def test_a_wrong_password_is_refused_and_the_name_kept(people: People) -> None:
    page = people.open(None, "/")
    page.get_by_label("User name").fill("operator")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("correct")
    expect(page.get_by_label("User name")).to_have_value("operator")
    expect(page.get_by_label("Password")).to_have_value("")


def test_a_one_time_link_signs_in_once(people: People, site: Site) -> None:
    site.people["operator"].refresh_from_db()
    path = one_time_path(site.people["operator"])
    page = people.open(None, path)
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()
    again = people.open(None, path)
    expect(again.get_by_role("alert")).to_contain_text("used up")
    expect(again.get_by_label("Password")).to_be_visible()


def test_who_signs_out_sees_nothing_any_more(people: People) -> None:
    page = people.open("operator", "/runs/")
    page.get_by_label("Account of operator").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/runs/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def guess(page: Page) -> None:
    """Send the form with a password that is wrong."""
    page.get_by_label("User name").fill("mallory")
    page.get_by_label("Password").fill("guess")
    page.get_by_role("button", name="Sign in").click()


def test_who_guesses_is_told_how_long_to_wait_also_without_scripts(people: People) -> None:
    people.expect("status of 429")
    page = people.open(None, "/login/", java_script_enabled=False)
    for _ in range(5):
        guess(page)
    expect(page.get_by_role("heading", name="Too many attempts")).to_be_visible()
    expect(page.get_by_text("Try again in 15 minutes")).to_be_visible()
    page.get_by_role("link", name="Back to sign in").click()
    scripted = people.open(None, "/login/")
    guess(scripted)
    expect(scripted.get_by_role("heading", name="Too many attempts")).to_be_visible()
    accessible.check(scripted)


def test_one_changes_the_own_password_from_the_menu(people: People, site: Site) -> None:
    page = people.open("viewer", "/runs/")
    page.get_by_label("Account of viewer").click()
    page.get_by_role("link", name="Change password").click()
    accessible.check(page)
    page.get_by_label("Old password").fill("wrong")
    page.get_by_label("New password", exact=True).fill("x")
    page.get_by_label("New password confirmation").fill("x")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("incorrectly")).to_be_visible()
    accessible.check(page)
