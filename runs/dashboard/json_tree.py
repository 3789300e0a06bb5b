"""A JSON value as a tree to fold, cut so that a large one stays readable and cheap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from runs.payloads import dumps

LIMIT = 20_000
_MAX_DEPTH = 30
_MAX_TEXT = 5_000


@dataclass
class Node:
    """One value of the tree: a leaf with ``text``, or a branch with ``children``."""

    key: str | None
    kind: str  # "object", "array", or of a leaf its class: "s", "n", "l" (true, false, null)
    text: str = ""
    children: list[Node] = field(default_factory=list)
    more: int = 0
    opened: bool = False

    @property
    def is_branch(self) -> bool:
        return self.kind in ("object", "array")


class _Builder:
    def __init__(self, limit: int) -> None:
        self.left = limit
        self.cut = False

    def node(self, key: str | None, value: Any, depth: int) -> Node:
        self.left -= len(key or "") + 4
        if isinstance(value, dict | list) and depth < _MAX_DEPTH:
            return self._branch(key, value, depth)
        text: str = dumps(value)
        if len(text) > min(_MAX_TEXT, max(self.left, 80)):
            kept = min(_MAX_TEXT, max(self.left, 80))
            text = text[:kept] + f"… ({len(text) - kept:,} more characters)"
            self.cut = True
        self.left -= len(text)
        kind = "s" if isinstance(value, str) else "l"
        if isinstance(value, int | float) and not isinstance(value, bool):
            kind = "n"
        return Node(key, kind, text)

    def _branch(self, key: str | None, value: dict[str, Any] | list[Any], depth: int) -> Node:
        kind = "object" if isinstance(value, dict) else "array"
        brackets = "{}" if isinstance(value, dict) else "[]"
        node = Node(key, kind, f"{brackets[0]} {len(value)} {brackets[1]}")
        if not value:
            return Node(key, "l", brackets)
        node.opened = depth == 0 or (depth == 1 and len(value) <= 12)
        items: Iterable[tuple[Any, Any]] = (
            value.items() if isinstance(value, dict) else enumerate(value)
        )
        for name, item in items:
            if self.left <= 0:
                break
            node.children.append(self.node(str(name), item, depth + 1))
        node.more = len(value) - len(node.children)
        self.cut = self.cut or node.more > 0
        return node


def json_tree(value: Any, limit: int = LIMIT) -> tuple[Node, bool]:
    """The tree of ``value``, about ``limit`` characters of it, and whether it was cut."""
    builder = _Builder(limit)
    node = builder.node(None, value, 0)
    return node, builder.cut
