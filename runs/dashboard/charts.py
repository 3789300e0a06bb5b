"""Charts as SVG: positions and sizes as attributes, which a strict CSP allows.

``x`` and ``width`` are percentages of the drawing, ``y`` and ``height`` pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

_BASE = 112.0  # where bars stand
_ROOM = 96.0  # how high the highest may be
_LEAST = 2.0  # so that a single failure among thousands is seen
_SPARK_WIDTH, _SPARK_HEIGHT = 84.0, 18.0


@dataclass(frozen=True)
class Rect:
    """A bar, or a part of one."""

    x: str
    width: str
    y: str
    height: str
    kind: str

    @property
    def attributes(self) -> SafeString:
        """Where it stands, as attributes of its element."""
        return format_html(
            'x="{}" width="{}" y="{}" height="{}"', self.x, self.width, self.y, self.height
        )


@dataclass(frozen=True)
class Slot:
    """What happened from ``start`` to ``end``."""

    start: datetime
    end: datetime
    completed: int = 0
    failed: int = 0
    started: int = 0

    @property
    def happened(self) -> int:
        return self.completed + self.failed + self.started

    @property
    def peak(self) -> int:
        return max(self.completed + self.failed, self.started)


@dataclass(frozen=True)
class Bar:
    """A slot as it is drawn: the whole column, its parts and the mark of what was started."""

    slot: Slot
    title: str
    x: str
    width: str
    column: str
    completed: Rect | None
    failed: Rect | None
    started_y: str
    x2: str
    links: dict[str, str]

    @property
    def start(self) -> str:
        return _start(timezone.localtime(self.slot.start))


@dataclass(frozen=True)
class Chart:
    """Bars, the lines behind them and the times below."""

    height = 134

    bars: list[Bar]
    lines: list[tuple[str, str]]  # y and number
    times: list[tuple[str, datetime, str]]  # x, time, class
    time_format: str

    @property
    def scale_width(self) -> int:
        """Room for the longest number, in pixels."""
        return 7 * max(len(number) for _, number in self.lines)

    @property
    def newest_first(self) -> list[Bar]:
        """The bars in which something happened."""
        return [bar for bar in reversed(self.bars) if bar.slot.happened]

    @property
    def has_data(self) -> bool:
        return any(bar.slot.happened for bar in self.bars)


def runs_link(**filters: object) -> str:
    """The run list with these filters; those that are empty are left out."""
    pairs = {name: str(value) for name, value in filters.items() if value not in ("", None)}
    return f"{_runs_path()}?{urlencode(pairs)}"


@cache
def _runs_path() -> str:
    return reverse("runs")


def moment(value: datetime) -> str:
    """A time as the run list's filters take it, whatever the viewer's zone."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def slot_links(slot: Slot, **filters: object) -> dict[str, str]:
    """The lists behind the parts of a bar."""
    link = runs_link(**filters, since=moment(slot.start), until=moment(slot.end))
    return {
        "completed": f"{link}&status=completed",
        "failed": f"{link}&status=failed",
        "all": link,
    }


def draw(slots: Sequence[Slot], links: Callable[[Slot], dict[str, str]] = slot_links) -> Chart:
    """Stacked bars of what completed and failed, with a mark for what was started."""
    top = nice_ceiling(max((slot.peak for slot in slots), default=0))
    width = 100 / max(1, len(slots))
    bars = [_bar(slot, n * width, width, top, links) for n, slot in enumerate(slots)]
    lines = [
        (f"{_BASE - value / top * _ROOM:.1f}", f"{value:,}") for value in sorted({0, top // 2, top})
    ]
    if slots and slots[-1].end - slots[0].start > timedelta(days=14):
        return Chart(bars, lines, _times(slots, 5), "j M")
    if slots and slots[-1].end - slots[0].start > timedelta(days=2):
        return Chart(bars, lines, _times(slots, 7), "D")
    return Chart(bars, lines, _times(slots, 4), "H:i")


def _bar(
    slot: Slot, x: float, width: float, top: int, links: Callable[[Slot], dict[str, str]]
) -> Bar:
    left, bar_width = f"{x:.2f}%", f"{width * 0.76:.2f}%"
    heights = [_height(value, top) for value in (slot.completed, slot.failed)]
    completed = failed = None
    y = _BASE - heights[0]
    if heights[0]:
        completed = Rect(left, bar_width, f"{y:.1f}", f"{heights[0]:.1f}", "f-soft")
    if heights[1]:
        y -= heights[1] + (1 if heights[0] else 0)
        failed = Rect(left, bar_width, f"{y:.1f}", f"{heights[1]:.1f}", "f-bad")
    mark = _BASE - slot.started / top * _ROOM
    return Bar(
        slot,
        _title(slot),
        left,
        bar_width,
        f"{width:.2f}%",
        completed,
        failed,
        f"{mark:.1f}" if slot.started else "",
        f"{x + width:.2f}%",
        links(slot),
    )


def _title(slot: Slot) -> str:
    start, end = timezone.localtime(slot.start), timezone.localtime(slot.end)
    counts = [(slot.completed, "completed"), (slot.failed, "failed"), (slot.started, "started")]
    words = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    return f"{_start(start)} to {end:%H:%M}: {words}"


def _start(local: datetime) -> str:
    return f"{local:%a} {local.day} {local:%b %H:%M}"


def _height(value: int, top: int) -> float:
    return max(_LEAST, value / top * _ROOM) if value else 0.0


def _times(slots: Sequence[Slot], labels: int) -> list[tuple[str, datetime, str]]:
    """Times along the axis, the first at its left end and the last at its right one."""
    if not slots:
        return []
    found = []
    for n in range(labels + 1):
        at = round(n * len(slots) / labels)
        time = slots[at].start if at < len(slots) else slots[-1].end
        kind = "end" if n == labels else "mid" if n else ""
        found.append((f"{at / len(slots) * 100:.2f}%", time, kind))
    return found


def nice_ceiling(value: int) -> int:
    """The next even number that reads well on an axis: 2, 4, 6, 8, 10, 12, 16, 20, 30 …"""
    if value <= 10:
        return max(2, value + value % 2)
    power: int = 10 ** math.floor(math.log10(value))
    steps = (1, 1.2, 1.6, 2, 3, 4, 6, 8, 10)
    return next(round(step * power) for step in steps if step * power >= value)


@dataclass(frozen=True)
class Spark:
    """Small bars as two paths: what there was, and a thin line where nothing was."""

    bars: str
    gaps: str


def spark(values: Iterable[int]) -> Spark:
    """Bars as high as their part of the highest, in a drawing of 84 by 18."""
    found = list(values)
    top = max(found, default=0)
    step = _SPARK_WIDTH / max(1, len(found))
    width = f"{step * 0.75:.1f}"
    bars: list[str] = []
    gaps: list[str] = []
    for n, value in enumerate(found):
        height = max(3.0, value / top * _SPARK_HEIGHT) if value else 1.5
        path = f"M{n * step:.1f} {_SPARK_HEIGHT - height:.1f}h{width}v{height:.1f}h-{width}z"
        (bars if value else gaps).append(path)
    return Spark("".join(bars), "".join(gaps))
