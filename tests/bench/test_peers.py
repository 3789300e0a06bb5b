"""``make bench-peers``: our own part of it, and the table. The others need a network."""

from __future__ import annotations

import pytest

from runs.bench import scratch
from tools.peers import engines
from tools.peers.measure import Sizes, measure
from tools.peers.table import table


@pytest.mark.slow
def test_this_engine_can_be_measured_as_the_others_are() -> None:
    sizes = Sizes(steps=40, runs=6, pickups=3, repetitions=1)
    found = measure(engines.ours(), scratch.sqlite("normal"), sizes)
    assert len(found["pickup"]) == 3
    assert all(delay > 0 for delay in found["pickup"])
    for name in ("steps", "runs", "memory", "resume", "baseline"):
        assert found[name] > 0


def test_the_table_compares_with_the_best_of_the_others() -> None:
    def figures(steps: float, pickup: float, **more: float) -> dict[str, object]:
        rest = {"runs": 10.0, "resume": 10.0, "memory": 100.0}
        return {"steps": steps, "pickup": [pickup] * 3, **rest, **more}

    found = {
        "ours": [figures(300, 5, baseline=1_000), figures(500, 5, baseline=2_000)],
        "slow": [figures(100, 20)],
        "quick": [figures(200, 4)],
        "failed": [],
    }
    lines = table("SQLite", found).splitlines()
    assert lines[0] == "SQLite"
    steps = next(line for line in lines if line.startswith("steps"))
    assert steps.split()[-5:] == ["400", "100", "200", "-", "2.00"]
    pickup = next(line for line in lines if line.startswith("trigger to first step, p50"))
    assert pickup.split()[-5:] == ["5.0", "20.0", "4.0", "-", "0.80"], "less is better"
    assert lines[-1].endswith("1,000 to 2,000, median 1,500 a second")
