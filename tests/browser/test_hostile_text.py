"""Text that looks like markup stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

import runs
from runs.models import ApiToken, Run
from tests.access.people import token
from tests.browser.people import IMAGE, SCRIPT, People
from tests.pages import factories
from tests.support.browserapp.jobs import Part
from tests.support.site import Site


def look(page: Page, path: str, *texts: str) -> None:
    """Open a page; the texts are in it as they are, and none of them did anything."""
    page.goto(path)
    for text in texts:
        expect(page.locator("main")).to_contain_text(text)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("[...document.scripts].every(script => script.src)")


def test_nothing_that_a_run_holds_becomes_markup(page: Page, site: Site) -> None:
    parts = [
        Part(name=f"a{SCRIPT}", log=[f"log {SCRIPT}", f"log {IMAGE}"], result={IMAGE: SCRIPT}),
        Part(name=f"b{IMAGE}", fails=f"error {SCRIPT} {IMAGE}", always=True),
    ]
    run = site.script(*parts, order=IMAGE, labels={"tenant": IMAGE, "script": SCRIPT})
    done = site.script("c", output={SCRIPT: IMAGE}, concurrency_key=IMAGE, idempotency_key=SCRIPT)
    site.await_idle()
    site.count()
    here = f"/runs/{run.pk}/"
    look(page, here, SCRIPT, IMAGE, f"error {SCRIPT} {IMAGE}", f"log {IMAGE}", f"tenant:{IMAGE}")
    page.get_by_role("link", name=re.compile("^a<script>.*completed")).click()
    expect(page.locator("#run-step")).to_contain_text(IMAGE)
    look(page, page.url, SCRIPT)
    look(page, f"{here}?steps=table", SCRIPT, IMAGE)
    look(page, f"{here}?step={IMAGE}&log={SCRIPT}&level={SCRIPT}")
    look(page, f"/runs/{done.pk}/", SCRIPT, IMAGE)
    look(page, "/runs/", f"tenant:{IMAGE}", f"error {SCRIPT}")
    page.goto("/runs/")
    page.get_by_label("Search these runs").fill(IMAGE)
    page.keyboard.press("Enter")
    expect(page.locator(f"#run-{run.pk}")).to_be_visible()
    expect(page.get_by_label("Search these runs")).to_have_value(IMAGE)
    look(page, page.url, IMAGE)
    look(page, "/failures/", "error <script>")
    page.get_by_role("row", name=re.compile("DeclinedError")).get_by_role("link").first.click()
    look(page, page.url, f"error {SCRIPT} {IMAGE}", f"b{IMAGE}")
    look(page, "/")
    look(page, "/jobs/scripted/?from=" + str(run.pk), IMAGE)


def test_what_people_write_stays_text(page: Page, site: Site) -> None:
    page.goto("/jobs/scripted/")
    page.get_by_text("Pause…").click()
    page.get_by_label("Reason").fill(IMAGE)
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_text("Paused by operator")).to_contain_text(IMAGE)
    run = site.script("x")
    look(page, f"/runs/{run.pk}/", IMAGE)
    runs.cancel(run, actor=SCRIPT, reason=IMAGE)
    look(page, f"/runs/{run.pk}/", IMAGE, SCRIPT)
    look(page, "/jobs/", "scripted")
    look(page, "/", IMAGE)


def test_the_name_of_an_uploaded_file_stays_text(page: Page, site: Site, tmp_path: Path) -> None:
    name = 'x"><img src=x onerror="window.hacked=1">.csv'
    (tmp_path / name).write_text("a,b\n1,2\n")
    page.goto("/jobs/import-csv/")
    page.get_by_label("file", exact=True).set_input_files(tmp_path / name)
    page.locator("#trigger").get_by_role("button", name="Trigger").last.click()
    expect(page.locator(".head .badge")).to_have_text("Completed")
    stored = Run.objects.get().input["file"]  # Chromium sends quotes encoded
    safe = r"x_22__img_src_x_onerror__22window\.hacked_1_22_\.csv"
    assert re.fullmatch(rf"uploads/[\d-]+/[0-9a-f]{{12}}-{safe}", stored)
    look(page, page.url, stored)


@pytest.fixture
def root(site: Site, people: People) -> Iterator[Page]:
    """A page of somebody who may do everything, also in the admin, and whose name is hostile."""
    user, _ = User.objects.update_or_create(
        username=f"root {IMAGE}", defaults={"is_staff": True, "is_superuser": True}
    )
    site.people["root"] = user
    yield people.open("root")
    del site.people["root"]
    ApiToken.objects.all().delete()
    user.delete()


def hostile_run() -> Run:
    """A failed run that says it in every way."""
    run = factories.failed_run(
        job="scripted", labels={"tenant": IMAGE}, triggered_by=SCRIPT, input={IMAGE: SCRIPT},
        error_type=IMAGE, error_message=SCRIPT, error_step=IMAGE, error_traceback=SCRIPT,
        progress={"current": 1, "total": 2, "message": IMAGE}, concurrency_key=IMAGE,
        idempotency_key=SCRIPT, output={SCRIPT: IMAGE},
    )  # fmt: skip
    factories.step(run, IMAGE, output={IMAGE: SCRIPT})
    factories.log(run, SCRIPT, step=IMAGE, level="error", data={IMAGE: SCRIPT})
    factories.event(run, "failed", actor=IMAGE, reason=SCRIPT, data={"type": IMAGE})
    return run


def test_the_admin_shows_it_as_text(root: Page) -> None:
    run = hostile_run()
    row, _ = token(IMAGE, labels={"a": SCRIPT}, actor=SCRIPT)
    for name, found, texts in (
        ("run", run, (SCRIPT, f"tenant:{IMAGE}", IMAGE)),
        ("step", run.steps.get(), (IMAGE,)),
        ("logentry", run.logs.get(), (SCRIPT,)),
        ("runevent", run.events.get(), (IMAGE, SCRIPT)),
        ("label", run.label_rows.get(), (IMAGE,)),
        ("apitoken", row, (IMAGE, SCRIPT)),
    ):
        look(root, f"/admin/runs/{name}/?{urlencode({'q': IMAGE})}")
        look(root, f"/admin/runs/{name}/{found.pk}/change/", *texts)
    root.goto("/admin/runs/run/")
    expect(root.locator("#user-tools")).to_contain_text(f"root {IMAGE}")
    root.get_by_role("checkbox").nth(1).check()
    root.get_by_label("Action:").select_option("Retry")
    root.get_by_role("button", name="Go", exact=True).click()
    expect(root.locator(".messagelist")).to_be_visible()
    assert root.evaluate("window.hacked") is None


def test_what_can_be_downloaded_is_saved_and_never_shown(page: Page, site: Site) -> None:
    run = hostile_run()
    page.goto(f"/runs/{run.pk}/")
    for path in (
        "input.json", f"step.json?{urlencode({'name': IMAGE})}", "log/?as=txt", "log/?as=jsonl",
    ):  # fmt: skip
        with page.expect_download() as saved:
            page.evaluate("where => { location.href = where }", f"/runs/{run.pk}/{path}")
        assert re.fullmatch(r"[\w.-]+\.(json|txt|jsonl)", saved.value.suggested_filename)
        assert SCRIPT in Path(saved.value.path()).read_text().replace('\\"', '"')
    assert page.evaluate("window.hacked") is None


def test_names_of_tokens_and_what_was_searched_for_stay_text(page: Page, site: Site) -> None:
    hostile_run()
    row, _ = token(IMAGE[:100], user=site.people["operator"])
    try:
        look(page, "/tokens/", row.name)
        look(page, f"/failures/?{urlencode({'q': IMAGE, 'job': SCRIPT, 'seen': 'all'})}", SCRIPT)
        filters = {"job": SCRIPT, "label": f"a:{IMAGE}", "q": IMAGE}
        look(page, f"/runs/?{urlencode(filters)}", SCRIPT, f"a:{IMAGE}")
    finally:
        row.delete()
