from __future__ import annotations

import json
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from runs.models import Run, RunEvent
from runs.registry import JobDefinition
from tests.pages import factories

pytestmark = pytest.mark.django_db

BUTTONS = ("Retry", "Run again", "Cancel", "Delete")


def get(client: Client, run: Run, query: str = "") -> str:
    response = client.get(f"/runs/{run.id}/?{query}")
    assert response.status_code == 200
    return str(response.content.decode())


def buttons(page: str) -> list[str]:
    texts = re.findall(r'<button[^>]*name="do"[^>]*>(.*?)</button>', page)
    return [re.sub(r"<svg.*</svg>", "", text) for text in texts]


def parcel_run(status: str, **attributes: Any) -> Run:
    return factories.run(status, job="parcel", input={"name": "x"}, **attributes)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", ["Cancel"]),
        ("running", ["Cancel"]),
        ("waiting", ["Cancel"]),
        ("completed", ["Run again", "Delete"]),
        ("failed", ["Retry", "Run again", "Delete"]),
        ("cancelled", ["Retry", "Run again", "Delete"]),
    ],
)
def test_the_buttons_are_those_that_the_state_allows(
    operator: Client, viewer: Client, parcel_job: JobDefinition, status: str, expected: list[str]
) -> None:
    run = parcel_run(status)
    assert buttons(get(operator, run)) == expected
    assert buttons(get(viewer, run)) == []


@pytest.mark.parametrize("action", ["retry", "retrigger", "cancel", "delete"])
def test_the_server_refuses_who_may_only_look(
    viewer: Client, parcel_job: JobDefinition, action: str
) -> None:
    run = parcel_run("failed")
    response = viewer.post(f"/runs/{run.id}/", {"do": action})
    assert response.status_code == 403
    assert Run.objects.get().status == "failed"


def test_retry_makes_the_run_pending_again_and_names_who(
    operator: Client, parcel_job: JobDefinition
) -> None:
    run = parcel_run("failed", error_type="E", error_message="m")
    page = operator.post(f"/runs/{run.id}/", {"do": "retry"}, follow=True).content.decode()
    assert "is pending again, attempt 2" in page
    assert RunEvent.objects.get(run=run).actor == "ann"


def test_run_again_leads_to_the_new_run(operator: Client, parcel_job: JobDefinition) -> None:
    run = parcel_run("completed")
    response = operator.post(f"/runs/{run.id}/", {"do": "retrigger"}, follow=True)
    new = Run.objects.exclude(pk=run.pk).get()
    assert response.redirect_chain == [(f"/runs/{new.id}/", 302)]
    assert f'href="/runs/{run.id}/"' in response.content.decode()


def test_cancel_keeps_the_reason(operator: Client) -> None:
    run = factories.run("pending")
    form = {"do": "cancel", "reason": "wrong <month>"}
    page = operator.post(f"/runs/{run.id}/", form, follow=True).content.decode()
    assert "wrong &lt;month&gt;" in page
    assert Run.objects.get().status == "cancelled"


def test_delete_leads_back_to_the_list(operator: Client) -> None:
    run = factories.run("completed")
    response = operator.post(f"/runs/{run.id}/", {"do": "delete"}, follow=True)
    assert response.redirect_chain == [("/runs/", 302)]
    assert "is deleted" in response.content.decode()
    assert not Run.objects.exists()


def test_what_the_state_forbids_is_refused_on_the_page(
    operator: Client, parcel_job: JobDefinition
) -> None:
    run = parcel_run("completed")
    response = operator.post(f"/runs/{run.id}/", {"do": "cancel"})
    assert response.status_code == 409
    assert f"Run {run.id} is completed" in response.content.decode()
    assert operator.post(f"/runs/{run.id}/", {"do": "explode"}).status_code == 400


def test_a_progress_bar_is_a_progress_element(operator: Client) -> None:
    run = factories.run("running", progress={"current": 41208, "total": 68000, "message": "Rows"})
    page = get(operator, run)
    assert re.search(r'<progress [^>]*max="68000" value="41208"[^>]*>60 %</progress>', page)
    assert "41,208 of 68,000" in page
    assert "Rows" in page


def test_steps_are_listed_with_the_running_one_last(operator: Client) -> None:
    run = factories.run("running", current_step="third", seq=0)
    factories.step(run, "first", 0, attempts=2)
    factories.step(run, "second", None, error_type="E", error_message="m")
    names = re.findall(r'aria-label="(\w+), (\w+)', get(operator, run))
    assert names == [("first", "completed"), ("second", "failed"), ("third", "running")]


def test_a_step_shows_its_result_and_log(operator: Client) -> None:
    run = factories.run()
    factories.step(run, "a/b ?&", 0, output={"rows": [1, "two", None], "<b>": True})
    factories.log(run, "in the step", step="a/b ?&", data={"n": 5})
    factories.log(run, "elsewhere")
    page = get(operator, run, "step=a/b+%3F%26")
    panel = page.split('id="run-step"')[1].split("</section>")[0]
    assert '<span class="n">1</span>' in panel
    assert "&lt;b&gt;" in panel
    assert "in the step" in panel
    assert "elsewhere" not in panel


def test_a_failed_step_shows_its_error(operator: Client) -> None:
    run = factories.failed_run()
    factories.step(
        run, "pay", None, error_type="CardError", error_message="no", error_traceback="Trace <b>"
    )
    page = get(operator, run, "step=pay")
    assert "Trace &lt;b&gt;" in page
    assert "CardError: no<" in page


def test_a_step_that_does_not_exist_is_no_error(operator: Client) -> None:
    assert "no step named" in get(operator, factories.run(), "step=zz")


def test_a_failed_run_shows_error_and_what_retry_will_do(
    operator: Client, parcel_job: JobDefinition
) -> None:
    run = factories.failed_run(job="parcel", input={"count": 0}, code_version="old", step_count=1)
    factories.step(run, "kept", 0)
    factories.step(run, "pay", None, error_type="E", error_message="m")
    page = get(operator, run)
    assert "CardError: no funds" in page
    assert "Traceback: line 1" in page
    preview = page.split("What Retry will do")[1].split("</table>")[0]
    assert re.findall(r'clip">(\w+)</span></span></th><td[^>]*>([^<]+)<', preview) == [
        ("kept", "Kept"),
        ("pay", "Will run again"),
    ]
    assert "The code has changed" in page
    assert "count: Input should be greater" in page


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_an_empty_output_is_an_output(operator: Client, value: Any) -> None:
    run = factories.run(output=value)
    page = get(operator, run)
    assert ('id="ou"' in page) is (value is not None)


def test_a_large_payload_is_cut_and_can_be_downloaded(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for size in (3_000, 300_000):
        value = {"rows": ["x" * 20] * (size // 20), "<": 1}
        run = factories.run(input=value, output=value)
        factories.step(run, "s", 0, output=value)
        with django_assert_max_num_queries(24):
            page = get(operator, run, "step=s")
        assert len(page) < 200_000
        assert ("Download all" in page) is (size > 20_000)
        for path in ("input.json", "output.json", "step.json?name=s"):
            response = operator.get(f"/runs/{run.id}/{path}")
            assert response["Content-Disposition"].startswith("attachment")
            assert json.loads(response.content) == value


def test_what_a_run_does_not_have_can_not_be_downloaded(operator: Client) -> None:
    run = factories.run(input=None)
    assert operator.get(f"/runs/{run.id}/input.json").status_code == 404
    assert operator.get(f"/runs/{run.id}/step.json?name=zz").status_code == 404


def test_the_log_starts_with_its_end_and_goes_back(operator: Client) -> None:
    run = factories.run()
    lines = [factories.log(run, f"line-{n:03}", level="warn") for n in range(205)]
    page = get(operator, run)
    assert "line-204" in page
    assert "line-004" not in page
    [earlier] = re.findall(rf'hx-get="(/runs/{run.id}/log/\?before=\d+)"', page)
    fragment = operator.get(earlier).content.decode()
    assert "line-000" in fragment
    assert "line-005" not in fragment
    assert "line-000" in get(operator, run, f"log_before={lines[5].id}")


def test_only_new_lines_are_sent_while_a_run_is_live(operator: Client) -> None:
    run = factories.run("running")
    first = factories.log(run, "old line")
    [path] = re.findall(rf'hx-get="(/runs/{run.id}/log/\?after=\d+)"', get(operator, run))
    assert path.endswith(f"after={first.id}")
    assert operator.get(path).status_code == 204
    factories.log(run, "new line", data={"rows": 5})
    fragment = operator.get(path).content.decode()
    assert "new line" in fragment
    assert "old line" not in fragment
    assert "hx-trigger" in fragment
    Run.objects.update(status="completed", finished_at=timezone.now(), due_at=None)
    Run.objects.update(lease_owner=None)
    assert "data-refresh" in operator.get(path).content.decode()


def test_a_page_listens_to_its_run_also_when_that_is_over(operator: Client) -> None:
    done = factories.run("completed")
    assert f'data-refresh="run:{done.id}"' in get(operator, done)
    live = operator.get(f"/runs/{done.id}/live/")
    assert live.status_code == 200
    assert f'data-refresh="run:{done.id}"' in live.content.decode()


def test_a_refresh_leaves_out_a_step_that_is_shown(operator: Client) -> None:
    run = factories.run("running")
    step = factories.step(run, "s", 0, output=5)
    live = f"/runs/{run.id}/live/?step=s"
    assert 'id="run-step"' in operator.get(live).content.decode()
    assert 'id="run-step"' not in operator.get(f"{live}&step_seq={step.seq}").content.decode()


def test_a_run_that_was_handed_back_says_so(operator: Client) -> None:
    run = factories.run("running", lease_owner=None, lease_expires_at=None)
    assert "Its worker handed it back" in get(operator, run)


def test_a_cancelled_run_whose_body_still_works_says_so(operator: Client) -> None:
    later = timezone.now() + timedelta(seconds=20)
    run = factories.run("cancelled", lease_owner=uuid.uuid4(), lease_expires_at=later)
    page = get(operator, run)
    assert "has not stopped yet" in page
    assert "hx-trigger" in page


def test_details_and_history_name_everything(operator: Client) -> None:
    source = factories.run()
    run = factories.run(
        labels={"tenant": "acme"},
        idempotency_key="idem",
        concurrency_key="conc",
        priority=7,
        source_id=source.id,
        attempt=2,
    )
    factories.event(run, "triggered", actor="jo")
    factories.event(run, "started", actor="web-1:77")
    factories.event(run, "retried", actor="ann", reason="try again")
    page = get(operator, run)
    for text in ("tenant:acme", "idem", "conc", str(source.id), "on web-1:77", "try again"):
        assert text in page
    kinds = re.findall(r"<div>(Triggered|Started|Retried) ", page)
    assert kinds == ["Retried", "Started", "Triggered"]


def test_times_are_shown_in_the_chosen_zone(operator: Client) -> None:
    run = factories.run(created_at=timezone.now().replace(2020, 1, 2, 3, 4, 5))
    operator.cookies["zone"] = "Asia/Tokyo"
    page = get(operator, run)
    assert "2 Jan 2020 12:04</time>" in page
    assert "times in Asia/Tokyo" in page
    assert "Thu 2 Jan 2020 12:04:05 JST" in page
