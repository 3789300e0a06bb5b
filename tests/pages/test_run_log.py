"""The log of a run: filtered and searched on the server, and as a file."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory
from pytest_django import DjangoAssertNumQueries

from runs.dashboard import logs
from runs.dashboard.logs import LogFilter, load_log, measure_log
from runs.models import LogEntry, Run
from tests.pages import factories

pytestmark = pytest.mark.django_db


def get(client: Client, run: Run, query: str = "") -> str:
    response = client.get(f"/runs/{run.id}/?{query}")
    assert response.status_code == 200
    return str(response.content.decode())


def messages(run: Run, level: str = "", text: str = "") -> list[str]:
    found = load_log(run, only=LogFilter(level, text))
    return [line.entry.message for line in found.lines]


def many_lines(run: Run, count: int) -> None:
    LogEntry.objects.bulk_create(
        LogEntry(
            run=run,
            level="error" if number % 100 == 0 else "info",
            message=f"line {number}",
            data={"n": number},
            created_at=run.created_at,
            seq=number + 1,
        )
        for number in range(count)
    )


def test_levels_narrow_the_log(operator: Client) -> None:
    run = factories.run()
    for level in ("info", "warn", "error"):
        factories.log(run, f"a line of {level}", level=level)
    assert messages(run, level="warn") == ["a line of warn", "a line of error"]
    assert messages(run, level="error") == ["a line of error"]
    page = get(operator, run, "level=error")
    assert "a line of error" in page
    assert "a line of warn" not in page
    assert "Warn 2</a>" in page
    assert "Error 1</a>" in page


def test_a_search_looks_at_message_data_and_step(operator: Client) -> None:
    run = factories.run()
    factories.log(run, "Rows were read", data={"file": "Münster.csv"}, step="load")
    factories.log(run, "100% done_", data=None)
    assert messages(run, text="rows") == ["Rows were read"]
    assert messages(run, text="Münster") == ["Rows were read"]
    assert messages(run, text="load") == ["Rows were read"]
    assert messages(run, text="100%") == ["100% done_"]
    assert messages(run, text="%") == ["100% done_"]
    assert "Nothing like that" in get(operator, run, "log=zebra")


def test_a_search_that_runs_out_of_time_says_so_and_can_go_on(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_WINDOW", 100)
    monkeypatch.setattr(logs, "_BUDGET", 0.0)
    run = factories.run()
    many_lines(run, 250)
    first = load_log(run, only=LogFilter(level="error"))
    assert [line.entry.message for line in first.lines] == ["line 200"]
    assert first.searched_back_to is not None
    page = get(operator, run, "level=error")
    assert "Searched back to" in page
    [older] = re.findall(r'hx-get="([^"]+before=[^"]+)"', page)
    fragment = operator.get(older.replace("&amp;", "&")).content.decode()
    assert "line 100" in fragment
    assert "line 200" not in fragment


def test_a_search_with_time_finds_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_WINDOW", 100)
    run = factories.run()
    many_lines(run, 950)
    found = load_log(run, only=LogFilter(level="error"), limit=5)
    assert found.lines[0].entry.message == "line 500"
    assert found.earlier is not None
    rest = load_log(run, only=LogFilter(level="error"), before=found.earlier)
    assert rest.lines[-1].entry.message == "line 400"
    assert rest.earlier is None


def test_the_log_of_a_retried_run_begins_with_its_attempt(operator: Client) -> None:
    run = factories.failed_run(attempt=2, seq=10)
    factories.log(run, "first try", seq=5)
    factories.event(run, "retried", seq=7)
    factories.event(run, "started", seq=8)
    factories.log(run, "second try", seq=9)
    page = get(operator, run)
    assert "second try" in page
    assert "first try" not in page
    assert "attempt 2, 1 line<" in page
    everything = get(operator, run, "attempts=all")
    assert "first try" in everything
    assert "This attempt</a>" in everything


def test_a_live_log_with_a_filter_sends_only_new_lines_that_match(operator: Client) -> None:
    run = factories.run("running")
    first = factories.log(run, "an error", level="error")
    page = get(operator, run, "level=error")
    [path] = re.findall(r'id="log-tail"[^>]*hx-get="([^"]+)"', page)
    path = path.replace("&amp;", "&")
    assert path.endswith(f"?after={first.id}&level=error")
    assert operator.get(path).status_code == 204
    other = factories.log(run, "only information")
    fragment = operator.get(path).content.decode()
    assert "only information" not in fragment
    assert f"after={other.id}" in fragment


def test_lines_are_counted_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run = factories.run()
    many_lines(run, 250)
    with django_assert_max_num_queries(2):
        size = measure_log(run)
    assert (size.text, size.warn, size.error) == ("250 lines", 3, 3)
    monkeypatch.setattr(logs, "MAX_COUNT", 200)
    monkeypatch.setattr(logs, "_MAX_COUNTED_LEVELS", 100)
    size = measure_log(run)
    assert (size.text, size.warn) == ("200+ lines", None)


def test_the_whole_log_is_streamed_as_text_and_as_json_lines(operator: Client) -> None:
    run = factories.run()
    factories.log(run, "Read", step="load", data={"rows": 5})
    many_lines(run, 2_500)
    text = operator.get(f"/runs/{run.id}/log/?as=txt")
    assert text.streaming
    assert text["Content-Disposition"].startswith("attachment")
    lines = text.getvalue().decode().splitlines()
    assert len(lines) == 2_501
    assert lines[0].endswith('info  [load] Read {"rows": 5}')
    response = operator.get(f"/runs/{run.id}/log/?as=jsonl")
    rows = [json.loads(line) for line in response.getvalue().splitlines()]
    assert (rows[0]["step"], rows[0]["data"]) == ("load", {"rows": 5})
    assert rows[-1]["message"] == "line 2499"


def test_a_download_reads_a_batch_at_a_time(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    run = factories.run()
    many_lines(run, 2_500)
    response = logs.download_log(RequestFactory().get("/"), run, "txt")
    parts = iter(response)
    with django_assert_num_queries(1):
        next(parts)


@pytest.mark.django_db(transaction=True)
def test_a_download_streams_from_an_asynchronous_server_too() -> None:
    run = factories.run()
    many_lines(run, 1_500)
    user = factories.user("ann", "view_run")
    client = AsyncClient()

    async def read() -> list[bytes]:
        await client.aforce_login(user)
        response = await client.get(f"/runs/{run.id}/log/?as=txt")
        assert isinstance(response, StreamingHttpResponse)
        return [part async for part in response]

    parts = asyncio.run(read())
    assert len(parts) == 2
    assert b"".join(parts).count(b"\n") == 1_500
