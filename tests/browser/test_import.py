"""Importing a file of one's own."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from jobs.models import ImportedRow
from runs.models import Run
from tests.browser.people import People
from tests.support.site import Site

ROWS = 20_000


def write_csv(path: Path, rows: int) -> Path:
    """Orders; row 10 has a cell too few."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["order", "city", "total"])
        for number in range(1, rows + 1):
            row = [f"order_{number}", "Zürich", number * 5]
            writer.writerow(row[:2] if number == 10 else row)
    return path


def test_an_uploaded_file_is_imported_under_the_operators_eyes(
    page: Page, site: Site, tmp_path: Path
) -> None:
    page.goto("/jobs/import-csv/")
    page.get_by_label("file", exact=True).set_input_files(write_csv(tmp_path / "orders.csv", ROWS))
    page.get_by_label("batch_size").fill("50")
    page.locator("#trigger").get_by_role("button", name="Trigger").last.click()
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}/"))
    page.evaluate("window.marked = true")
    # What the bar says, as it goes.
    page.evaluate(
        """() => {
            window.seen = new Set();
            window.watch = setInterval(() => {
                const bar = document.querySelector("#run-top progress");
                if (bar?.hasAttribute("value")) window.seen.add(bar.value);
            }, 20);
        }"""
    )
    expect(page.locator(".head .badge")).to_have_text("Completed", timeout=30_000)
    bar = page.get_by_role("progressbar", name="Progress")
    assert bar.get_attribute("value") == bar.get_attribute("max")
    values = page.evaluate("[...window.seen]")
    assert len(values) >= 2
    assert values == sorted(values)
    assert page.evaluate("window.marked")
    expect(page.locator("#output")).to_contain_text(f"rows_imported: {ROWS - 1}")
    expect(page.locator(".log")).to_contain_text("Line 11 skipped")
    assert ImportedRow.objects.filter(run_id=Run.objects.get().pk).count() == ROWS - 1


def test_a_file_that_is_no_csv_fails_with_a_plain_sentence(
    page: Page, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "picture.csv").write_bytes(bytes(range(256)) * 20)
    page.goto("/jobs/import-csv/")
    page.get_by_label("file", exact=True).set_input_files(tmp_path / "picture.csv")
    page.locator("#trigger").get_by_role("button", name="Trigger").last.click()
    expect(page.locator(".head .badge")).to_have_text("Failed")
    expect(page.get_by_role("region", name="Error")).to_contain_text("picture.csv")


def test_a_trigger_without_a_file_is_refused_at_the_field(people: People) -> None:
    people.expect("status of 400")
    page = people.open("operator", "/jobs/import-csv/")
    page.locator("#trigger").get_by_role("button", name="Trigger").last.click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was triggered")
    expect(page.get_by_label("file", exact=True)).to_have_attribute("aria-invalid", "true")
    assert not Run.objects.exists()
