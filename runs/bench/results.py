"""What a measurement found, as JSON for programs and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure, or its ratio to the baseline, should reach."""

    limit: float
    of_ratio: bool = False
    at_most: bool = False

    def is_met(self, figure: float, ratio: float | None) -> bool:
        """Whether it was reached; without a ratio to judge by it was not."""
        value = ratio if self.of_ratio else figure
        if value is None:
            return False
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{sign} {_number(self.limit)}{' of the baseline' if self.of_ratio else ''}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``baseline`` is in the figure's unit or the one it names."""

    target: str
    name: str
    what: str
    unit: str
    figure: float
    baseline: float | None = None
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    note: str = ""
    median: float | None = None

    @classmethod
    def judged(  # noqa: PLR0913 (by name)
        cls,
        *,
        target: str,
        name: str,
        what: str,
        unit: str,
        figure: float,
        baseline: float | None = None,
        ratio: float | None = None,
        goal: Goal | None = None,
        note: str = "",
        median: float | None = None,
    ) -> Row:
        """A row that says whether its goal was met. The ratio follows, unless it is given."""
        if ratio is None and baseline:
            ratio = figure / baseline
        met = None if goal is None else goal.is_met(figure, ratio)
        shown = "" if goal is None else str(goal)
        return cls(target, name, what, unit, figure, baseline, ratio, shown, met, note, median)

    @classmethod
    def from_json(cls, text: str) -> Row:
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))


_HEADINGS = ("", "figure", "baseline", "ratio", "goal", "met")
_TIMED = ("", "p50", "p95", "goal", "met")
_MET = {None: "-", True: "yes", False: "no"}


def table(rows: Iterable[Row]) -> str:
    """The rows as aligned text, under a heading for each target."""
    by_target: dict[tuple[str, bool], list[Row]] = {}
    for row in rows:
        by_target.setdefault((row.target, row.median is None), []).append(row)
    parts = []
    for (target, _), found in by_target.items():
        timed = all(row.median is not None for row in found)
        cells = [_TIMED, *map(_times, found)] if timed else [_HEADINGS, *map(_cells, found)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [_line(line, widths) for line in cells]
        notes = [f"  {row.what}: {row.note}" for row in found if row.note]
        parts.append("\n".join([target, "-" * len(target), *lines, *notes]))
    return "\n\n".join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        f"{_number(row.figure)} {row.unit}",
        "-" if row.baseline is None else _number(row.baseline),
        "-" if row.ratio is None else _number(row.ratio),
        row.goal or "-",
        _MET[row.met],
    )


def _times(row: Row) -> tuple[str, ...]:
    median = "-" if row.median is None else f"{_number(row.median)} {row.unit}"
    return (row.what, median, f"{_number(row.figure)} {row.unit}", row.goal, _MET[row.met])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    shown = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return "  ".join(shown).rstrip()


def _number(value: float) -> str:
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
