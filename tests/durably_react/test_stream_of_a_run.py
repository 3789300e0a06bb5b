"""The stream of one run, message by message, and how it begins, goes on and ends."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from runs import JobDefinition, cancel, delete_run, retry
from runs.api import watching
from runs.api.durably import streams
from runs.engine import execution
from runs.models import Run
from tests.durably_react.conftest import Hiding, error
from tests.durably_react.listening import Listener, types
from tests.pages import factories
from tests.support.engine import HandWorker

pytestmark = pytest.mark.django_db(transaction=True)

Listen = Callable[..., Listener]


@pytest.fixture
def listen(open_stream: Callable[..., Listener]) -> Listen:
    """Listeners to a run."""

    def open(run: Run | str, last_id: str = "") -> Listener:
        id = run if isinstance(run, str) else run.pk
        return open_stream(f"subscribe?runId={id}", last_id)

    return open


def bare(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what every one has, which is checked."""
    time, sequence = message["timestamp"], message["sequence"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert isinstance(sequence, int)
    hidden = ("runId", "jobName", "labels", "timestamp", "sequence")
    assert set(hidden) <= message.keys()
    return {name: value for name, value in message.items() if name not in hidden}


def log(run: Run, message: str, **attributes: Any) -> None:
    """A line of the run's log."""
    factories.log(run, message, **attributes)
    run.save()


def fixture_run(status: str, **attributes: Any) -> Run:
    return factories.run(status, job="import-table", labels={"org": "5"}, **attributes)


# What is over already


def test_a_completed_run_is_told_whole_and_the_stream_ends(listen: Listen) -> None:
    run = fixture_run("completed", output={"rows": 9}, progress={"current": 2, "total": 2})
    log(run, "first", data={"n": 1}, step="open")
    log(run, "second", level="warn")
    stream = listen(run)
    progress, first, second, end = stream.rest()
    assert {message["runId"] for message in stream.heard} == {str(run.pk)}
    assert {message["jobName"] for message in stream.heard} == {"import-table"}
    assert all(message["labels"] == {"org": "5"} for message in stream.heard)
    assert bare(progress) == {"type": "run:progress", "progress": {"current": 2, "total": 2}}
    assert bare(first) == {
        "type": "log:write",
        "stepName": "open",
        "level": "info",
        "message": "first",
        "data": {"n": 1},
    }
    assert (second["stepName"], second["level"], second["data"]) == (None, "warn", None)
    assert bare(end) == {"type": "run:complete", "output": {"rows": 9}, "duration": 2000}
    assert stream.retry == 60_000
    assert stream.last_id


def test_a_failed_run_is_told_with_its_error_and_step(listen: Listen) -> None:
    run = factories.failed_run()
    (end,) = listen(run).rest()
    assert bare(end) == {
        "type": "run:fail",
        "error": "CardError: no funds (in step pay)",
        "failedStepName": "pay",
    }


def test_a_cancelled_run_is_told(listen: Listen) -> None:
    stream = listen(fixture_run("cancelled"))
    assert [bare(message) for message in stream.rest()] == [{"type": "run:cancel"}]
    assert stream.retry == 60_000


def test_a_browser_that_comes_back_to_a_run_that_is_over_hears_nothing_new(listen: Listen) -> None:
    run = fixture_run("completed", output=1)
    log(run, "a line")
    first = listen(run)
    first.rest()
    again = listen(run, last_id=first.last_id)
    assert again.rest() == []
    assert again.retry == 60_000


def test_the_log_of_a_long_run_is_told_from_its_last_lines_on(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_REPLAYED", 5)
    run = fixture_run("completed")
    for number in range(9):
        log(run, f"line {number}")
    lines = [m["message"] for m in listen(run).rest() if m["type"] == "log:write"]
    assert lines == ["line 4", "line 5", "line 6", "line 7", "line 8"]


# What goes on


def test_a_run_from_its_trigger_to_its_end(
    listen: Listen, importer: JobDefinition, worker: HandWorker
) -> None:
    run = importer.trigger({"file": "a.csv"}, labels={"org": "5"})
    stream = listen(run)
    held = worker.take(run)
    leased = stream.next()
    assert bare(leased) == {"type": "run:leased", "input": {"file": "a.csv", "rows": 3}}
    held.step.log.info("before", {"n": 1})
    held.step.run("open", lambda: "opened")
    line, done = stream.until("step:complete")
    assert bare(line) | {"data": {"n": 1}} == bare(line)
    found = bare(done)
    assert isinstance(found.pop("duration"), int)
    assert found == {
        "type": "step:complete",
        "stepName": "open",
        "stepIndex": 0,
        "output": "opened",
    }
    held.step.progress(1, 3, "rows")
    held.execution.buffer.flush(with_state=True)
    assert bare(stream.next()) == {
        "type": "run:progress",
        "progress": {"current": 1, "total": 3, "message": "rows"},
    }
    held.release()
    cancel(run)
    assert [bare(message) for message in stream.rest()] == [{"type": "run:cancel"}]
    assert stream.retry == 60_000
    sequences = [
        message["sequence"] for message in stream.heard if message["type"] != "run:progress"
    ]
    assert sequences == sorted(sequences)


def test_the_last_progress_comes_before_the_end(
    listen: Listen, importer: JobDefinition, worker: HandWorker
) -> None:
    run = importer.trigger({"file": "a.csv", "rows": 2})
    stream = listen(run)
    worker.take(run).execute()
    found = stream.rest()
    assert types(found)[-2:] == ["run:progress", "run:complete"]
    assert found[-1]["output"] == {"rows": 2}
    assert [m["stepName"] for m in found if m["type"] == "step:complete"] == ["open", "read"]


def test_a_step_that_takes_its_time_is_told_when_it_starts(
    listen: Listen, importer: JobDefinition, worker: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "SHOWN_AFTER", 0)
    run = importer.trigger({"file": "a.csv"})
    stream = listen(run)
    held = worker.take(run)
    held.step.run("open", lambda: "opened")

    def body() -> None:
        held.execution.buffer.flush(with_state=True)  # as the heartbeat would
        started = stream.until("step:start")[-1]
        assert bare(started) == {"type": "step:start", "stepName": "read", "stepIndex": 1}

    held.step.run("read", body)
    assert stream.until("step:complete", count=1)[-1]["stepName"] == "read"


def test_a_failed_step_and_then_the_run(
    listen: Listen, importer: JobDefinition, worker: HandWorker
) -> None:
    run = importer.trigger({"file": "a.csv", "rows": 0})
    stream = listen(run)
    worker.take(run).execute()
    found = stream.rest()
    step = next(message for message in found if message["type"] == "step:fail")
    assert bare(step) == {
        "type": "step:fail",
        "stepName": "read",
        "stepIndex": 1,
        "error": "LookupError: the file is empty",
    }
    assert found[-1]["error"] == "LookupError: the file is empty (in step read)"
    assert found[-1]["failedStepName"] == "read"


def test_a_late_listener_is_told_the_present_and_the_log_so_far(
    listen: Listen, importer: JobDefinition, worker: HandWorker
) -> None:
    run = importer.trigger({"file": "a.csv"})
    held = worker.take(run)
    held.step.log.info("first")
    held.step.progress(1, 3)
    held.step.run("open", lambda: None)
    stream = listen(run)
    found = [stream.next() for _ in range(3)]
    assert types(found) == ["run:leased", "run:progress", "log:write"]
    held.step.log.info("second")
    held.step.run("read", lambda: None)
    later = stream.until("step:complete")  # progress may come again
    assert [m["message"] for m in later if m["type"] == "log:write"] == ["second"]


def test_a_browser_that_comes_back_misses_nothing_and_hears_no_line_twice(
    listen: Listen, importer: JobDefinition, worker: HandWorker
) -> None:
    run = importer.trigger({"file": "a.csv"})
    held = worker.take(run)
    held.step.log.info("first")
    held.step.progress(1)
    held.step.run("open", lambda: None)
    stream = listen(run)
    stream.until("run:progress")
    stream.close()
    held.step.log.info("second")
    held.step.run("read", lambda: None)
    held.step.log.info("third")
    held.step.run("close", lambda: None)
    again = listen(run, last_id=stream.last_id)
    found = again.until("step:complete", count=2)
    assert [m["message"] for m in found if m["type"] == "log:write"] == ["second", "third"]
    held.release()


def test_an_id_that_no_stream_gave_counts_as_none(listen: Listen) -> None:
    run = fixture_run("completed")
    log(run, "a line")
    for last_id in ("nonsense", "-1", "9" * 18, "1" * 5_000, "é", "0x1"):
        assert types(listen(run, last_id=last_id).rest()) == ["log:write", "run:complete"]


def test_a_retried_run_goes_on_for_a_browser_that_comes_back(
    listen: Listen, importer: JobDefinition, worker: HandWorker
) -> None:
    run = importer.trigger({"file": "a.csv", "rows": 0})
    worker.take(run).execute()
    stream = listen(run)
    stream.rest()
    retry(run)
    again = listen(run, last_id=stream.last_id)
    assert again.retry != 60_000
    worker.take(run).execute()
    assert types(again.rest())[0] == "run:leased"
    assert again.heard[-1]["type"] == "run:fail"


def test_a_run_that_failed_and_was_retried_is_not_over(
    listen: Listen, importer: JobDefinition, worker: HandWorker
) -> None:
    run = importer.trigger({"file": "a.csv", "rows": 0})
    stream = listen(run)
    stream.close()
    worker.take(run).execute()
    retry(run)
    cancel(run)
    retry(run)
    again = listen(run, last_id=stream.last_id)
    failure = again.until("run:fail")[-1]
    assert failure["error"] == "LookupError: the file is empty"
    assert failure["failedStepName"] == "read"
    again.until("run:cancel")
    held = worker.take(run)
    again.until("run:leased")
    held.release()
    cancel(run)
    assert types(again.rest())[-1] == "run:cancel"


def test_a_deleted_run_is_told_and_told_again(listen: Listen) -> None:
    """A browser that comes back would put an error into the hook and the console otherwise."""
    run = fixture_run("pending")
    stream = listen(run)
    cancel(run)
    stream.until("run:cancel")
    delete_run(run)
    again = listen(run, last_id=stream.last_id)
    assert [bare(message) for message in again.rest()] == [{"type": "run:delete"}]
    assert again.retry == 60_000
    assert listen(run).status == 404


def test_nothing_is_told_of_leases(listen: Listen, worker: HandWorker) -> None:
    run = fixture_run("running", concurrency_key="a-key")
    stream = listen(run)
    text = str(stream.next())
    for hidden in ("a-key", str(run.lease_owner), "lease_", "leaseOwner", "leaseExpires"):
        assert hidden not in text


# The stream itself


def test_headers_keep_the_stream_unbuffered(listen: Listen) -> None:
    stream = listen(fixture_run("completed"))
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert stream.headers["Cache-Control"] == "no-cache"
    assert stream.headers["X-Accel-Buffering"] == "no"


def test_a_quiet_stream_has_comments(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_BEAT_AFTER", 0.05)
    run = fixture_run("pending")
    stream = listen(run)
    cancel(run)
    stream.rest()
    assert stream.retry == 60_000
    quiet = listen(fixture_run("pending"))
    quiet.await_comments(2)
    assert quiet.is_silent()


def test_a_hidden_run_is_a_404(settings: Settings, listen: Listen) -> None:
    settings.ACCESS_POLICY = f"{Hiding.__module__}.Hiding"
    hidden = factories.run("running", labels={"hidden": "yes"})
    assert listen(hidden).status == 404
    assert listen(str(uuid.uuid4())).status == 404
    assert listen(factories.run("completed")).status == 200


def test_a_stream_ends_once_its_user_may_not_listen_any_more(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_RECHECK_AFTER", 0.1)
    monkeypatch.setattr(watching, "_BEAT_AFTER", 0.05)
    run = fixture_run("running")
    stream = listen(run)
    stream.until("run:leased")
    User.objects.update(is_active=False)
    assert stream.ended.wait(10)
    assert stream.retry != 60_000


def test_a_server_that_cannot_stream_says_so(client: Client) -> None:
    client.force_login(factories.user("ben", "view_run"))
    response = client.get(f"/api/durably/subscribe?runId={fixture_run('completed').pk}")
    assert "ASGI" in error(response, 501)  # type: ignore[arg-type]
