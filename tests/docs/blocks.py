"""The documentation as data: pages, their fenced blocks, and the markers before them.

A marker is an HTML comment on the lines just before a block, which readers don't see:

- ``<!-- file: jobs/greet.py -->`` the block is that file, which later blocks may use
- ``<!-- with: worker -->`` a worker runs beside the block
- ``<!-- exits: 1 -->`` the last command of the block ends with this code
- ``<!-- same as: tests/app.jsx -->`` the block is that file of the repository, which its tests use
- ``<!-- not run: why -->`` the block is not executed
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

_FENCE = re.compile(r"^(?P<indent> *)```(?P<lang>[\w-]*)\s*$")
_MARKER = re.compile(r"^\s*<!-- (file|with|exits|same as|not run): (.+?) -->\s*$")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line in its page where that begins."""

    page: Path
    line: int
    language: str
    text: str
    markers: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        page = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name
        return f"{page}:{self.line}"


def pages() -> list[Path]:
    """README.md and all of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        number += 1
        if opening is None:
            continue
        start, indent = number, opening["indent"]
        while lines[number] != f"{indent}```":
            number += 1
        text = "\n".join(line.removeprefix(indent) for line in lines[start:number]) + "\n"
        markers = _markers_before(lines, start - 1)
        found.append(Block(page, start + 1, opening["lang"], text, markers))
        number += 1
    return found


def prose(page: Path) -> str:
    """A page without its blocks and comments."""
    kept, inside = [], False
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            kept.append(line)
    return _COMMENT.sub("", "\n".join(kept))


def _markers_before(lines: list[str], fence: int) -> dict[str, str]:
    markers: dict[str, str] = {}
    for line in reversed(lines[:fence]):
        match = _MARKER.match(line)
        if match is None:
            break
        markers[match[1]] = match[2]
    return markers
