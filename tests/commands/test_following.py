"""What a waiting terminal shows."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from runs.management.following import Follower, log_line, pretty, progress_line
from runs.models import LogEntry


def entry(message: str, data: Any = None, step: str | None = None) -> LogEntry:
    time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return LogEntry(level="info", message=message, data=data, step=step, created_at=time)


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        ({"current": 3, "total": 6, "message": "Half"}, "50% 3/6  Half"),
        ({"current": 1200, "total": None, "message": None}, "1,200"),
        ({"current": 9, "total": 3, "message": None}, "100% 9/3"),
        ({"current": 1, "total": 0, "message": "two\nlines"}, "1  two lines"),
        ({"current": "odd", "total": "values", "message": None}, "odd"),
    ],
)
def test_progress_is_one_line(progress: dict[str, Any], line: str) -> None:
    assert progress_line(progress).endswith(line)


def test_without_a_terminal_each_change_is_a_line_of_its_own() -> None:
    out = io.StringIO()
    follower = Follower(out, live=False)
    for current in (1, 1, 2):
        follower.on_progress({"current": current, "total": None, "message": None})
    follower.done()
    assert out.getvalue() == "1\n2\n"


def test_on_a_terminal_progress_is_redrawn_below_the_log() -> None:
    out = io.StringIO()
    follower = Follower(out, live=True)
    follower.on_progress({"current": 1, "total": None, "message": None})
    follower.on_log(entry("Hello"))
    follower.done()
    clear = "\r\x1b[K"
    assert out.getvalue() == f"{clear}1{clear}03:04:05 info  Hello\n{clear}1\n"


def test_a_log_line_names_its_step_and_shows_its_data() -> None:
    assert log_line(entry("Paid", {"total": 3}, "pay")) == '03:04:05 info  [pay] Paid {"total": 3}'


def test_what_jobs_log_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in log_line(entry("\x1b]0;title\x07"))


def test_output_is_printable_json_whatever_it_holds() -> None:
    assert pretty({"name": "Zoë"}) == '{\n  "name": "Zoë"\n}'
    assert pretty("\ud800").encode("utf-8") == b'"\\ud800"'
