"""What the event streams say, as server-sent events.

A message has an ``id``, with which a client comes back to where it was, an ``event`` (``run``,
``step``, ``log`` or ``progress``) and ``data``: the JSON of that thing with ``run_id``. Messages
are made once, as bytes, for all clients that are told the same.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from runs.live import Move, News, Record, place_after
from runs.models import LogEntry, Run, RunEvent, RunStatus, Step
from runs.representation import iso, log_detail, run_detail, step_detail

#: How soon a client comes back after a break, and after the end of a run's stream: browsers
#: come back whenever a stream ends. Milliseconds.
RETRY_SOON = b"retry: 2000\n"
RETRY_NEVER = b"retry: %d\n" % (24 * 60 * 60 * 1000)


def snapshot(run: Run) -> bytes:
    """The run as it is, at its present ``seq``."""
    ending = RETRY_NEVER if run.is_terminal else RETRY_SOON
    return _message("run", str(run.seq), run_detail(run), run, ending)


def of_run(news: News, seq: int) -> bytes:
    """News of one run, to who was told up to ``seq``; empty if they say nothing."""
    return news.once(
        ("run", seq),
        lambda: b"".join(
            _messages(
                news,
                first=str(seq),
                id_of=lambda record: str(record.seq),
                last=str(news.records[-1].seq if news.records else seq),
                ending=RETRY_NEVER,
            )
        ),
    )


def of_runs(news: News, statuses: frozenset[str]) -> bytes:
    """News of many runs; of those, what belongs to ``statuses``, if there are any.

    A run's steps, log lines and progress belong to its being ``running``.
    """
    return news.once(
        ("runs", statuses),
        lambda: b"".join(
            _messages(
                news,
                first=str(news.start),
                id_of=lambda record: str(place_after(news, record)),
                last=str(news.end),
                statuses=statuses,
            )
        ),
    )


def _messages(
    news: News,
    *,
    first: str,
    id_of: Callable[[Record], str],
    last: str,
    statuses: frozenset[str] = frozenset(),
    ending: bytes = b"",
) -> Iterator[bytes]:
    """The messages in order; the last has the id ``last``, after which there is no more."""
    id = first
    waiting: tuple[Any, ...] | None = None
    for thing in _in_order(news):
        if isinstance(thing, Record):
            id = id_of(thing)
        if said := _say(thing, statuses):
            if waiting:
                yield _message(*waiting)
            is_over = isinstance(thing, Record) and thing.is_end and not thing.is_superseded
            waiting = (said[0], id, said[1], thing.run, ending if is_over else b"")
    if waiting:
        event, _, *rest = waiting
        yield _message(event, last, *rest)


def _in_order(news: News) -> Iterator[Record | Move]:
    """Records as they come; a run's progress after them, but before its end."""
    moves = {move.run.pk: move for move in news.moves if move.progress}
    for run, records in itertools.groupby(news.records, lambda record: record.run.pk):
        for record in records:
            if record.is_end and not record.is_superseded and run in moves:
                yield moves.pop(run)
            yield record
        if run in moves:
            yield moves.pop(run)
    yield from moves.values()


def _say(thing: Record | Move, statuses: frozenset[str]) -> tuple[str, dict[str, Any]] | None:
    """Event and data of a message; None if there is nothing to say."""
    status = (isinstance(thing, Record) and thing.status) or RunStatus.RUNNING
    if statuses and status not in statuses:
        return None
    if isinstance(thing, Move):
        return ("progress", thing.run.progress) if thing.run.progress is not None else None
    if isinstance(thing.row, Step):
        return "step", step_detail(thing.row)
    if isinstance(thing.row, LogEntry):
        return "log", log_detail(thing.row)
    return None if thing.status is None else ("run", run_then(thing, thing.row))


def run_then(record: Record, event: RunEvent) -> dict[str, Any]:
    """The run with the status that an event gave it, and nothing that came with a later one."""
    found = run_detail(record.run)
    if not record.is_superseded:
        return found
    found |= {"status": record.status, "attempt": record.attempt, "output": None, "error": None}
    found |= {"progress": None, "current_step": None, "finished_at": None, "duration_ms": None}
    started = record.run.started_at
    if record.status == RunStatus.PENDING and record.attempt == 1:
        found["started_at"] = None
    if record.is_end:
        found["finished_at"] = iso(event.created_at)
        if started is not None and started > event.created_at:
            found["started_at"] = None
        elif started is not None:
            found["duration_ms"] = round((event.created_at - started).total_seconds() * 1000)
    if record.status == RunStatus.FAILED:
        about = event.data or {}
        type, _, message = about.get("error", "").partition(": ")
        found["error"] = {"type": type, "message": message, "step": about.get("step")}
        found["error"]["traceback"] = None
    return found


def _message(event: str, id: str, data: dict[str, Any], run: Run, ending: bytes) -> bytes:
    text = json.dumps({"run_id": str(run.pk), **data}, allow_nan=False)
    return ending + f"id: {id}\nevent: {event}\ndata: {text}\n\n".encode()
