"""The page of a job: its form, its pause, its figures."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

import runs
from runs.models import Run
from tests.browser.people import People
from tests.support.site import Site

FORM = "/jobs/send-parcel/"


def send(page: Page) -> None:
    page.locator("#trigger").get_by_role("button", name="Trigger", exact=True).last.click()


def fill(page: Page) -> None:
    """All that a parcel needs."""
    page.get_by_label("recipient", exact=True).fill("Ada Lovelace")
    page.get_by_label("street").locator("visible=true").first.fill("Main Street 1")
    page.get_by_label(re.compile("^sku")).first.fill("AB-12")
    page.get_by_label(re.compile("^send_on")).fill("2026-12-24")


def test_a_form_of_every_kind_of_field_starts_a_run(page: Page, site: Site, tmp_path: Path) -> None:
    (tmp_path / "slip.txt").write_text("Handle with care")
    page.goto(FORM)
    fill(page)
    items = page.get_by_role("group", name=re.compile("^items"))
    items.get_by_role("button", name="Add a row").click()
    expect(page.get_by_label(re.compile("^sku"))).to_have_count(2)
    expect(page.get_by_label(re.compile("^sku")).first).to_have_value("AB-12")
    page.get_by_label(re.compile("^sku")).last.fill("XY-9")
    page.get_by_label(re.compile("^quantity")).last.fill("3")
    page.get_by_label("speed").select_option("fast")
    page.get_by_label("insured").check()
    page.get_by_label(re.compile("^slip")).set_input_files(tmp_path / "slip.txt")
    page.get_by_text("Labels, keys, time").click()
    page.get_by_label(re.compile("^Labels")).fill("tenant:acme\nteam:post")
    send(page)
    expect(page.locator(".head .badge")).to_have_text("Completed")
    run = Run.objects.get()
    assert run.labels == {"tenant": "acme", "team": "post"}
    slip = run.input.pop("slip")
    assert slip.endswith("slip.txt")
    assert run.input == {
        "recipient": "Ada Lovelace",
        "address": {"street": "Main Street 1", "city": "Bern"},
        "items": [{"sku": "AB-12", "quantity": 1}, {"sku": "XY-9", "quantity": 3}],
        "speed": "fast",
        "kind": "box",
        "send_on": "2026-12-24",
        "not_before": None,
        "weight": 1.5,
        "insured": True,
        "note": None,
        "return_to": None,
        "extra": {},
    }


def test_errors_stand_at_their_fields_and_nothing_typed_is_lost(people: People) -> None:
    people.expect("status of 400")
    page = people.open("operator", FORM)
    fill(page)
    sku = page.get_by_label(re.compile("^sku")).first
    sku.fill("wrong")
    weight = page.get_by_label(re.compile("^weight"))
    weight.fill("-2")
    page.get_by_text("Labels, keys, time").click()
    page.get_by_label(re.compile("^Labels")).fill("no label")
    send(page)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Nothing was triggered")
    for field in (sku, weight, page.get_by_label(re.compile("^Labels"))):
        expect(field).to_have_attribute("aria-invalid", "true")
    described = sku.get_attribute("aria-describedby")
    expect(page.locator(f"[id='{described}']")).to_contain_text("pattern")
    expect(page.get_by_label("recipient", exact=True)).to_have_value("Ada Lovelace")
    expect(sku).to_have_value("wrong")
    expect(page.get_by_label(re.compile("^Labels"))).to_have_value("no label")
    assert not Run.objects.exists()
    sku.fill("AB-1")
    weight.fill("2")
    page.get_by_label(re.compile("^Labels")).fill("")
    send(page)
    expect(page.locator(".head .badge")).to_have_text("Completed")


def test_form_and_json_are_two_views_of_one_input(page: Page, site: Site) -> None:
    page.goto(FORM)
    fill(page)
    page.get_by_text("Labels, keys, time").click()
    page.get_by_label(re.compile("^Labels")).fill("tenant:acme")
    page.get_by_role("button", name="JSON", exact=True).click()
    text = page.get_by_label("Input JSON")
    expect(text).to_have_value(re.compile('"recipient": "Ada Lovelace"'))
    expect(page.get_by_label(re.compile("^Labels"))).to_have_value("tenant:acme")
    text.fill(text.input_value().replace("Ada Lovelace", "Grace Hopper"))
    page.get_by_role("button", name="Form", exact=True).click()
    expect(page.get_by_label("recipient", exact=True)).to_have_value("Grace Hopper")
    expect(page.get_by_label(re.compile("^sku")).first).to_have_value("AB-12")
    send(page)
    expect(page.locator(".head .badge")).to_have_text("Completed")
    assert Run.objects.get().input["recipient"] == "Grace Hopper"


def test_json_that_is_none_is_kept_and_explained(people: People) -> None:
    people.expect("status of 400")
    page = people.open("operator", FORM)
    page.get_by_role("button", name="JSON", exact=True).click()
    text = page.get_by_label("Input JSON")
    text.fill('{"recipient": ')
    send(page)
    expect(page.get_by_role("alert")).to_contain_text("Nothing was triggered")
    expect(text).to_have_value('{"recipient": ')
    expect(text).to_have_attribute("aria-invalid", "true")


def test_enter_in_a_field_triggers_and_adds_no_row(page: Page, site: Site) -> None:
    page.goto(FORM)
    fill(page)
    page.get_by_label("recipient", exact=True).press("Enter")
    expect(page.locator(".head .badge")).to_have_text("Completed")
    assert len(Run.objects.get().input["items"]) == 1


def test_a_paused_job_waits_until_it_is_resumed(page: Page, site: Site) -> None:
    page.goto("/jobs/scripted/")
    page.get_by_text("Pause…").click()
    page.get_by_label("Reason").fill("The bank is down")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_text("Paused by operator")).to_contain_text("The bank is down")
    run = site.script("x")
    page.goto(f"/runs/{run.pk}/")
    why = page.get_by_role("region", name="Why is it waiting?")
    expect(why).to_contain_text("The bank is down")
    expect(why).to_contain_text("operator")
    assert site.status(run) == "pending"
    page.goto("/")
    expect(page.get_by_role("region", name="Needs a person")).to_contain_text("scripted")
    page.goto("/jobs/scripted/")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Paused by operator")).to_be_hidden()
    site.await_status("completed", run)


def test_the_plot_and_figures_follow_new_runs(page: Page, site: Site) -> None:
    first = site.script("x")
    site.await_idle()
    page.goto("/jobs/scripted/")
    expect(page.locator("[data-live-button]")).to_contain_text("Live")
    page.locator(f"svg.plot a[href*='{first.pk}']").wait_for(state="attached")
    second = site.script("x")
    page.locator(f"svg.plot a[href*='{second.pk}']").wait_for(state="attached")
    page.get_by_text("as a table").click()
    expect(page.get_by_role("region", name="Durations").locator("tbody tr")).to_have_count(2)


def test_the_form_is_filled_from_the_last_run(page: Page, site: Site) -> None:
    runs.trigger("process-order", {"order_id": "order_77"})
    page.goto("/jobs/process-order/")
    page.get_by_role("link", name="Fill from the last run").click()
    expect(page.get_by_label("order_id")).to_have_value("order_77")
