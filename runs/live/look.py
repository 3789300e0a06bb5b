"""What the thread of the feeds reads: everything that is new, once for all who follow."""

from __future__ import annotations

import uuid
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from runs.engine import database
from runs.live.moves import MoveTail
from runs.live.position import SOURCES, Place, Position
from runs.live.records import KEY_FIELDS, Gone, Key, Move, News, Record, load, load_runs
from runs.live.selection import Selection
from runs.live.tail import Tail
from runs.models import Run, RunStatus

#: More new rows, or bytes of them, are left to each follower to read.
_MAX_ROWS = 2_000
_MAX_BYTES = 8_000_000
_TAIL_HOLES = 100_000


F = TypeVar("F", bound="Follower")


class Follower(Protocol):
    """Who is told: of one ``run``, or else of the runs of a ``selection``."""

    run: uuid.UUID | None
    selection: Selection
    joined: bool


@dataclass(frozen=True, eq=False)
class Told:
    """News for a follower. With ``skipped`` there were more, which the follower has to read."""

    news: News
    skipped: bool = False
    size: int = 0


class RecordTail:
    """Every event, step and log line once. Each call is made in a snapshot of its own."""

    def __init__(self, start: Position) -> None:
        self._tails = [
            Tail(source, KEY_FIELDS[source], cursor, max_holes=_TAIL_HOLES, chunk=_MAX_ROWS)
            for source, cursor in zip(SOURCES, start.cursors, strict=True)
        ]

    @property
    def position(self) -> Position:
        return Position(tuple(tail.cursor for tail in self._tails))

    def read(self) -> list[Key] | None:
        """What is new; None if that is too much to tell."""
        keys: list[Key] = []
        is_too_much = False
        for source, tail in zip(SOURCES, self._tails, strict=True):
            keys += [Key(source, *row) for row in tail.read()]
            while tail.has_more:  # all tables have to be read up to the same moment
                is_too_much = True
                tail.read()
        return None if is_too_much or _size(keys) > _MAX_BYTES else keys


@dataclass(frozen=True, eq=False)
class _Batch:
    """All that was new at one look. ``is_whole`` if it has the records, too, and not too many."""

    start: Place
    end: Place
    records: list[Record] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)
    deleted: list[Gone] = field(default_factory=list)
    is_whole: bool = True
    size: int = 0

    def of_runs(self) -> dict[uuid.UUID, Told]:
        """The part of each run that there is something to tell of."""
        records: dict[uuid.UUID, list[Record]] = defaultdict(list)
        moves: dict[uuid.UUID, list[Move]] = defaultdict(list)
        for record in self.records:
            records[record.run.pk].append(record)
        for move in self.moves:
            moves[move.run.pk].append(move)
        gone = {each.run: each for each in self.gone}
        found = {}
        for id in {*records, *moves, *gone}:
            news = News(tuple(records[id]), tuple(moves[id]), (gone[id],) if id in gone else ())
            found[id] = Told(news, not self.is_whole, self.size)
        return found

    def of(self, selection: Selection) -> Told | None:
        """The part of a selection's runs; None if not even the place has changed."""
        ids = {record.run.pk for record in self.records} | {move.run.pk for move in self.moves}
        passing = selection.passing(ids)
        news = News(
            tuple(record for record in self.records if record.run.pk in passing),
            tuple(move for move in self.moves if move.run.pk in passing),
            tuple(self.deleted) if selection.hides_none else (),
            self.start,
            self.end,
        )
        if not news and self.start == self.end:
            return None
        # A place that doesn't fit can't be given to clients: they stay at the one before.
        return Told(news, not self.is_whole or not self.end.fits, self.size)


class Look:
    """The reading of one thread, from its first follower to its last."""

    def __init__(self, deleted: deque[Gone]) -> None:
        self._deleted = deleted  # by this process: no row tells of it
        self._tail: RecordTail | None = None
        self._moves = MoveTail()
        self.has_more = False

    def at(self, watchers: list[F]) -> list[tuple[F, Told]]:
        """What each is to be told now. If it raises, the next call tells it instead."""
        self._tail = self._tail or RecordTail(Position.now())
        before = self._tail.position
        deleted = [self._deleted.popleft() for _ in range(len(self._deleted))]
        try:
            with database.snapshot():
                told = self._tell(watchers, self._read(self._tail, watchers, deleted))
        except Exception:
            self._tail, self._moves = RecordTail(before), MoveTail()
            self._deleted.extendleft(reversed(deleted))
            raise
        for each, _ in told:
            each.joined = True
        return told

    def _read(self, tail: RecordTail, followers: Sequence[F], deleted: list[Gone]) -> _Batch:
        start = Place(tail.position)
        named = {each.run for each in followers if each.run is not None}
        everything = any(each.run is None for each in followers)
        keys = tail.read()
        wanted = [key for key in keys or () if everything or key.run in named]
        records = load(wanted)
        if not all(each.joined for each in followers):
            self._moves.newcomer()
        moves = self._moves.ended(records)
        moved, gone = self._moves.read(named, everything=everything)
        return _Batch(
            start,
            Place(tail.position),
            records,
            moves + moved,
            gone,
            deleted,
            keys is not None,
            _size(wanted),
        )

    def _tell(self, followers: list[F], batch: _Batch) -> list[tuple[F, Told]]:
        told = _welcome([each for each in followers if not each.joined], batch.end)
        runs = batch.of_runs()
        missed = None if batch.is_whole else Told(News(), skipped=True)
        selections: dict[Selection, Told | None] = {}  # equal ones share one answer
        for each in followers:
            if not each.joined:
                continue
            if each.run is not None:
                found = runs.get(each.run, missed)
            else:
                if each.selection not in selections:
                    selections[each.selection] = batch.of(each.selection)
                found = selections[each.selection]
            if found is not None:
                told.append((each, found))
        return told


def _welcome(newcomers: list[F], end: Place) -> list[tuple[F, Told]]:
    """Where newcomers are, and the progress of the runs that they follow, or that one is gone."""
    runs = load_runs((), [each.run for each in newcomers if each.run is not None])
    told = []
    for each in newcomers:
        if each.run is None:
            news = News(start=end, end=end)
        elif each.run not in runs:
            news = News(gone=(Gone(each.run),))
        else:
            news = News(moves=_moves_of(runs[each.run]))
        told.append((each, Told(news)))
    return told


def _moves_of(run: Run) -> tuple[Move, ...]:
    if run.status != RunStatus.RUNNING or (run.progress is None and run.current_step is None):
        return ()
    return (Move(run, run.progress is not None, run.current_step is not None),)


def _size(keys: Iterable[Key]) -> int:
    return sum(key.size for key in keys)
