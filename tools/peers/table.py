"""The figures side by side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runs.bench.measuring import percentile


@dataclass(frozen=True)
class Figure:
    """A row: what it is, its unit, how it is made of one measurement, and what is better."""

    name: str
    unit: str
    measured: str
    less_is_better: bool
    quantile: float | None = None

    def of(self, repetitions: Sequence[Mapping[str, Any]]) -> float:
        """The median of the repetitions."""
        values = [each[self.measured] for each in repetitions]
        if self.quantile is not None:
            values = [percentile(value, self.quantile) for value in values]
        return float(statistics.median(values))


FIGURES = (
    Figure("steps of one run", "/s", "steps", less_is_better=False),
    Figure("runs of three steps", "/s", "runs", less_is_better=False),
    Figure("trigger to first step, p50", "ms", "pickup", less_is_better=True, quantile=0.5),
    Figure("trigger to first step, p95", "ms", "pickup", less_is_better=True, quantile=0.95),
    Figure("resuming after those steps", "ms", "resume", less_is_better=True),
    Figure("memory of the worker", "MB", "memory", less_is_better=True),
)


def table(target: str, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """All figures of one database; ``found`` has each engine's repetitions, ours first.

    The last column is ours in relation to the best of the others: above 1 is ahead.
    """
    names = list(found)
    rows = [["", *names, "ahead of the best by"]]
    for figure in FIGURES:
        values = {name: figure.of(found[name]) for name in names if found[name]}
        cells = [_number(values.get(name), figure.unit) for name in names]
        rows.append([f"{figure.name}, {figure.unit.strip('/')}", *cells, _ratio(figure, values)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [target, "-" * len(target)]
    for row in rows:
        others = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *others]).rstrip())
    bare = sorted(each["baseline"] for each in found["ours"])
    if bare:
        lines.append(f"Bare checkpoints, without an engine: {_range(bare)} a second")
    return "\n".join(lines)


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:,.0f} to {values[-1]:,.0f}, median {statistics.median(values):,.0f}"


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if unit != "ms" or value >= 100 else f"{value:.1f}"


def _ratio(figure: Figure, values: Mapping[str, float]) -> str:
    others = [value for name, value in values.items() if name != "ours"]
    if not others or "ours" not in values:
        return "-"
    best = min(others) if figure.less_is_better else max(others)
    ratio = best / values["ours"] if figure.less_is_better else values["ours"] / best
    return f"{ratio:.2f}"
