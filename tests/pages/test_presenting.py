from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runs.dashboard.activity import Row
from runs.dashboard.format import duration, offset, size
from runs.dashboard.json_tree import json_tree
from runs.dashboard.logs import Line
from runs.dashboard.progress import read_progress
from runs.dashboard.timeline import Timeline
from runs.models import LogEntry, Run, RunStatus
from runs.templatetags import runs_ui

START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "< 1 ms"),
        (0.012, "12 ms"),
        (0.2, "0.2 s"),
        (9.96, "10 s"),
        (59.6, "1 m 00 s"),
        (1078, "17 m 58 s"),
        (7500, "2 h 05 m"),
        (273_600, "3 d 04 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0041, "+0.004"), (682.14, "+11:22.140"), (3723.004, "+1:02:03.004")]
)
def test_offsets(seconds: float, text: str) -> None:
    assert offset(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(612, "612 B"), (1234, "1.2 kB"), (10**7, "10.0 MB")])
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_bars_span_the_width() -> None:
    line = Timeline([(at(0), at(1)), (at(1), at(4))])
    assert line.bar(at(0), at(1)) == ("0.00%", "25.00%")
    assert line.bar(at(1), at(4)) == ("25.00%", "75.00%")
    assert line.gaps == []


def test_a_long_idle_stretch_is_folded() -> None:
    line = Timeline([(at(0), at(10)), (at(3610), at(3620))])
    [gap] = line.gaps
    assert gap.seconds == 3600
    assert line.bar(at(3610), at(3620)) == ("52.50%", "47.50%")


@pytest.mark.parametrize("spans", [[], [(at(5), at(5))], [(at(9), at(3))]])
def test_degenerate_spans_draw_nothing_odd(spans: list[tuple[datetime, datetime]]) -> None:
    line = Timeline(spans)
    for start, end in spans:
        x, width = (float(value.rstrip("%")) for value in line.bar(start, end))
        assert 0 <= x <= 100
        assert 0 < width <= 100


def test_a_tree_is_cut_and_says_how_much_is_missing() -> None:
    node, cut = json_tree({"rows": list(range(10_000))}, limit=1000)
    assert cut
    rows = node.children[0]
    assert rows.text == "[ 10000 ]"
    assert len(rows.children) + rows.more == 10_000


@pytest.mark.parametrize("value", [None, 0, "", [], {}, {"a": [{}]}, "x" * 50_000, 1e300])
def test_every_value_has_a_tree(value: Any) -> None:
    node, _ = json_tree(value)
    assert node.text


def test_a_deep_value_has_a_tree() -> None:
    value: Any = 1
    for _ in range(200):
        value = [value]
    assert json_tree(value)[0].is_branch


class TestMarkup:
    """What is put together in Python lets no text through as markup."""

    NASTY = '<i a="b">&'

    def clean(self, html: str) -> None:
        assert self.NASTY not in html
        assert "&lt;i a=&quot;b&quot;&gt;&amp;" in html

    def test_lines_of_a_log(self) -> None:
        entry = LogEntry(id=1, level="info", message=self.NASTY, step=self.NASTY)
        html = runs_ui.log_lines([Line(entry, "+0.1", "now", self.NASTY)], "UTC")
        self.clean(html)
        assert html.count("&lt;i a=") == 3
        assert "?step=%3Ci%20a%3D%22b%22%3E%26#run-step" in html
        assert "?step=" not in runs_ui.log_lines([Line(entry, "", "", "")], "UTC", of_step=True)

    def test_values_as_trees(self) -> None:
        html = runs_ui.json_value(json_tree({self.NASTY: ["<b>"]})[0])
        self.clean(html)
        assert "<b>" not in html

    @pytest.mark.parametrize("status", RunStatus.values)
    def test_what_goes_on_with_a_run(self, status: str) -> None:
        nasty = self.NASTY
        run = Run(
            status=status, job=nasty, current_step=nasty, concurrency_key=nasty, attempt=2,
            error_type=nasty, error_message=nasty, error_step=nasty, step_count=1,
        )  # fmt: skip
        progress = read_progress({"current": 1, "total": 2, "message": nasty})
        html = runs_ui.activity(Row(run, progress, reason=nasty))
        assert nasty not in html
        assert "attempt 2" in html
        if status != "completed":
            self.clean(html)
