"""The stream of all runs: what lists hear of, in the short form, and whose runs it tells of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from runs import JobDefinition, Step, cancel, delete_run, job, retrigger, retry
from runs.access import tokens
from runs.api import watching
from runs.engine import execution
from runs.models import Run, RunEvent
from tests.durably_react.conftest import Hiding, async_client
from tests.durably_react.listening import Listener, types
from tests.pages import factories
from tests.support.engine import HandWorker

pytestmark = pytest.mark.django_db(transaction=True)

Listen = Callable[..., Listener]


@pytest.fixture
def listen(open_stream: Callable[..., Listener]) -> Listen:
    """Listeners to all runs, who have heard that the stream is open."""

    def open(query: str = "", last_id: str = "") -> Listener:
        return open_stream(f"runs/subscribe?{query}", last_id)

    return open


def bare(message: dict[str, Any], run: Run) -> dict[str, Any]:
    """A message without what every one has, which is checked."""
    about = {"runId": str(run.pk), "jobName": run.job, "labels": run.labels}
    assert {name: message[name] for name in about} == about
    return {name: value for name, value in message.items() if name not in about}


def test_what_was_before_is_not_told(listen: Listen, importer: JobDefinition) -> None:
    importer.trigger({"file": "old.csv"})
    RunEvent.objects.update(created_at=timezone.now() - timedelta(seconds=10))
    stream = listen()
    run = importer.trigger({"file": "a.csv"}, labels={"org": "5"})
    assert bare(stream.next(), run) == {"type": "run:trigger"}
    assert stream.retry == 2_000


def test_that_something_has_just_happened_is_told_as_the_list_may_not_have_it(
    listen: Listen, importer: JobDefinition, worker: HandWorker
) -> None:
    """The client asks for both at once. It is told of the newest run under way; of one that is
    over only by its end, or a page that is opened after it would follow it.
    """
    runs = [importer.trigger({"file": name}, labels={"org": "5"}) for name in "ab"]
    importer.trigger({"file": "c"}, labels={"org": "6"})
    worker.take(runs[0]).execute()
    stream = listen("label.org=5")
    assert bare(stream.next(), runs[1]) == {"type": "run:trigger"}
    held = worker.take(runs[1])
    assert bare(stream.next(), runs[1]) == {"type": "run:leased"}
    assert bare(listen("label.org=5").next(), runs[1]) == {"type": "run:leased"}
    held.execute()
    stream.until("run:complete")
    assert bare(listen("label.org=5").next(), runs[1]) == {"type": "run:complete"}


def test_a_run_from_its_trigger_to_its_end_and_deletion(listen: Listen, worker: HandWorker) -> None:
    @job
    def short(step: Step) -> str:
        step.log.info("before", {"n": 1})
        step.run("open", lambda: "a secret")
        step.progress(1, 3, "rows")
        return "another secret"

    stream = listen()
    run = short.trigger(labels={"org": "5"})
    worker.take(run).execute()
    found = stream.until("run:complete")
    delete_run(run)
    found.append(stream.next())
    told = {message["type"]: bare(message, run) for message in reversed(found)}
    assert told == {
        "run:trigger": {"type": "run:trigger"},
        "run:leased": {"type": "run:leased"},
        "log:write": {
            "type": "log:write",
            "stepName": None,
            "level": "info",
            "message": "before",
            "data": {"n": 1},
        },
        "step:complete": {"type": "step:complete", "stepName": "open", "stepIndex": 0},
        "run:progress": {
            "type": "run:progress",
            "progress": {"current": 1, "total": 3, "message": "rows"},
        },
        "run:complete": {"type": "run:complete"},
        "run:delete": {"type": "run:delete"},
    }
    order = [kind for kind in types(found) if kind.startswith("run:")]
    assert order == ["run:trigger", "run:leased", "run:progress", "run:complete", "run:delete"]


def test_a_failure_in_the_short_form(
    listen: Listen, importer: JobDefinition, worker: HandWorker
) -> None:
    stream = listen()
    run = importer.trigger({"file": "a.csv", "rows": 0})
    worker.take(run).execute()
    found = {m["type"]: bare(m, run) for m in stream.until("run:fail")}
    assert found["step:fail"] == {
        "type": "step:fail",
        "stepName": "read",
        "stepIndex": 1,
        "error": "LookupError: the file is empty",
    }
    assert found["run:fail"] == {"type": "run:fail"}


def test_a_step_under_way_is_told_when_it_starts(
    listen: Listen, importer: JobDefinition, worker: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "SHOWN_AFTER", 0)
    run = importer.trigger({"file": "a.csv"})
    stream = listen()
    held = worker.take(run)

    def body() -> None:
        held.execution.buffer.flush(with_state=True)  # as the heartbeat would
        started = stream.until("step:start")[-1]
        assert bare(started, run) == {"type": "step:start", "stepName": "open", "stepIndex": 0}

    held.step.run("open", body)
    stream.until("step:complete")


def test_other_changes(listen: Listen, importer: JobDefinition) -> None:
    stream = listen()
    run = importer.trigger({"file": "a.csv"}, concurrency_key="key", labels={"org": "5"})
    importer.trigger({"file": "b.csv"}, concurrency_key="key", coalesce="skip", labels={"org": "6"})
    cancel(run)
    retry(run)
    cancel(run)
    copy = retrigger(run)
    found = [bare(message, run) for message in stream.until("run:cancel", count=2)]
    assert found == [
        {"type": "run:trigger"},
        {"type": "run:coalesced", "skippedLabels": {"org": "6"}},
        {"type": "run:cancel"},
        {"type": "run:trigger"},  # a retried run is followed like a new one
        {"type": "run:cancel"},
    ]
    assert bare(stream.next(), copy) == {"type": "run:trigger"}


def test_the_server_filters(listen: Listen, importer: JobDefinition) -> None:
    queries = [
        "jobName=import-table",
        "jobName=importTable",
        "jobName=other&jobName=import-table",
        "label.team%2Forg.name=a%26b",
        "jobName=import-table&label.team%2Forg.name=a%26b",
    ]
    streams = [listen(query) for query in queries]
    for name in ("another", "import-tables"):
        other = factories.run(job=name, labels={"team/org.name": "b"})
        factories.event(other, "triggered")
        delete_run(other)

    def all_hear(type: str) -> None:
        assert [bare(stream.next(), run) for stream in streams] == [{"type": type}] * len(queries)

    run = importer.trigger({"file": "a.csv"}, labels={"team/org.name": "a&b"})
    all_hear("run:trigger")
    cancel(run)
    all_hear("run:cancel")
    delete_run(run)
    all_hear("run:delete")


def test_a_browser_that_comes_back_hears_what_it_missed(
    listen: Listen, importer: JobDefinition
) -> None:
    stream = listen()
    first = importer.trigger({"file": "a.csv"})
    stream.until("run:trigger")
    stream.close()
    cancel(first)
    second = importer.trigger({"file": "b.csv"})
    again = listen(last_id=stream.last_id)
    found = [again.next(), again.next()]
    assert sorted((m["type"], m["runId"]) for m in found) == [
        ("run:cancel", str(first.pk)),
        ("run:trigger", str(second.pk)),
    ]


def test_an_id_that_no_stream_gave_counts_as_none(listen: Listen, importer: JobDefinition) -> None:
    streams = [listen(last_id=last_id) for last_id in ("nonsense", "-1", "1" * 20_000, "7")]
    run = importer.trigger({"file": "a.csv"})
    for stream in streams:
        assert bare(stream.next(), run) == {"type": "run:trigger"}


def test_a_query_that_makes_no_sense_is_a_400(listen: Listen) -> None:
    for query in ("label.=a", "label.a%20b=c", "jobName=%00"):
        assert listen(query).status == 400


def test_hidden_runs_are_not_told_of(
    settings: Settings, listen: Listen, importer: JobDefinition
) -> None:
    settings.ACCESS_POLICY = f"{Hiding.__module__}.Hiding"
    stream = listen()
    hidden = importer.trigger({"file": "a.csv"}, labels={"hidden": "yes"})
    cancel(hidden)
    delete_run(hidden)
    run = importer.trigger({"file": "b.csv"})
    assert bare(stream.next(), run) == {"type": "run:trigger"}


def test_a_change_of_the_policy_s_answer_counts_while_the_stream_is_open(
    settings: Settings,
    listen: Listen,
    importer: JobDefinition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "_RECHECK_AFTER", 0.1)
    monkeypatch.setattr(watching, "_BEAT_AFTER", 0.05)
    stream = listen()
    settings.ACCESS_POLICY = f"{Hiding.__module__}.Hiding"
    stream.await_comments(10)
    importer.trigger({"file": "a.csv"}, labels={"hidden": "yes"})
    run = importer.trigger({"file": "b.csv"})
    assert bare(stream.next(), run) == {"type": "run:trigger"}


@pytest.mark.parametrize("who", ["person", "signed out", "token"])
def test_a_stream_ends_once_its_listener_may_not_listen_any_more(
    listen: Listen, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(watching, "_RECHECK_AFTER", 0.1)
    monkeypatch.setattr(watching, "_BEAT_AFTER", 0.05)
    client = async_client(factories.user("ben", "view_run"))
    token, secret = tokens.create("ci", permissions=["runs.view_run"])
    headers = {"Authorization": f"Bearer {secret}"} if who == "token" else {}
    stream = Listener(client, "runs/subscribe", **headers)
    assert stream.status == 200
    stream.await_comments(3)
    if who == "person":
        User.objects.get(username="ben").user_permissions.clear()
    elif who == "token":
        tokens.revoke(token)
    else:
        client.session.flush()
    assert stream.ended.wait(10)
