"""The stream of real processes: a web process, a worker, clients that come and go."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncClient, Client

from runs import trigger
from runs.dashboard import live
from runs.models import Run, RunEvent
from tests import processes
from tests.pages import factories
from tests.processes import until
from tests.support.streams import Stream, session_of
from tests.support.web import Web

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def session(transactional_db: None) -> str:
    return session_of(factories.user("ann", "view_run"))


def history() -> list[tuple[int, str, str]]:
    rows = RunEvent.objects.order_by("id").values_list("id", "run_id", "kind")
    return [(id, str(run), kind) for id, run, kind in rows]


def all_over(count: int) -> bool:
    return Run.objects.filter(status__in=("completed", "failed")).count() == count


@pytest.mark.slow
def test_every_change_once_through_lost_connections_and_a_restart(
    web: Web, worker: subprocess.Popen[bytes], session: str
) -> None:
    heard: list[tuple[int, str, str]] = []
    last = ""
    stream = Stream(web.port, session, "topic=runs&after=0")
    for number in range(30):
        trigger("process-order", {"order_id": f"order-{number}"})
        if number % 6 == 5:
            while not heard or len(heard) < number:
                message = stream.next()
                heard += message.events
                last = message.id
            stream.close()
            if number == 17:
                web.restart()
            time.sleep(0.3)
            stream = Stream(web.port, session, "topic=runs&after=0", last_id=last)
    until(lambda: all_over(30), "30 runs over")
    while len(heard) < RunEvent.objects.count():
        heard += stream.next().events
    assert sorted(heard) == history()
    assert len(set(heard)) == len(heard)
    stream.close()


def test_a_page_hears_of_its_run_alone(web: Web, session: str) -> None:
    mine, other = factories.run("running"), factories.run("running", job="other")
    stream = Stream(web.port, session, f"topic=run:{mine.id}")
    assert stream.next().data == {"moved": [str(mine.id)]}
    factories.event(other, "failed")
    Run.objects.filter(pk=other.pk).update(seq=5)
    Run.objects.filter(pk=mine.pk).update(progress={"current": 1})
    assert stream.next().data == {"moved": [str(mine.id)]}
    event = factories.event(mine, "completed")
    assert stream.next().events == [(event.id, str(mine.id), "completed")]
    Run.objects.filter(pk=mine.pk).delete()
    assert stream.next().data == {"gone": [str(mine.id)]}
    stream.close()


def test_open_streams_end_at_once_with_the_server(web: Web, session: str) -> None:
    streams = [Stream(web.port, session, "topic=runs&topic=workers") for _ in range(5)]
    for stream in streams:
        stream.next()
    assert processes.end(web.process) == 0
    assert "Cancel" not in web.log.read_text(), "it would, of those that go on for two seconds"
    assert all(stream.ended.wait(1) for stream in streams)


def test_streams_hold_no_database_connection(web: Web, session: str) -> None:
    streams = [Stream(web.port, session, "topic=runs") for _ in range(12)]
    for stream in streams:
        stream.next()
    assert until(lambda: 0 < connections_of(web) <= 2, "one connection, of the poller")
    for stream in streams:
        stream.close()
    until(lambda: connections_of(web) == 0, "no connection once nobody watches")


def connections_of(web: Web) -> int:
    """How often the web process has the test's database open."""
    if connection.vendor == "sqlite":
        name = Path(str(connection.settings_dict["NAME"]))
        files = Path(f"/proc/{web.process.pid}/fd").iterdir()
        return sum(1 for file in files if file.exists() and file.resolve() == name.resolve())
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = %s",
            [web.name],
        )
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_only_those_who_may_see_runs_watch(web: Web, who: str) -> None:
    session = "" if who == "nobody" else session_of(factories.user("eve", "delete_run"))
    stream = Stream(web.port, session, "topic=runs")
    assert stream.status == 403
    stream.close()


@pytest.mark.parametrize(
    "query", ["topic=nonsense", "topic=run:7", "topic=job:", "topic=job:a%00b", "topic=run"]
)
def test_a_topic_that_there_is_not_is_refused(web: Web, session: str, query: str) -> None:
    stream = Stream(web.port, session, query)
    assert stream.status == 400
    stream.close()


def test_a_stream_ends_once_its_user_may_not_watch_any_more(
    monkeypatch: pytest.MonkeyPatch, session: str
) -> None:
    monkeypatch.setattr(live, "_RECHECK", 0.2)
    monkeypatch.setattr(live, "_HEARTBEAT", 0.1)

    async def read() -> list[str]:
        client = AsyncClient()
        client.cookies["sessionid"] = session
        answer = await client.get("/live/?topic=runs")
        parts: list[str] = []
        async with asyncio.timeout(10):
            async for part in answer.streaming_content:  # type: ignore[attr-defined]
                parts.append(part.decode())
                if len(parts) == 4:
                    await User.objects.aupdate(is_active=False)
        return parts

    parts = asyncio.run(read())
    assert parts[0] == "retry: 2000\n\n"
    assert any(part.startswith(": still here\n") for part in parts)


@pytest.mark.django_db
def test_a_server_that_cannot_stream_says_so(client: Client) -> None:
    client.force_login(factories.user("ann", "view_run"))
    assert client.get("/live/?topic=runs").status_code == 204
