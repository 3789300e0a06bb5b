"""The table, and what counts as met."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from runs.bench import crowd, measurements
from runs.bench.measuring import QUICK, Bench
from runs.bench.orders import NAMES, Order
from runs.bench.processor import Used
from runs.bench.results import Goal, Row, table
from runs.bench.scratch import postgresql, sqlite
from runs.bench.worker import BenchError


@pytest.mark.parametrize(
    ("goal", "figure", "ratio", "met"),
    [
        (Goal(1_000), 1_000, None, True),
        (Goal(1_000), 999.9, None, False),
        (Goal(40, at_most=True), 40, None, True),
        (Goal(40, at_most=True), 40.1, 0.1, False),
        (Goal(0.25, of_ratio=True), 3, 0.25, True),
        (Goal(0.25, of_ratio=True), 3, 0.24, False),
        (Goal(0.25, of_ratio=True), 3, None, False),
    ],
)
def test_a_goal_is_met_by_the_figure_or_its_ratio(
    goal: Goal, figure: float, ratio: float | None, met: bool
) -> None:
    assert goal.is_met(figure, ratio) is met


def _row(name: str = "steps", **more: object) -> Row:
    known = {"target": "SQLite", "what": "2,000 steps", "unit": "steps/s", "figure": 5_000.0}
    return Row.judged(name=name, **{**known, **more})  # type: ignore[arg-type]


def test_the_ratio_follows_from_the_baseline_unless_it_is_given() -> None:
    assert _row(baseline=20_000.0).ratio == 0.25
    assert _row(baseline=20_000.0, ratio=0.3).ratio == 0.3
    assert _row().ratio is None


def test_a_row_survives_json() -> None:
    row = _row(baseline=20_000.0, goal=Goal(0.25, of_ratio=True), note="as planned")
    assert Row.from_json(row.to_json()) == row
    assert json.loads(row.to_json())["met"] is True


def test_the_table_has_a_heading_a_target_and_says_what_is_unknown() -> None:
    rows = [
        _row(baseline=20_000.0, goal=Goal(0.25, of_ratio=True)),
        _row(target="PostgreSQL", figure=12.345, note="noisy"),
    ]
    assert table(rows).splitlines() == [
        "SQLite",
        "------",
        "                    figure  baseline  ratio                    goal  met",
        "2,000 steps  5,000 steps/s    20,000   0.25  ≥ 0.25 of the baseline  yes",
        "",
        "PostgreSQL",
        "----------",
        "                   figure  baseline  ratio  goal  met",
        "2,000 steps  12.3 steps/s         -      -     -    -",
        "  2,000 steps: noisy",
    ]


def test_the_table_of_pages_has_a_median_and_no_baseline() -> None:
    page = Row.judged(
        target="SQLite",
        name="list",
        what="run list",
        unit="ms",
        figure=81.2,
        median=40,
        goal=Goal(100, at_most=True),
    )
    assert table([page]).splitlines()[2:] == [
        "            p50      p95   goal  met",
        "run list  40 ms  81.2 ms  ≤ 100  yes",
    ]


def test_an_order_survives_the_command_line() -> None:
    order = Order(postgresql("postgres://somebody@somewhere/x"), ["steps"], quick=True, runs=7)
    assert Order.from_json(order.to_json()) == order


def test_every_name_has_a_measurement_and_every_goal_a_name() -> None:
    alone = measurements.ALONE | measurements.WITH_WORKER
    every = alone | measurements.SERVED | measurements.LARGE
    assert tuple(every) == NAMES
    for target in (sqlite("normal"), sqlite("full"), postgresql("postgres://x")):
        of_streams = {"stream-lag", "stream-memory", "stream-trigger"}
        assert set(measurements.goals_of(target)) - of_streams <= set(NAMES)


def test_more_workers_than_the_server_has_room_for_are_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crowd, "_room", lambda _: 90)
    drained: list[int] = []

    @contextmanager
    def running(**_: str) -> Iterator[None]:
        yield

    def drain(found: list[Any], _: int) -> Used:
        drained.append(len(found))
        return Used(1.0, None, None)

    monkeypatch.setattr("runs.bench.crowd.worker.running", running)
    monkeypatch.setattr(crowd, "_warm_up", lambda _: None)
    monkeypatch.setattr(crowd, "_drain", drain)
    rows = crowd.workers(Bench("PostgreSQL", replace(QUICK, workers=(1, 8, 16)), {}))
    assert [next(rows).name, next(rows).name] == ["workers-1", "workers-8"]
    with pytest.raises(BenchError, match="raise its max_connections, which has to be 138"):
        next(rows)
    assert drained == [1, 8]


def test_what_a_crowd_used_is_told_as_far_as_it_is_known() -> None:
    """Of a server elsewhere, and on systems without /proc, it is not."""
    assert Used(2.0, 1.74, 1.28).notes(400) == [
        "processors used: server 0.87, workers 0.64",
        "a run costs the server 4.3 ms and the worker 3.2 ms",
    ]
    assert Used(2.0, None, 1.28).notes(400) == [
        "processors used: workers 0.64",
        "a run costs the worker 3.2 ms",
    ]
    assert Used(2.0, None, None).notes(400) == []
