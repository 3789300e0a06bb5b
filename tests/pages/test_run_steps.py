"""The steps of a run: a timeline that stays short, a table, and what Retry keeps."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from runs.models import Run, Step
from runs.registry import JobDefinition
from tests.pages import factories

pytestmark = pytest.mark.django_db


def get(client: Client, run: Run, query: str = "") -> str:
    response = client.get(f"/runs/{run.id}/?{query}")
    assert response.status_code == 200
    return str(response.content.decode())


def listed(page: str) -> list[str]:
    return re.findall(r'<a class="step"[^>]*aria-label="([^,"]+)', page)


def run_of_many(count: int = 500, **attributes: Any) -> Run:
    run = factories.run(step_count=count, seq=count, **attributes)
    start = timezone.now() - timedelta(seconds=count)
    Step.objects.bulk_create(
        Step(
            run=run,
            name=f"part-{number}",
            index=None if number == 3 else number,
            status="failed" if number == 3 else "completed",
            seq=number + 1,
            started_at=start + timedelta(seconds=number),
            finished_at=start + timedelta(seconds=number + 1),
        )
        for number in range(count)
    )
    return run


def test_of_many_steps_the_last_and_the_failed_ones_are_shown(operator: Client) -> None:
    names = listed(get(operator, run_of_many()))
    assert names[0] == "part-3"
    assert names[1:] == [f"part-{number}" for number in range(488, 500)]


def test_one_can_page_through_the_steps_both_ways(operator: Client) -> None:
    run = run_of_many()
    page = get(operator, run)
    [earlier] = re.findall(r'href="\?([^"#]+)#steps">Earlier steps', page)
    page = get(operator, run, earlier)
    assert listed(page) == [f"part-{number}" for number in range(463, 488)]
    [later] = re.findall(r'href="\?([^"#]+)#steps">Later steps', page)
    assert listed(get(operator, run, later)) == [f"part-{number}" for number in range(488, 500)]


def test_the_queries_do_not_grow_with_the_steps(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for count in (5, 500):
        run = run_of_many(count)
        with django_assert_max_num_queries(19):
            get(operator, run)


def test_steps_can_be_read_as_a_table_with_what_is_usual(operator: Client) -> None:
    run_of_many(5)
    run = run_of_many(5)
    page = get(operator, run, "steps=table&step=part-2")
    table = page.split("Steps of this run</caption>")[1].split("</table>")[0]
    assert table.count("<tr") == 6
    assert '<td class="num sub" data-l="usually">1.0 s</td>' in table
    assert "As a timeline" in page
    assert 'href="?steps=table"' in page  # closing the step keeps the table


def test_an_attempt_that_failed_earlier_has_a_bar_of_its_own(operator: Client) -> None:
    now = timezone.now()
    run = factories.failed_run(attempt=2)
    for kind, ago in (("started", 100), ("failed", 95), ("retried", 20), ("started", 11)):
        data = {"step": "pay", "error": "CardError: no"} if kind == "failed" else None
        factories.event(run, kind, created_at=now - timedelta(seconds=ago), data=data)
    span = {"started_at": now - timedelta(seconds=10), "finished_at": now}
    factories.step(run, "pay", None, attempts=2, **span)
    page = get(operator, run, "step=pay")
    lane = page.split('class="step"')[1].split("</svg>")[0]
    assert lane.count('class="f-bad"') == 2
    assert 'class="retry"' in lane
    assert "1 m 25 s idle" in page
    assert "Fold idle time" in get(operator, run, "idle=show")
    assert "1 attempt of the run failed here" in page


def test_a_step_is_compared_with_what_it_usually_takes(operator: Client) -> None:
    for _ in range(3):
        factories.step(factories.run(), "load", 0)
    run = factories.run()
    start = timezone.now() - timedelta(seconds=9)
    factories.step(run, "load", 0, started_at=start)
    page = get(operator, run, "step=load")
    panel = page.split('id="run-step"')[1].split("</section>")[0]
    assert '<span class="tag warn">Slower</span> Took <b>9.0 s</b>' in panel
    assert "usually 1.0 s, 9 of 10 at most 1.0 s, from 3 completed runs" in panel


def test_the_retry_preview_names_steps_that_have_no_result_yet(
    operator: Client, parcel_job: JobDefinition
) -> None:
    good = factories.run(job="parcel")
    for index, name in enumerate(("weigh", "pay", "send")):
        factories.step(good, name, index)
    run = factories.failed_run(job="parcel", input={"name": "x"}, step_count=1, release="v1")
    factories.step(run, "weigh", 0, output={"kg": 5})
    factories.step(run, "pay", None, attempts=2)
    preview = get(operator, run).split("What Retry will do")[1].split("</section>")[0]
    rows = re.findall(r'clip">(\w+)</span></span></th><td[^>]*>([^<]+)</td><td[^>]*>', preview)
    assert rows == [("weigh", "Kept"), ("pay", "Will run again"), ("send", "Will run")]
    assert "9 B" in preview
    assert "attempt 3; what it did outside may happen twice" in preview
    assert "The input is valid" in preview
    assert "It ran in release" in preview
    assert 'name="reason" form="again"' in preview


def test_retry_takes_a_reason(operator: Client, parcel_job: JobDefinition) -> None:
    run = factories.failed_run(job="parcel", input={"name": "x"})
    form = {"do": "retry", "reason": "the bank is back"}
    assert "the bank is back" in operator.post(f"/runs/{run.id}/", form, follow=True).text


def test_editing_the_input_leads_to_the_jobs_form(
    operator: Client, viewer: Client, parcel_job: JobDefinition
) -> None:
    run = factories.run(job="parcel", input={"name": "x"})
    link = f'href="/jobs/parcel/?from={run.id}"'
    assert link in get(operator, run)
    assert link not in get(viewer, run)


def test_delete_confirms_with_the_real_numbers(operator: Client) -> None:
    run = run_of_many(4)
    for number in range(31):
        factories.log(run, f"line {number}")
    assert "The run, its 4 steps and 31 lines of log go for good" in get(operator, run)


def test_a_run_links_to_its_source_and_its_copies(operator: Client) -> None:
    source = factories.run()
    copies = [factories.run(source_id=source.id) for _ in range(7)]
    page = get(operator, source)
    assert f'href="/runs/{copies[-1].id}/"' in page
    assert f'href="/runs/{copies[0].id}/"' not in page
    assert "and older ones" in page
    assert f'href="/runs/{source.id}/"' in get(operator, copies[0])


def test_a_failed_run_counts_those_that_failed_the_same_way(operator: Client) -> None:
    long_ago = timezone.now() - timedelta(days=1)
    factories.failed_run(error_fingerprint="f", finished_at=long_ago)
    factories.failed_run(error_fingerprint="g")
    runs = [factories.failed_run(error_fingerprint="f") for _ in range(3)]
    assert "2 other runs failed the same way in the last hour" in get(operator, runs[0])


def test_a_cancelled_run_says_who_cancelled_it_and_why(operator: Client) -> None:
    run = factories.run("cancelled")
    factories.event(run, "cancelled", actor="jo", reason="wrong month")
    page = get(operator, run)
    assert "Cancelled by <b>jo</b>" in page
    assert "“wrong month”" in page
