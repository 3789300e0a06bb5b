"""What happened to runs, as rows: one history of events, steps and log lines, by ``seq``."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db.models import Count, Exists, F, Func, IntegerField, OuterRef, Subquery, Value
from django.db.models.functions import Coalesce

from runs.live.cursor import Source
from runs.live.position import Place
from runs.models import TERMINAL, EventKind, LogEntry, Run, RunEvent, RunStatus, Step

T = TypeVar("T")

#: The status that a run has after an event; events of other kinds change none.
STATUS_AFTER = {
    EventKind.TRIGGERED: RunStatus.PENDING,
    EventKind.RETRIED: RunStatus.PENDING,
    EventKind.STARTED: RunStatus.RUNNING,
    EventKind.TAKEN_OVER: RunStatus.RUNNING,
    EventKind.HANDED_BACK: RunStatus.RUNNING,
    EventKind.COMPLETED: RunStatus.COMPLETED,
    EventKind.FAILED: RunStatus.FAILED,
    EventKind.CANCELLED: RunStatus.CANCELLED,
}

#: What a row takes in memory besides its payloads, about.
_ROW_BYTES = 500


@dataclass(frozen=True, eq=False)
class Record:
    """A row of a run's stream.

    ``run`` is the run as it was when this was read, which may be later. ``status`` is what an
    event changed the run's status to, None for all else; then ``run`` has its payloads, which
    are deferred otherwise, ``attempt`` is the one that the event belongs to, and
    ``is_superseded`` says that a later event has changed the run's state again.
    """

    run: Run
    row: RunEvent | Step | LogEntry
    status: RunStatus | None = None
    attempt: int | None = None
    is_superseded: bool = False

    @property
    def seq(self) -> int:
        """Its number in its run: 1, 2, …"""
        return self.row.seq

    @property
    def is_end(self) -> bool:
        """Whether the run was over with it."""
        return self.status in TERMINAL


@dataclass(frozen=True, eq=False)
class Move:
    """The progress or the current step of a run has changed; ``run`` has no payloads."""

    run: Run
    progress: bool
    step: bool


@dataclass(frozen=True)
class Gone:
    """A run was deleted. Its job and labels are known if it was this process that did it."""

    run: uuid.UUID
    job: str | None = None
    labels: dict[str, str] | None = field(default=None, compare=False)


@dataclass(frozen=True, eq=False)
class News:
    """Records in the order of (run, ``seq``), and what else is new. Many may share one object.

    For who follows many runs, ``start`` and ``end`` say how far these lead.
    """

    records: tuple[Record, ...] = ()
    moves: tuple[Move, ...] = ()
    gone: tuple[Gone, ...] = ()
    start: Place | None = None
    end: Place | None = None
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __bool__(self) -> bool:
        return bool(self.records or self.moves or self.gone)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returns, made once for all who share these."""
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found


def place_after(news: News, record: Record) -> Place:
    """Where who follows many runs goes on after one of these records."""
    assert news.start is not None
    assert news.end is not None
    if record is news.records[-1]:
        return news.end
    end = news.end.start if news.end.end is None else news.end.end
    return Place(news.start.start, end, record.run.pk, record.seq)


class _Bytes(Func):
    """How large a text is."""

    function = "octet_length"
    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **options: Any) -> Any:
        """SQLite counts characters: near enough, and it has no other count before 3.43."""
        return self.as_sql(compiler, connection, function="length", **options)


def _size(*names: str) -> Any:
    total: Any = Value(_ROW_BYTES)
    for name in names:
        total += Coalesce(_Bytes(F(name)), Value(0), output_field=IntegerField())
    return total


#: What tells where a row belongs, and how large it is with all that will be read for it.
KEY_FIELDS: dict[Source, tuple[Any, ...]] = {
    RunEvent: ("id", "run_id", "seq", _size("run__input", "run__output", "data")),
    Step: ("id", "run_id", "seq", _size("output", "error_traceback")),
    LogEntry: ("id", "run_id", "seq", _size("message", "data")),
}


@dataclass(frozen=True, slots=True)
class Key:
    """A row that can be loaded."""

    source: Source
    id: int
    run: uuid.UUID
    seq: int
    size: int

    @property
    def order(self) -> tuple[uuid.UUID, int]:
        return self.run, self.seq


def load(keys: Iterable[Key]) -> list[Record]:
    """The records of these keys that are still there, in order. Call in a snapshot."""
    ids: dict[Source, list[int]] = defaultdict(list)
    for key in keys:
        ids[key.source].append(key.id)
    events = _events(ids.pop(RunEvent, ()))
    rows: list[Any] = list(events)
    for source, wanted in ids.items():
        rows += source._default_manager.filter(id__in=wanted)
    changed = {event.run_id for event, status in events.items() if status is not None}
    runs = load_runs(changed, {row.run_id for row in rows} - changed)
    records = [
        _event_record(runs[row.run_id], row, events[row])
        if isinstance(row, RunEvent)
        else Record(runs[row.run_id], row)
        for row in rows
    ]
    return sorted(records, key=lambda record: (record.run.pk, record.seq))


def load_runs(whole: Iterable[uuid.UUID], others: Iterable[uuid.UUID]) -> dict[uuid.UUID, Run]:
    """Runs by id: the first with their payloads, the others without."""
    found = {run.pk: run for run in Run.objects.filter(pk__in=set(whole))}
    return found | {run.pk: run for run in Run.objects.summaries().filter(pk__in=set(others))}


def _events(ids: Collection[int]) -> dict[Any, RunStatus | None]:
    """Events with the status that each gave its run; None if the run had it already."""
    if not ids:
        return {}
    of_run = RunEvent.objects.filter(run_id=OuterRef("run_id"), kind__in=STATUS_AFTER).order_by()
    before = of_run.filter(id__lt=OuterRef("id")).order_by("-id").values("kind")[:1]
    retries = of_run.filter(kind=EventKind.RETRIED, id__lte=OuterRef("id")).values("run_id")
    found = RunEvent.objects.filter(id__in=ids).annotate(
        kind_before=Subquery(before),
        retries=Subquery(retries.annotate(count=Count("id")).values("count")),
        is_superseded=Exists(of_run.filter(id__gt=OuterRef("id"))),
    )
    statuses: dict[Any, RunStatus | None] = {}
    for event in found:
        after, known = _status_after(event.kind), _status_after(event.kind_before)
        statuses[event] = None if after == known else after
    return statuses


def _status_after(kind: str | None) -> RunStatus | None:
    return None if kind is None else STATUS_AFTER.get(EventKind(kind))


def _event_record(run: Run, event: Any, status: RunStatus | None) -> Record:
    if status is None:
        return Record(run, event)
    return Record(run, event, status, 1 + (event.retries or 0), event.is_superseded)
