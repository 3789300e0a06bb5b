"""Progress and current step of runs, which no row tells of, and runs that are gone."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable
from typing import Any

from runs.live.records import Gone, Move, Record, load_runs
from runs.models import Run, RunStatus

_PAUSE = 0.25
_MAX_RUNNING = 5_000

_State = tuple[Any, Any]  # progress and current step
_NOTHING: _State = (None, None)


def last_moves(records: Iterable[Record]) -> list[Move]:
    """The progress with which the runs that are over with these records have ended."""
    ended = {record.run.pk: record.run for record in records if record.is_end}
    return [
        Move(run, progress=True, step=False)
        for run in ended.values()
        if run.is_terminal and run.progress is not None
    ]


class MoveTail:
    """What moves, four looks a second at most. Of a run that ends, its last progress, always."""

    def __init__(self) -> None:
        self._seen: dict[uuid.UUID, _State] | None = None
        self._told: set[uuid.UUID] = set()
        self._gone: set[uuid.UUID] = set()
        self._looked = 0.0

    def newcomer(self) -> None:
        """Somebody has come to whom nothing was told."""
        self._told.clear()

    def ended(self, records: Iterable[Record]) -> list[Move]:
        """The last progress of runs that ended, unless it was told to all already."""
        seen = self._seen or {}
        return [
            move
            for move in last_moves(records)
            if move.run.pk not in self._told
            or seen.get(move.run.pk, _NOTHING)[0] != move.run.progress
        ]

    def read(
        self, named: Collection[uuid.UUID], *, everything: bool
    ) -> tuple[list[Move], list[Gone]]:
        """Which of the named runs, or of all that run, have moved, and which named are gone."""
        if time.monotonic() - self._looked < _PAUSE:
            return [], []
        self._looked = time.monotonic()
        before, (self._seen, gone) = self._seen, self._look(named, everything=everything)
        newly_gone = [Gone(id) for id in gone - self._gone]
        self._gone = gone
        if before is None:  # nothing has moved: it is the first look
            return [], newly_gone
        moved = {
            id: (state[0] != before.get(id, _NOTHING)[0], state[1] != before.get(id, _NOTHING)[1])
            for id, state in self._seen.items()
            if state != before.get(id, _NOTHING)
        }
        self._told |= {id for id, (progress, _) in moved.items() if progress}
        self._told &= self._seen.keys()
        runs = load_runs((), moved)
        return [Move(run, *moved[id]) for id, run in runs.items()], newly_gone

    def _look(
        self, named: Collection[uuid.UUID], *, everything: bool
    ) -> tuple[dict[uuid.UUID, _State], set[uuid.UUID]]:
        columns = ("id", "status", "progress", "current_step")
        rows = list(Run.objects.filter(id__in=named).values_list(*columns)) if named else []
        gone = set(named) - {row[0] for row in rows}
        if everything:
            running = Run.objects.filter(status=RunStatus.RUNNING).order_by("-id")
            rows += running.values_list(*columns)[:_MAX_RUNNING]
        states = {id: state for id, status, *state in rows if status == RunStatus.RUNNING}
        return {id: (progress, step) for id, (progress, step) in states.items()}, gone
