"""The documentation of the API, under the same content security policy as every page."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from runs.models import Run
from tests.browser.people import People
from tests.support.site import Site


def test_the_api_s_documentation_needs_nothing_from_elsewhere(people: People, site: Site) -> None:
    page = people.open(None, "/")
    hosts = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto("/api/docs")
    expect(page.get_by_text("Trigger a run", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Durably for Django")).to_be_visible()
    assert hosts - {""} == {urlsplit(site.url).netloc}  # data: addresses have no host


def test_a_signed_in_person_can_try_the_api_there(page: Page) -> None:
    page.goto("/api/docs")
    operation = page.locator("#operations-jobs-trigger_job")
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_placeholder("name").fill("process-order")
    operation.get_by_role("textbox").last.fill('{"input": {"order_id": "order_1"}}')
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text('"disposition": "created"')
    assert Run.objects.get().triggered_by == "operator"
