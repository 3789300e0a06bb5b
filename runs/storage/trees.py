"""The trees of an SQLite file, tables and indexes, estimated from a few pages of each.

SQLite's table ``dbstat`` walks a tree from its root, page by page. The pages near the root say how
many there are below them, the first leaves how full they are; so 200 pages tell about millions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from django.db import connection

#: Pages that are read of each tree. One with fewer is known exactly.
PAGES = 200


@dataclass(frozen=True)
class Tree:
    """A table or an index: its pages, its entries, and the table that it belongs to."""

    name: str
    table: str
    pages: float
    rows: float
    is_exact: bool
    has_all: bool  # an entry for each row, unlike a partial index


@dataclass(frozen=True)
class File:
    """SQLite's file, all in pages but for their size."""

    page_size: int
    pages: int
    free: int
    auto_vacuum: int
    trees: list[Tree]


def read() -> File:
    """Some 200 pages of each tree. Without ``dbstat`` there are no trees."""
    with connection.cursor() as cursor:
        size, pages, free, auto_vacuum = (
            _pragma(cursor, name)
            for name in ("page_size", "page_count", "freelist_count", "auto_vacuum")
        )
        trees = _trees(cursor) if _has_dbstat(cursor) else []
    return File(size, pages, free, auto_vacuum, _fitted(trees, pages - free))


def _pragma(cursor: Any, name: str) -> int:
    cursor.execute(f"PRAGMA {name}")
    return int(cursor.fetchone()[0])


def _has_dbstat(cursor: Any) -> bool:
    cursor.execute("SELECT sqlite_compileoption_used('ENABLE_DBSTAT_VTAB')")
    return bool(cursor.fetchone()[0])


def _trees(cursor: Any) -> list[Tree]:
    cursor.execute("SELECT name, tbl_name, type, sql FROM sqlite_master WHERE rootpage > 0")
    found = []
    for name, table, kind, sql in cursor.fetchall():
        cursor.execute(
            "SELECT path, pagetype, ncell FROM dbstat WHERE name = %s LIMIT %s", [name, PAGES + 1]
        )
        is_partial = kind == "index" and " WHERE " in (sql or "")
        pages, rows, is_exact = _extent(cursor.fetchall(), is_index=kind == "index")
        found.append(Tree(name, table, pages, rows, is_exact, not is_partial))
    return found


def _extent(pages: list[tuple[str, str, int]], *, is_index: bool) -> tuple[float, float, bool]:
    """Pages and rows of a tree, from its first pages, and whether these are all.

    An index has entries in its inner pages, too.
    """
    cells = [count for _, kind, count in pages if kind == "leaf"]
    inner = [(path.count("/"), count) for path, kind, count in pages if kind == "internal"]
    if len(pages) <= PAGES:
        return len(pages), sum(cells) + is_index * sum(count for _, count in inner), True
    levels: dict[int, list[int]] = defaultdict(list)
    for depth, count in inner:
        levels[depth].append(count + 1)
    above, leaves = 0.0, 1.0
    for depth in sorted(levels):
        above += leaves
        leaves *= fmean(levels[depth])
    overflow = Counter(kind for _, kind, _ in pages)["overflow"] / max(1, len(cells))
    rows = leaves * (fmean(cells or [1]) + is_index)
    return above + leaves * (1 + overflow), rows, False


def _fitted(trees: list[Tree], used: int) -> list[Tree]:
    """The same, so that together they have as many pages as are in use."""
    known = sum(tree.pages for tree in trees if tree.is_exact)
    guessed = _pages(tree for tree in trees if not tree.is_exact)
    factor = max(0.0, used - known) / guessed if guessed else 1.0
    return [
        tree if tree.is_exact else replace(tree, pages=tree.pages * factor, rows=tree.rows * factor)
        for tree in trees
    ]


def _pages(trees: Iterable[Tree]) -> float:
    return sum(tree.pages for tree in trees)
