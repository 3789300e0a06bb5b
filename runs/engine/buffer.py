"""What one execution has said and not yet stored: log lines, progress, the step it is in.

Written at most every 250 ms by the heartbeat, with every checkpoint, and at the end. So a
call costs microseconds, and a SIGKILL loses the last 250 ms of log lines at most.
"""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from runs.engine import checkpoints, database
from runs.engine.checkpoints import Pending
from runs.engine.runwrites import LogLine
from runs.payloads import JSONText, byte_size, cut_bytes, cut_text, dumps, safe_str

#: A buffer holds so many lines, or so many characters of them; then its caller has to wait. Not
#: one with a transaction or an event loop of its own, which can neither write nor wait.
MAX_LINES = 10_000
MAX_CHARACTERS = 8_000_000


class Buffer:
    """Lines and progress, in order. Whoever writes them holds the turn from take to end."""

    def __init__(self, fence: tuple[Any, ...], shown_step: Callable[[], str | None]) -> None:
        self._fence = fence
        self._shown_step = shown_step
        self._turn = threading.RLock()
        self._lines: deque[LogLine] = deque()
        self._unsure = 0  # so many of the lines: see Pending
        self._characters = 0
        self._progress: tuple[Any, Any, Any] | None = None
        self._written_step: str | None = None

    def add_line(self, line: LogLine) -> None:
        """Buffer a log line."""
        self._lines.append(line)
        self._characters += _characters(line)

    def set_progress(self, current: Any, total: Any, message: Any) -> None:
        """Buffer the progress; the last value wins."""
        self._progress = (current, total, message)

    @property
    def is_full(self) -> bool:
        """Whether it is time to write rather than to buffer more."""
        return len(self._lines) >= MAX_LINES or self._characters >= MAX_CHARACTERS

    def taken(self) -> Taken:
        """Take all there is, to write it with something else; put back if that raises."""
        return Taken(self)

    def flush(self, *, with_state: bool, wait: bool = True) -> None:
        """Write what there is. Raises what the database raises; then it stays buffered.

        Without ``wait`` a write that is under way already will do. ``with_state`` writes
        progress and current step too, as only the holder of the run may.
        """
        if not self._turn.acquire(blocking=wait):
            return
        try:
            changed = self._progress is not None or self._shown_step() != self._written_step
            if self._lines or changed:
                with self.taken() as pending:
                    checkpoints.flush(self._fence, pending, with_state=changed and with_state)
        finally:
            self._turn.release()

    def take(self) -> Pending:
        """Begin a turn, and take what there is."""
        self._turn.acquire()
        try:
            return self._take()
        except BaseException:
            self._turn.release()
            raise

    def give_back(self, pending: Pending | None) -> None:
        """End a turn; what could not be written is buffered again."""
        try:
            if pending is not None:
                self._put_back(pending)
        finally:
            self._turn.release()

    def _take(self) -> Pending:
        lines = [self._lines.popleft() for _ in range(len(self._lines))] if self._lines else ()
        if lines:
            self._characters = 0
        progress, self._progress = self._progress, None
        self._written_step = self._shown_step()
        text = None if progress is None else progress_text(*progress)
        unsure, self._unsure = self._unsure, 0
        return Pending(lines, text, self._written_step, unsure)

    def _put_back(self, pending: Pending) -> None:
        self._lines.extendleft(reversed(pending.lines))
        self._unsure = pending.unsure
        self._characters += sum(map(_characters, pending.lines))
        self._written_step = ""  # which no step is called: it was not written
        if self._progress is None and pending.progress is not None:
            value = json.loads(pending.progress)
            self._progress = (value["current"], value["total"], value["message"])


class Taken:
    """A turn of a buffer. A class, since it opens and closes with every checkpoint."""

    __slots__ = ("_buffer", "_pending")

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    def __enter__(self) -> Pending:
        self._pending = self._buffer.take()
        return self._pending

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        self._buffer.give_back(None if kind is None else self._pending)


def _characters(line: LogLine) -> int:
    return len(line[2]) + len(line[3] or "")


def in_callers_way() -> bool:
    """Whether this thread can't write now: it has a transaction or an event loop of its own."""
    return database.in_callers_transaction() or database.in_event_loop()


def storable(value: object, limit: int) -> JSONText:
    """JSON of a log datum; of its text, marked, if it has none or takes too many bytes."""
    try:
        text: JSONText | None = dumps(value)
    except BaseException:  # the value's own code may raise anything
        text = None
    if text is not None and byte_size(text) <= limit:
        return text
    shown = safe_str(value) if text is None else text
    return dumps({"text": cut_bytes(shown, limit), "unstorable": True})


def progress_text(current: Any, total: Any, message: Any) -> JSONText:
    """JSON of a progress value; what isn't a finite number is kept as text, and marked."""
    value = {
        "current": current,
        "total": total,
        "message": None if message is None else cut_text(safe_str(message), 1000),
    }
    if not _is_number(current):
        value |= {"current": cut_text(safe_str(current), 100), "unstorable": True}
    if total is not None and not _is_number(total):
        value |= {"total": cut_text(safe_str(total), 100), "unstorable": True}
    return dumps(value)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else value.bit_length() < 1000
