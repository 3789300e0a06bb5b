"""Who may not do something sees no button for it, and is refused all the same."""

from __future__ import annotations

from playwright.sync_api import expect

from runs.models import Run
from tests.browser.people import People
from tests.support.browserapp.jobs import Part
from tests.support.site import Site


def test_who_may_only_look_has_nothing_to_press(people: People, site: Site) -> None:
    failed = site.script(Part(name="x", fails="no"))
    running = site.script(Part(name="x", waits_for="never"))
    site.await_status("failed", failed)
    site.await_status("running", running)
    site.count()
    page = people.open("viewer")
    words = ("Retry", "Run again", "Cancel", "Delete", "Trigger", "Pause", "Resume", "Abort")
    group = f"/failures/{failed_group(failed)}/"
    for path in (
        f"/runs/{failed.pk}/",
        f"/runs/{running.pk}/",
        "/runs/",
        "/jobs/scripted/",
        "/failures/",
        group,
        "/workers/",
        "/bulk/",
        "/",
    ):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        for word in words:
            assert page.locator(f"main button:has-text('{word}')").count() == 0, (path, word)
            assert page.locator(f"main summary:has-text('{word}')").count() == 0, (path, word)
        assert page.locator("main input[name=run]").count() == 0
    page.goto("/jobs/scripted/")
    expect(page.get_by_text("Your account may not trigger runs")).to_be_visible()


def failed_group(run: Run) -> str:
    run.refresh_from_db()
    return run.error_fingerprint or ""


def test_the_server_refuses_who_may_only_look(people: People, site: Site) -> None:
    run = site.script(Part(name="x", fails="no"))
    site.await_status("failed", run)
    page = people.open("viewer", "/runs/")
    token = page.locator("[name=csrfmiddlewaretoken]").first.input_value()
    orders = [
        (f"/runs/{run.pk}/", {"do": "retry"}),
        (f"/runs/{run.pk}/", {"do": "retrigger"}),
        (f"/runs/{run.pk}/", {"do": "cancel"}),
        (f"/runs/{run.pk}/", {"do": "delete"}),
        ("/jobs/scripted/", {"input": "{}", "as": ""}),
        ("/jobs/scripted/", {"do": "pause"}),
        ("/bulk/", {"do": "retry", "run": str(run.pk)}),
        ("/bulk/", {"do": "delete", "run": str(run.pk), "confirm": "1"}),
    ]
    for path, form in orders:
        answer = page.request.post(path, form={**form, "csrfmiddlewaretoken": token})
        assert answer.status == 403, (path, form)
        assert "may not" in answer.text()
    assert Run.objects.get().status == "failed"


def test_who_may_not_even_look_is_told_so(people: People, site: Site) -> None:
    people.expect("status of 403")
    page = people.open("stranger", "/runs/")
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    expect(page.get_by_text("stranger may not see runs")).to_be_visible()
