"""What is told, and to whom."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from runs.live.cursor import Cursor
from runs.payloads import clean_text

#: Changes that nobody has collected are told one by one up to here, then as "look again".
MAX_EVENTS = 5_000


@dataclass(frozen=True)
class Topics:
    """What somebody watches. Raises ValueError for a topic that there is not.

    ``run:<id>``, ``job:<name>``, ``runs`` (all of them) and ``workers``.
    """

    runs: frozenset[uuid.UUID] = frozenset()
    jobs: frozenset[str] = frozenset()
    all_runs: bool = False
    workers: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Topics:
        runs, jobs, plain = set(), set(), set()
        for text in texts:
            kind, colon, name = text.partition(":")
            if kind == "run" and colon:
                runs.add(uuid.UUID(name))
            elif kind == "job" and name and clean_text(name) == name:
                jobs.add(name)
            elif text in ("runs", "workers"):
                plain.add(text)
            else:
                raise ValueError(f"There is no topic {text[:80]!r}")
        return cls(frozenset(runs), frozenset(jobs), "runs" in plain, "workers" in plain)

    @classmethod
    def union(cls, topics: Iterable[Topics]) -> Topics:
        """What at least one of them watches."""
        every = list(topics)
        return cls(
            frozenset().union(*(each.runs for each in every)),
            frozenset().union(*(each.jobs for each in every)),
            any(each.all_runs for each in every),
            any(each.workers for each in every),
        )

    @property
    def is_broad(self) -> bool:
        """Whether it may take in any run, not only named ones."""
        return self.all_runs or bool(self.jobs)

    def includes(self, run: uuid.UUID, job: str) -> bool:
        return self.all_runs or run in self.runs or job in self.jobs


@dataclass(frozen=True)
class Event:
    """A line of a run's history."""

    id: int
    run: uuid.UUID
    job: str
    kind: str
    seq: int


@dataclass(frozen=True)
class Moved:
    """A run whose progress, step or log went on, or that is gone from the database."""

    run: uuid.UUID
    job: str
    gone: bool = False


@dataclass(frozen=True, eq=False)
class Changes:
    """What happened up to ``cursor``. ``reset``: too much to tell, look at everything again."""

    cursor: Cursor
    events: tuple[Event, ...] = ()
    moved: tuple[Moved, ...] = ()
    workers: bool = False
    reset: bool = field(default=False)

    def __bool__(self) -> bool:
        return bool(self.events or self.moved or self.workers or self.reset)

    def of(self, topics: Topics) -> Changes:
        """The part that these topics take in."""
        return Changes(
            self.cursor,
            tuple(event for event in self.events if topics.includes(event.run, event.job)),
            tuple(move for move in self.moved if topics.includes(move.run, move.job)),
            self.workers and topics.workers,
            self.reset,
        )

    def then(self, later: Changes) -> Changes:
        """Both as one, up to the later cursor."""
        events = self.events + later.events
        if self.reset or later.reset or len(events) > MAX_EVENTS:
            return Changes(later.cursor, reset=True)
        moved = tuple(dict.fromkeys(self.moved + later.moved))
        return Changes(later.cursor, events, moved, self.workers or later.workers)
