"""A stored traceback for people: the last error first, the engine's own frames folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

_FRAME = re.compile(r'  File "(?P<path>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_MARKER = re.compile(r"^\s+[~^]+[~^\s]*$")
_ENGINE = ("/runs/engine/", "/asgiref/", "/concurrent/futures/", "/asyncio/")
_HEAD = "Traceback (most recent call last):"
_LINKS = {
    "The above exception was the direct cause of the following exception:": "caused by",
    "During handling of the above exception, another exception occurred:": "while handling",
}


@dataclass
class Frame:
    """A place in the code and its source lines. ``raised`` marks where it went wrong."""

    path: str
    line: str
    function: str
    code: list[str] = field(default_factory=list)
    engine: bool = False
    raised: bool = False


@dataclass(frozen=True)
class Fold:
    """Frames of the engine that lie between two others."""

    files: str
    count: int


@dataclass(frozen=True)
class Section:
    """One error of the chain. ``link`` says what it is to the one shown before it."""

    link: str
    parts: list[Frame | Fold]
    error: str
    notes: str  # further lines of the message


@dataclass(frozen=True)
class Trace:
    """Errors, the last one first; or only ``text`` if it could not be read."""

    sections: list[Section]
    text: str
    folded: int


def read_traceback(text: str, *, all_frames: bool = False) -> Trace:
    """The traceback in parts. What Python would print is in ``text``."""
    sections = []
    folded = 0
    link = ""
    for lines, next_link in reversed(list(_split(text))):
        frames, rest = _read_frames(lines)
        if not rest:
            return Trace([], text, 0)
        _mark_raised(frames)
        parts: list[Frame | Fold] = list(frames) if all_frames else list(_fold(frames))
        folded += sum(part.count for part in parts if isinstance(part, Fold))
        sections.append(Section(link, parts, rest[0], "\n".join(rest[1:])))
        link = next_link
    return Trace(sections if any(section.parts for section in sections) else [], text, folded)


def _split(text: str) -> Iterator[tuple[list[str], str]]:
    """The lines of each error, oldest first, with what links the one before it to it."""
    lines: list[str] = []
    link = ""
    for line in text.rstrip().split("\n"):
        if line in _LINKS:
            yield lines, link
            lines, link = [], _LINKS[line]
        else:
            lines.append(line)
    yield lines, link


def _read_frames(lines: Iterable[str]) -> tuple[list[Frame], list[str]]:
    """The frames, and from the error's own line on what is left."""
    frames: list[Frame] = []
    rest: list[str] = []
    for line in lines:
        found = _FRAME.match(line)
        if rest:
            rest.append(line)
        elif found:
            path = found["path"]
            engine = any(part in path for part in _ENGINE)
            frames.append(Frame(_short(path), found["line"], found["function"] or "", [], engine))
        elif line.startswith("    ") and frames:
            if not _MARKER.match(line):
                frames[-1].code.append(line)
        elif line.startswith("  [Previous line repeated") and frames:
            frames[-1].code.append(line)
        elif line and line != _HEAD:
            rest.append(line)
    return frames, rest


def _mark_raised(frames: list[Frame]) -> None:
    """The last frame that isn't the engine's is where a job's author looks first."""
    own = [frame for frame in frames if not frame.engine] or frames
    if own:
        own[-1].raised = True


def _fold(frames: list[Frame]) -> Iterator[Frame | Fold]:
    hidden: list[Frame] = []
    for frame in frames:
        if frame.engine and not frame.raised:
            hidden.append(frame)
            continue
        yield from _folded(hidden)
        hidden = []
        yield frame
    yield from _folded(hidden)


def _folded(hidden: list[Frame]) -> Iterator[Fold]:
    if hidden:
        files = list(dict.fromkeys(frame.path for frame in hidden))
        names = ", ".join(files[:3]) + (" …" if len(files) > 3 else "")
        yield Fold(names, len(hidden))


def _short(path: str) -> str:
    """Relative to the project, or to where packages are installed."""
    base = f"{Path(settings.BASE_DIR)}/"
    if path.startswith(base):
        return path.removeprefix(base)
    return path.rpartition("/site-packages/")[2] or path
