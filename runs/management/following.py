"""A run that is waited for, as a person at a terminal sees it."""

from __future__ import annotations

import json
import shutil
from typing import Any, TextIO, TypeGuard

from django.utils import timezone

from runs.models import LogEntry
from runs.payloads import clean_text, cut_text

_BAR = 24
_CLEAR = "\r\x1b[K"
#: What a terminal would obey instead of show; what jobs log may come from anywhere.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}


class Follower:
    """Writes log lines as they come, and progress: one live line, or a line a change."""

    def __init__(self, out: TextIO, *, live: bool) -> None:
        """``live``: ``out`` is a terminal, where a line can be drawn over."""
        self._out = out
        self._live = live
        self._line = ""

    def on_progress(self, progress: dict[str, Any]) -> None:
        """Show a progress value."""
        line = progress_line(progress)
        if line == self._line:
            return
        self._line = line
        if self._live:
            self._draw()
        else:
            self._write(f"{line}\n")

    def on_log(self, entry: LogEntry) -> None:
        """Show a log line."""
        if self._live and self._line:
            self._write(_CLEAR)
        self._write(f"{log_line(entry)}\n")
        if self._live and self._line:
            self._draw()

    def done(self) -> None:
        """Leave the live line."""
        if self._live and self._line:
            self._write("\n")
            self._line = ""

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._write(_CLEAR + self._line[:width])

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def progress_line(progress: dict[str, Any]) -> str:
    """A progress value in one line: a bar if the total is known, numbers, the message."""
    current, total = progress.get("current"), progress.get("total")
    parts = []
    if _is_number(current) and _is_number(total) and total > 0:
        share = min(max(current / total, 0), 1)
        full = int(share * _BAR)
        parts.append(f"[{'#' * full}{'.' * (_BAR - full)}] {share:4.0%} {current:,}/{total:,}")
    elif current is not None:
        parts.append(f"{current:,}" if _is_number(current) else str(current))
    if message := progress.get("message"):
        parts.append(" ".join(str(message).split()))
    return printable("  ".join(parts))


def log_line(entry: LogEntry) -> str:
    """A log line in one line: time, level, step, message, data."""
    time = timezone.localtime(entry.created_at).strftime("%H:%M:%S")
    step = f"[{entry.step}] " if entry.step else ""
    data = "" if entry.data in (None, {}) else " " + compact(entry.data)
    return printable(f"{time} {entry.level:<5} {step}{entry.message}{data}")


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey."""
    return clean_text(text).translate(_CONTROLS)


def pretty(value: Any) -> str:
    """A value as indented JSON, readable where that is possible."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a character: only its escape can be printed
        return json.dumps(value, indent=2)
    return text


def compact(value: Any, limit: int = 500) -> str:
    """A value as short JSON, cut."""
    return cut_text(json.dumps(value, ensure_ascii=False), limit)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
