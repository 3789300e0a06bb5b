"""The original engine's React client, unmodified from the npm registry, against this server.

Every hook in Chromium, with a real web process and worker, under the product's own
Content-Security-Policy. Whatever the console says fails a test (see ``people``).
"""

from __future__ import annotations

import json
import re
import subprocess
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from runs import cancel, get_job, retry
from runs.models import Run, RunEvent
from tests import services
from tests.browser.people import People
from tests.support import react
from tests.support.browserapp.jobs import Part, Script
from tests.support.site import Site


@pytest.fixture(scope="module", autouse=True)
def app() -> None:
    """The app, built and served."""
    try:
        react.build()
    except services.Missing as missing:
        services.skip_or_fail(missing)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}\n{error.stderr}")


def open_app(page: Page, show: str, **query: Any) -> None:
    page.goto(f"/react/index.html?{urlencode({'show': show, **query})}")


def script(*parts: Part, output: Any = None) -> str:
    """Input of the job ``scripted``."""
    return Script(parts=list(parts), output=output).model_dump_json()


def shows(page: Page, name: str, **texts: str) -> None:
    """Expect what a hook says."""
    for key, text in texts.items():
        expect(page.get_by_label(name, exact=True).locator(f".{key}")).to_have_text(text)


def lines(page: Page, name: str = "job") -> Locator:
    return page.get_by_label(name, exact=True).locator("li")


def current_run(page: Page) -> Run:
    text = page.get_by_label("job", exact=True).locator(".currentRunId")
    expect(text).to_have_text(re.compile("-"))
    return Run.objects.get(pk=text.inner_text())


def trigger(page: Page) -> Run:
    page.get_by_role("button", name="Trigger", exact=True).click()
    return current_run(page)


# useJob


def test_a_run_from_trigger_over_progress_and_log_to_its_output(page: Page, site: Site) -> None:
    first = Part(name="first", log=["first begins"], waits_for="first")
    second = Part(name="second", warnings=["second is slow"], waits_for="second")
    open_app(page, "job", job="scripted", input=script(first, second, output={"rows": 9}))
    shows(page, "job", status="", isActive="false", error="", output="")
    run = trigger(page)
    shows(page, "job", status="leased", isActive="true", isTerminal="false")
    expect(lines(page)).to_have_text(['info first begins {"part":"first"}'])
    site.open("first")
    shows(page, "job", progress='{"current":1,"total":2,"message":"first is done"}')
    expect(lines(page)).to_have_count(2)
    expect(lines(page).last).to_contain_text("warn second is slow")
    site.open("second")
    shows(page, "job", status="completed", isTerminal="true", error="", output='{"rows":9}')
    shows(page, "job", progress='{"current":2,"total":2,"message":"second is done"}')
    expect(lines(page)).to_have_count(2)
    assert run.triggered_by == "operator"


def test_a_failure_shows_its_error(page: Page, site: Site) -> None:
    part = Part(name="pay", log=["asking the bank"], fails="no funds")
    open_app(page, "job", job="scripted", input=script(part))
    trigger(page)
    shows(page, "job", status="failed", isTerminal="true", output="")
    shows(page, "job", error="DeclinedError: no funds (in step pay)")
    expect(lines(page)).to_have_count(1)


def test_a_cancel_from_elsewhere_shows(page: Page, site: Site) -> None:
    open_app(page, "job", job="scripted", input=script(Part(name="wait", waits_for="never")))
    run = trigger(page)
    shows(page, "job", status="leased")
    cancel(run, actor="somebody else")
    shows(page, "job", status="cancelled", isTerminal="true")


@pytest.mark.parametrize(
    ("part", "output", "says"),
    [
        (Part(name="work"), {"rows": 9}, r'resolved: [0-9a-f-]{36} \{"rows":9\}'),
        (Part(name="work", fails="no funds"), None, "rejected: DeclinedError: no funds"),
    ],
)
def test_trigger_and_wait(page: Page, site: Site, part: Part, output: Any, says: str) -> None:
    open_app(page, "job", job="scripted", input=script(part, output=output))
    page.get_by_role("button", name="Trigger and wait").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(says))


def test_a_refused_trigger_says_why(page: Page, people: People) -> None:
    people.expect("400 \\(Bad Request\\)")
    open_app(page, "job", job="scripted", input='{"parts": 7}')
    page.get_by_role("button", name="Trigger", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text('refused: {"error": "Input of scripted')


def test_an_opened_page_resumes_the_run_that_is_under_way(page: Page, site: Site) -> None:
    """And shows the whole of it: its progress and the log from its beginning."""
    parts = [Part(name="first", log=["first begins"]), Part(name="second", waits_for="second")]
    run = site.script(*parts, output="done")
    site.await_log(run, "first begins")
    open_app(page, "job", job="scripted", follow="no")
    shows(page, "job", status="leased", currentRunId=str(run.pk))
    expect(lines(page)).to_have_text([re.compile("first begins")])
    shows(page, "job", progress='{"current":1,"total":2,"message":"first is done"}')
    site.open("second")
    shows(page, "job", status="completed", output='"done"')


def test_an_opened_page_follows_the_latest_run_of_its_job_alone(page: Page, site: Site) -> None:
    with page.expect_response(re.compile("/runs/subscribe")):
        open_app(page, "job", job="scripted", resume="no")
    shows(page, "job", currentRunId="")
    first = site.script(Part(name="first", waits_for="first"))
    shows(page, "job", status="leased", currentRunId=str(first.pk))
    get_job("process-order").trigger({"order_id": "order_1"})
    second = site.script(Part(name="second", waits_for="second"))
    shows(page, "job", status="leased", currentRunId=str(second.pk))


def test_a_page_that_neither_resumes_nor_follows_shows_nothing(page: Page, site: Site) -> None:
    run = site.script(Part(name="first", waits_for="first"))
    site.await_status("running", run)
    open_app(page, "job", job="scripted", resume="no", follow="no", input=script())
    shows(page, "job", status="", currentRunId="")
    assert trigger(page) != run
    shows(page, "job", status="completed")


def test_a_job_is_reached_by_its_key(page: Page, site: Site) -> None:
    """``createDurably({api}).processOrder`` is the job ``process-order``."""
    open_app(page, "order")
    page.get_by_label("Order").fill("order_125")
    page.get_by_role("button", name="Charge").click()
    expect(page.get_by_text("Charged and confirmed.")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("completed")
    expect(page.get_by_role("listitem")).to_have_text(
        ["Starting order processing", "Order confirmed"]
    )
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "4")
    page.get_by_label("Order").fill("order_124")
    page.get_by_role("button", name="Charge").click()
    expect(page.get_by_role("alert")).to_contain_text("The bank declined")
    assert list(Run.objects.values_list("job", flat=True)) == ["process-order"] * 2


# useJobRun and useJobLogs


def test_a_run_that_is_over_is_told_whole_and_then_the_browser_is_quiet(
    page: Page, site: Site
) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    noisy = Part(name="noisy", log=[f"line {number}" for number in range(20)])
    run = site.script(noisy, output=[1, 2])
    site.await_status("completed", run)
    open_app(page, "run", run=run.pk)
    shows(page, "run", status="completed", output="[1,2]", error="", isTerminal="true")
    expect(lines(page, "run")).to_have_count(20)
    expect(page.locator("#last-lines li")).to_have_text(
        [re.compile(f"line {number} ") for number in range(15, 20)]
    )
    expect(page.locator(".called")).to_have_text("start complete")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#last-lines li")).to_have_count(0)
    count = len(requests)
    page.wait_for_timeout(4_000)  # a browser left to itself would have come back after three
    assert len(requests) == count
    shows(page, "run", error="")


def test_a_run_is_followed_through_a_lost_connection_without_repeating_its_log(
    page: Page, site: Site, people: People
) -> None:
    people.expect("ERR_CONNECTION_|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE")
    parts = [
        Part(name=name, log=[f"{name} begins"], waits_for=name) for name in ("first", "second")
    ]
    run = site.script(*parts, output="done")
    open_app(page, "run", run=run.pk)
    expect(lines(page, "run")).to_have_count(1)
    site.web.kill()
    site.open("first")
    site.await_log(run, "second begins")
    site.restart_web()
    expect(lines(page, "run")).to_have_count(2, timeout=15_000)
    site.open("second")
    shows(page, "run", status="completed", output='"done"', error="")
    expect(lines(page, "run")).to_have_count(2)


def test_a_run_that_fails_before_our_eyes(page: Page, site: Site) -> None:
    run = site.script(Part(name="pay", fails="no funds", waits_for="bank"))
    open_app(page, "run", run=run.pk)
    shows(page, "run", status="leased")
    site.open("bank")
    shows(page, "run", status="failed", error="DeclinedError: no funds (in step pay)")
    expect(page.locator(".called")).to_have_text("start fail")


# useRuns and useRunActions


def row(page: Page, run: Run) -> Locator:
    return page.locator(f"[data-run='{run.pk}']")


def test_the_list_moves_with_its_runs(page: Page, site: Site) -> None:
    open_app(page, "list", job="scripted")
    expect(page.get_by_role("listitem")).to_have_count(0)
    run = site.script(Part(name="first", waits_for="first"), Part(name="last", waits_for="last"))
    expect(row(page, run).locator(".status")).to_have_text("leased")
    site.open("first")
    expect(row(page, run).locator(".steps")).to_have_text("1")
    expect(row(page, run).locator(".progress")).to_have_text("first is done")
    site.open("last")
    expect(row(page, run).locator(".status")).to_have_text("completed")
    expect(row(page, run).locator(".steps")).to_have_text("2")


def test_runs_are_cancelled_repeated_and_deleted_from_the_list(
    page: Page, site: Site, people: People
) -> None:
    people.expect("409 \\(Conflict\\)")
    run = site.script(Part(name="wait", waits_for="never"))
    open_app(page, "list", job="scripted")
    expect(row(page, run).locator(".status")).to_have_text("leased")
    row(page, run).get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("can't be deleted")
    row(page, run).get_by_role("button", name="Cancel").click()
    expect(row(page, run).locator(".status")).to_have_text("cancelled")
    site.await_released(run)
    site.open("never")
    row(page, run).get_by_role("button", name="Run again").click()
    expect(page.get_by_role("listitem")).to_have_count(2)
    expect(page.get_by_role("listitem").first.locator(".status")).to_have_text("completed")
    copy = Run.objects.get(source_id=run.pk)
    row(page, run).get_by_role("button", name="Delete").click()
    expect(row(page, run)).to_have_count(0)
    expect(row(page, copy)).to_have_count(1)
    assert not Run.objects.filter(pk=run.pk).exists()


def test_pages_of_the_list(page: Page, site: Site) -> None:
    runs = [site.script() for _ in range(7)]
    site.await_status("completed", *runs)
    # Or the list is asked for twice; and the client takes a late answer for that of its new page.
    RunEvent.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    open_app(page, "list", job="scripted")
    newer, older = (page.get_by_role("button", name=name) for name in ("Newer", "Older"))

    def expect_page(number: int, *found: Run) -> None:
        expect(page.locator(".page")).to_have_text(f"Page {number}")
        expect(page.get_by_role("listitem")).to_have_count(len(found))
        for run in found:
            expect(row(page, run)).to_be_visible()

    expect_page(1, *runs[4:])
    expect(newer).to_be_disabled()
    older.click()
    expect_page(2, *runs[1:4])
    older.click()
    expect_page(3, runs[0])
    expect(older).to_be_disabled()
    newer.click()
    expect_page(2, *runs[1:4])


def test_a_list_by_label_hears_of_its_own_runs_alone(page: Page, site: Site) -> None:
    open_app(page, "list", org="a/b & c")
    other = site.script(labels={"team/org.name": "other"})
    mine = site.script(labels={"team/org.name": "a/b & c"})
    expect(row(page, mine).locator(".status")).to_have_text("completed")
    expect(row(page, other)).to_have_count(0)
    retry_me = site.script(Part(name="a", fails="once"), labels={"team/org.name": "a/b & c"})
    expect(row(page, retry_me).locator(".status")).to_have_text("failed")
    retry(retry_me)
    expect(row(page, retry_me).locator(".status")).to_have_text("completed")


def test_each_action_answers_what_the_client_expects(
    page: Page, site: Site, people: People
) -> None:
    people.expect("409 \\(Conflict\\)|404 \\(Not Found\\)")
    run = site.script(Part(name="first", result=[1, None]), Part(name="wait", waits_for="never"))
    site.await_status("running", run)
    open_app(page, "actions", run=run.pk)
    output = page.locator("output")

    def call(name: str, pattern: str) -> str:
        page.get_by_role("button", name=name).click()
        expect(output).to_have_text(re.compile(pattern))
        return output.inner_text()

    call("retrigger", "error: Run .* is running and can't be run again")
    call("deleteRun", "error: Run .* is running and can't be deleted")
    found = json.loads(call("getRun", '"status":"leased"'))
    assert (found["id"], found["isActive"]) == (str(run.pk), True)
    steps = json.loads(call("getSteps", "^\\["))
    assert [(step["name"], step["status"], step["output"]) for step in steps] == [
        ("first", "completed", [1, None])
    ]
    call("cancel", "^done$")
    call("cancel", "error: Run .* is cancelled")
    site.await_released(run)
    copy = json.loads(call("retrigger", '^"[0-9a-f-]{36}"$'))
    assert Run.objects.get(pk=copy).source_id == run.pk
    call("deleteRun", "^done$")
    call("getRun", "^null$")
    call("cancel", "error: Run not found")
