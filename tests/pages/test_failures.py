from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.dashboard import failures
from runs.dashboard.shell import Kept
from runs.engine import statistics
from runs.engine.chore_leases import ChoreLease
from runs.models import Chore, FailureActivity, FailureGroup, Run
from tests.pages import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing that an earlier test has counted."""
    Kept.forget()
    yield
    Kept.forget()


def fingerprint(error: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, error).hex


def fail(error: str = "CardError", ago: timedelta = timedelta(0), **attributes: Any) -> Run:
    """A run that failed with that error so long ago, and its event."""
    at = timezone.now() - ago
    defaults = {"job": "pay", "error_type": error, "error_message": "no funds", "error_step": "ask"}
    run = factories.failed_run(
        **defaults
        | {"error_fingerprint": fingerprint(error), "created_at": at, "finished_at": at}
        | attributes
    )
    data = {
        "step": run.error_step,
        "error": f"{run.error_type}: {run.error_message}",
        "fingerprint": run.error_fingerprint,
    }
    factories.event(run, "failed", data=data, created_at=at)
    return run


def get(client: Client, query: str = "", path: str = "/failures/") -> str:
    response = client.get(f"{path}?{query}")
    assert response.status_code == 200
    return str(response.content.decode())


def rows(page: str) -> dict[str, str]:
    """The rows by fingerprint, in order."""
    return dict(re.findall(r'<tr id="failure-([0-9a-f]{32})">(.*?)</tr>', page, re.DOTALL))


def counts(row: str) -> list[str]:
    """What happened in 1 h, 24 h and 7 d, and how many are failed now."""
    cells = re.findall(r'<td class="(?:fit num|num fit) meta" data-l="[^l][^"]*">(.*?)</td>', row)
    return [re.sub(r"<[^>]*>", "", cell) for cell in cells]


def test_failures_that_look_alike_are_one_row(operator: Client) -> None:
    for ago in (timedelta(minutes=5), timedelta(hours=5), timedelta(days=3)):
        fail(ago=ago)
    fail("TimeoutError")
    statistics.advance()
    found = rows(get(operator))
    assert set(found) == {fingerprint("CardError"), fingerprint("TimeoutError")}
    assert counts(found[fingerprint("CardError")]) == ["1", "2", "3", "3"]
    assert "no funds" in found[fingerprint("CardError")]


def test_an_hour_and_a_day_are_counted_to_the_minute(operator: Client) -> None:
    for minutes in (58, 62, 24 * 60 - 2, 24 * 60 + 2):
        fail(ago=timedelta(minutes=minutes))
    statistics.advance()
    [row] = rows(get(operator)).values()
    assert counts(row) == ["1", "3", "4", "4"]


def test_the_loudest_come_first(operator: Client) -> None:
    for _ in range(3):
        fail("LoudError", timedelta(minutes=9))
    fail("QuietError")
    statistics.advance()
    assert list(rows(get(operator))) == [fingerprint("LoudError"), fingerprint("QuietError")]


def test_each_count_leads_to_its_runs(operator: Client) -> None:
    new, old = fail(), fail(ago=timedelta(hours=5))
    fail("TimeoutError")
    statistics.advance()
    row = rows(get(operator))[fingerprint("CardError")]
    links = [unescape(link) for link in re.findall(r'href="(/runs/\?[^"]*)"', row)]
    shown = [
        re.findall(r'<tr id="run-([0-9a-f-]{36})"', operator.get(link).content.decode())
        for link in links
    ]
    assert [set(ids) for ids in shown] == [
        {str(new.id)},
        {str(new.id), str(old.id)},
        {str(new.id), str(old.id)},
        {str(new.id), str(old.id)},
    ]


def test_a_retried_run_is_counted_but_no_longer_failed(operator: Client) -> None:
    run = fail()
    statistics.advance()
    Run.objects.filter(pk=run.pk).update(
        status="completed", error_type=None, error_fingerprint=None
    )
    [row] = rows(get(operator)).values()
    assert counts(row) == ["1", "1", "1", "0"]
    assert "Retry all" not in row


def test_groups_are_narrowed_by_time_text_and_job(operator: Client) -> None:
    fail("CardError")
    fail("TimeoutError", timedelta(hours=3), job="mail", error_message="100 % slow")
    fail("OldError", timedelta(days=6))
    statistics.advance()

    def found(query: str) -> set[str]:
        return set(rows(get(operator, query)))

    card, slow, old = map(fingerprint, ("CardError", "TimeoutError", "OldError"))
    assert found("") == {card, slow, old}
    assert found("seen=24h") == {card, slow}
    assert found("seen=1h") == {card}
    assert found("q=100+%25") == {slow}
    assert found("q=nothing") == set()
    assert found("job=mail") == {slow}
    assert found("job=mail&seen=1h") == set()
    assert found("seen=bogus&q=%00") == {card, slow, old}


def test_a_filter_can_be_taken_back(operator: Client) -> None:
    fail()
    statistics.advance()
    page = get(operator, "seen=24h&q=card&job=pay")
    assert 'href="/failures/?seen=24h&amp;job=pay" aria-label="Remove filter text card"' in page
    assert 'href="/failures/?seen=24h&amp;q=card" aria-label="Remove filter job pay"' in page


def test_a_group_shows_its_newest_error_and_runs(operator: Client) -> None:
    fail(ago=timedelta(hours=2), error_message="no funds on 7")
    new = fail(
        error_message="no funds on <9>",
        error_traceback='Traceback (most recent call last):\n  File "/app/pay.py", line 3, in ask\n'
        "    raise CardError\nCardError: no funds on <9>\n",
    )
    statistics.advance()
    page = get(operator, path=f"/failures/{fingerprint('CardError')}/")
    assert "no funds on &lt;9&gt;" in page
    assert "pay.py:<b>3</b> in ask" in page
    assert page.index(f'id="run-{new.id}"') > 0
    assert len(re.findall(r'<tr id="run-', page)) == 2


def test_retry_all_sends_the_filter_of_the_group(operator: Client, viewer: Client) -> None:
    fail()
    fail()
    fail("TimeoutError")
    statistics.advance()
    mine = fingerprint("CardError")
    for path in ("/failures/", f"/failures/{mine}/"):
        page = get(operator, path=path)
        forms = re.findall(
            r'<form method="post" action="/bulk/".*?</form>|<form class="in.*?</form>',
            page,
            re.DOTALL,
        )
        form = next(form for form in forms if mine in form)
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))
        assert 'action="/bulk/"' in form
        assert 'name="do" value="retry"' in form
        assert fields["all"] == "1"
        assert fields["filters"] == f"failure={mine}"
        asked = operator.post("/bulk/", {"do": "retry", "all": "1", "filters": fields["filters"]})
        assert "Retry 2 runs?" in asked.content.decode()
        assert "Retry all" not in get(viewer, path=path)


def test_a_failure_is_shown_before_it_is_counted(operator: Client) -> None:
    fail()
    page = get(operator, path=f"/failures/{fingerprint('CardError')}/")
    assert "no funds" in page
    assert not FailureGroup.objects.exists()


def test_an_unknown_group_is_not_found(operator: Client) -> None:
    assert operator.get(f"/failures/{'0' * 32}/").status_code == 404
    assert operator.get("/failures/nonsense/").status_code == 404


def test_a_group_outlives_its_runs(operator: Client) -> None:
    run = fail()
    statistics.advance()
    run.events.all().delete()
    run.delete()
    page = get(operator, path=f"/failures/{fingerprint('CardError')}/")
    assert "No run is failed like this now" in page


def test_only_the_groups_seen_last_are_listed(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_MAX_GROUPS", 2)
    for n in range(3):
        fail(f"Error{n}", timedelta(minutes=9 - n))
    statistics.advance()
    page = get(operator)
    assert set(rows(page)) == {fingerprint("Error1"), fingerprint("Error2")}
    assert "The 2 errors seen last" in page


def test_without_failures_it_says_so(operator: Client) -> None:
    assert "No failure in this time" in get(operator)
    assert "No error matches" in get(operator, "q=x")


def test_the_number_of_queries_does_not_grow(operator: Client) -> None:
    def queries(path: str) -> int:
        Kept.forget()
        with CaptureQueriesContext(connection) as found:
            operator.get(path)
        return len(found)

    fail()
    statistics.advance()
    group = f"/failures/{fingerprint('CardError')}/"
    before = queries("/failures/"), queries(group)
    for n in range(5):
        fail()
        fail(f"Error{n}")
    statistics.advance()
    assert (queries("/failures/"), queries(group)) == before
    assert max(before) <= 12


def test_the_fragments_are_the_parts_that_change(operator: Client) -> None:
    fail()
    statistics.advance()
    assert get(operator, "q=card&fragment=1").lstrip().startswith('<div id="failures"')
    path = f"/failures/{fingerprint('CardError')}/"
    assert get(operator, "fragment=1", path).lstrip().startswith('<div id="failure"')


def test_the_run_list_refuses_a_failure_that_there_can_not_be(operator: Client) -> None:
    response = operator.get("/runs/?failure=nonsense")
    assert response.status_code == 400
    assert "none that the Failures page has given" in response.content.decode()


def test_the_run_list_combines_a_failure_with_other_filters(operator: Client) -> None:
    mine = fail(labels={"tenant": "acme"})
    fail()
    query = f"failure={fingerprint('CardError')}&label=tenant:acme&status=failed"
    page = get(operator, query, "/runs/")
    assert re.findall(r'<tr id="run-([0-9a-f-]{36})"', page) == [str(mine.id)]
    assert get(operator, query.replace("=failed", "=completed"), "/runs/").count("<tr id=") == 0


def test_minutes_of_an_hour_that_is_half_counted_are_kept() -> None:
    """Or the hour would be summed from what is left of it."""
    long_ago = (timezone.now() - timedelta(days=3)).replace(minute=0, second=0, microsecond=0)
    for minute in (5, 50):
        fail(ago=timezone.now() - long_ago - timedelta(minutes=minute))
    statistics.advance()
    FailureActivity.objects.all().delete()
    by_hand = ChoreLease("statistics")
    statistics.count_window(long_ago, long_ago + timedelta(minutes=30), by_hand)
    Chore.objects.update(position=long_ago + timedelta(minutes=40))
    statistics._drop_old(long_ago + timedelta(minutes=40))
    statistics.advance()
    hour = FailureActivity.objects.get(span=3600, at=long_ago)
    assert hour.failed == 2
