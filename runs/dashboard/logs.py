"""A run's log: a stretch at a time, filtered and searched on the server, or all as a file."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, QueryDict, StreamingHttpResponse
from django.utils import timezone
from django.utils.http import urlencode

from runs.dashboard.format import offset
from runs.dashboard.query import text_of
from runs.models import EventKind, LogEntry, LogLevel, Run, RunEvent
from runs.payloads import JSONText, dumps

PAGE_SIZE = 200
MAX_COUNT = 100_000
_MAX_COUNTED_LEVELS = 10_000
_MAX_DATA = 2_000
_MAX_TEXT = 200
_WINDOW = 20_000  # lines that a search looks at before it looks at the clock
_BUDGET = 0.5  # seconds
_BATCH = 1_000
_MAX_STARTS = 50
_CLOCKS = timedelta(seconds=10)  # so much they may be set back
_LEVELS = {
    "warn": (LogLevel.WARN, LogLevel.ERROR),
    "error": (LogLevel.ERROR,),
}


@dataclass(frozen=True)
class LogFilter:
    """What of the log is asked for."""

    level: str = ""
    text: str = ""
    step: str | None = None
    first_seq: int | None = None  # lines of this attempt come after this number
    started_at: datetime | None = None  # when this attempt began
    all_attempts: bool = False

    @property
    def searches(self) -> bool:
        """Whether it has to read lines that it may not show."""
        return bool(self.level or self.text or self.step is not None)

    @property
    def query(self) -> str:
        """For links; empty or with a leading ``&``."""
        return self.without()

    def without(self, *left_out: str) -> str:
        found = {"level": self.level, "log": self.text}
        found["attempts"] = "all" if self.all_attempts else ""
        kept = {name: value for name, value in found.items() if value and name not in left_out}
        return f"&{urlencode(kept)}" if kept else ""

    @property
    def first_query(self) -> str:
        """The same for a link without other parameters."""
        return self.query.replace("&", "?", 1)

    @property
    def without_level(self) -> str:
        return self.without("level")

    @property
    def without_attempts(self) -> str:
        return self.without("attempts")

    def apply(self, entries: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        """The lines that are asked for."""
        if self.first_seq is not None:
            entries = entries.filter(seq__gt=self.first_seq)
        if self.level:
            entries = entries.filter(level__in=_LEVELS[self.level])
        if self.step is not None:
            entries = entries.filter(step=self.step)
        if self.text:
            found = Q(message__icontains=self.text) | Q(step__icontains=self.text)
            entries = entries.filter(found | Q(data__icontains=JSONText(self.text)))
        return entries


def read_filter(run: Run, query: QueryDict) -> LogFilter:
    """From an address. The log of a retried run begins with its present attempt."""
    level = query.get("level", "")
    all_attempts = query.get("attempts") == "all" or run.attempt == 1
    seq, start = (None, None) if all_attempts else _attempt_began(run)
    return LogFilter(
        level if level in _LEVELS else "",
        text_of(query, "log", _MAX_TEXT).strip(),
        None,
        seq,
        start,
        all_attempts and run.attempt > 1,
    )


def _attempt_began(run: Run) -> tuple[int | None, datetime | None]:
    """The number of the retry that made this attempt, and when a worker first took it."""
    kinds = (EventKind.RETRIED, EventKind.STARTED)
    events = RunEvent.objects.filter(run_id=run.id, kind__in=kinds).order_by("-id")
    start = None
    for kind, seq, moment in events.values_list("kind", "seq", "created_at")[:_MAX_STARTS]:
        if kind == EventKind.RETRIED:
            return seq, start
        start = moment
    return None, None


@dataclass(frozen=True)
class Line:
    """One line for show."""

    entry: LogEntry
    offset: str
    time: str
    data: str


@dataclass(frozen=True)
class Stretch:
    """Lines, oldest first; whether some lie before; the id to go on after."""

    lines: list[Line]
    earlier: int | None  # lines before this id are not shown
    last: int
    searched_back_to: datetime | None = None  # a search that stopped before the beginning


def load_log(
    run: Run,
    *,
    after: int | None = None,
    before: int | None = None,
    only: LogFilter | None = None,
    limit: int = PAGE_SIZE,
) -> Stretch:
    """The last ``limit`` lines, of those after or before a line's id if given."""
    only = only or LogFilter()
    entries = LogEntry.objects.filter(run_id=run.id)
    if after is not None:
        entries = entries.filter(id__gt=after)
    if before is not None:
        entries = entries.filter(id__lt=before)
    start = only.started_at or run.started_at or run.created_at
    if only.searches:
        return _search(entries, only, start, after or 0, limit)
    found = list(only.apply(entries).order_by("-id")[: limit + 1])
    shown = found[:limit][::-1]
    earlier = shown[0].id if len(found) > limit else None
    last = shown[-1].id if shown else after or 0
    return Stretch([_line(entry, start) for entry in shown], earlier, last)


def _search(
    entries: QuerySet[LogEntry], only: LogFilter, start: datetime, last: int, limit: int
) -> Stretch:
    """Backwards, a window of lines at a time, until the time is up or a page is full."""
    deadline = time.monotonic() + _BUDGET
    found: list[LogEntry] = []
    newest = entries.order_by("-id").values_list("id", flat=True).first()
    bound: int | None = None  # lines before this id have not been looked at
    while newest is not None:
        rest = entries.filter(id__lt=bound) if bound else entries
        edge = rest.order_by("-id").values_list("id", flat=True)[_WINDOW : _WINDOW + 1].first()
        window = rest.filter(id__gt=edge) if edge is not None else rest
        found += only.apply(window).order_by("-id")[: limit + 1 - len(found)]
        bound = edge + 1 if edge is not None else None
        if bound is None or len(found) > limit or time.monotonic() > deadline:
            break
    shown = found[:limit][::-1]
    lines = [_line(entry, start) for entry in shown]
    if len(found) > limit:
        return Stretch(lines, shown[0].id, newest or last)
    back_to = None
    if bound is not None:
        back_to = entries.filter(id__gte=bound).order_by("id").values_list("created_at", flat=True)
    return Stretch(lines, bound, newest or last, back_to.first() if back_to else None)


def lines_around(run: Run, start: datetime, end: datetime) -> tuple[int | None, int | None]:
    """The ids of a line before and of one after that time; None in a short log.

    Found by halves: ids and times have the same order, but for clocks that are set.
    """
    entries = LogEntry.objects.filter(run_id=run.id).order_by("id")
    ids = entries.values_list("id", flat=True)
    if not ids[_WINDOW : _WINDOW + 1].exists():
        return None, None
    first, last = ids[0] - 1, ids.reverse()[0] + 1
    after, _ = _halve(entries, start - _CLOCKS, first, last)
    _, before = _halve(entries, end + _CLOCKS, after, last)
    return after, before


def _halve(entries: QuerySet[LogEntry], moment: datetime, low: int, high: int) -> tuple[int, int]:
    """Ids near that time: all lines up to the one are older, all from the other on are not."""
    while high - low > _BATCH:
        middle = (low + high) // 2
        found = entries.filter(id__gt=middle).values_list("id", "created_at").first()
        if found is None or found[1] >= moment:
            high = middle + 1
        else:
            low = found[0]
    return low, high


def _line(entry: LogEntry, start: datetime) -> Line:
    seconds = (entry.created_at - start).total_seconds()
    # Not by the template's filter, which takes a third of the time of a page of 500 lines.
    local = timezone.localtime(entry.created_at)
    return Line(entry, offset(seconds), f"{local:%Y-%m-%d %H:%M:%S.%f}", _data_text(entry.data))


def _data_text(data: Any) -> str:
    if data is None:
        return ""
    text = dumps(data)
    return text if len(text) <= _MAX_DATA else text[:_MAX_DATA] + "…"


@dataclass(frozen=True)
class LogSize:
    """How many lines there are, counted up to a limit; ``levels`` only of shorter logs."""

    lines: int
    warn: int | None
    error: int | None

    @property
    def text(self) -> str:
        more = "+" if self.lines >= MAX_COUNT else ""
        return f"{self.lines:,}{more} line{'' if self.lines == 1 else 's'}"


def measure_log(run: Run, only: LogFilter | None = None) -> LogSize:
    """The size of the whole log, or of this attempt's. Two bounded queries."""
    entries = LogEntry.objects.filter(run_id=run.id).order_by()
    if only is not None and only.first_seq is not None:
        entries = entries.filter(seq__gt=only.first_seq)
    lines = entries[:MAX_COUNT].count()
    if lines > _MAX_COUNTED_LEVELS:
        return LogSize(lines, None, None)
    counts = dict(entries.values_list("level").annotate(Count("id"))) if lines else {}
    errors = counts.get(LogLevel.ERROR, 0)
    return LogSize(lines, counts.get(LogLevel.WARN, 0) + errors, errors)


def download_log(request: HttpRequest, run: Run, kind: str) -> StreamingHttpResponse:
    """The whole log as text or JSON lines, streamed a batch at a time."""
    asynchronous = isinstance(request, ASGIRequest)
    content = _stream_async(run, kind) if asynchronous else _stream(run, kind)
    types = {"txt": "text/plain", "jsonl": "application/jsonl"}
    response = StreamingHttpResponse(content, content_type=f"{types[kind]}; charset=utf-8")
    name = f"{run.job}-{str(run.id)[-12:]}.log.{kind}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _stream(run: Run, kind: str) -> Iterator[str]:
    after = 0
    while True:
        text, after = _batch(run, kind, after)
        if not text:
            return
        yield text


async def _stream_async(run: Run, kind: str) -> AsyncIterator[str]:
    after = 0
    while True:
        text, after = await sync_to_async(_batch)(run, kind, after)
        if not text:
            return
        yield text


def _batch(run: Run, kind: str, after: int) -> tuple[str, int]:
    """The next lines after an id as text, and the id to go on after."""
    entries = list(LogEntry.objects.filter(run_id=run.id, id__gt=after).order_by("id")[:_BATCH])
    if not entries:
        return "", after
    write = _as_json if kind == "jsonl" else _as_text
    return "".join(f"{write(entry)}\n" for entry in entries), entries[-1].id


def _as_json(entry: LogEntry) -> str:
    return dumps(
        {
            "id": entry.id,
            "step": entry.step,
            "level": entry.level,
            "message": entry.message,
            "data": entry.data,
            "created_at": entry.created_at.astimezone(UTC).isoformat(),
        }
    )


def _as_text(entry: LogEntry) -> str:
    moment = entry.created_at.astimezone(UTC).isoformat(timespec="milliseconds")
    step = f" [{entry.step}]" if entry.step else ""
    data = "" if entry.data is None else f" {dumps(entry.data)}"
    return f"{moment} {entry.level:<5}{step} {entry.message}{data}"
