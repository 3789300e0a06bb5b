"""Inputs, outputs and step results for show: read only as far as is shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.db.models import F, QuerySet, TextField
from django.db.models.functions import Length, Substr

from runs.dashboard.format import size
from runs.dashboard.json_tree import LIMIT, Node, json_tree

_MAX_PARSED = 250_000


@dataclass(frozen=True)
class Payload:
    """A stored value: its tree, or the head of its text if it is too large to parse here."""

    size: str
    tree: Node | None = None
    head: str = ""
    cut: bool = False
    text: str = ""  # all of it if it is short, to be copied


def load_payload(rows: QuerySet[Any], field: str) -> Payload | None:
    """The value of ``field`` of the one row, or None if it holds none."""
    measured = rows.order_by().values_list(Length(field), _raw(field, LIMIT))
    length, head = measured.first() or (None, None)
    if length is None or head is None:
        return None
    if length > _MAX_PARSED:
        return Payload(size(length), head=head, cut=True)
    text = head if length <= LIMIT else read_text(rows, field)
    tree, cut = json_tree(json.loads(text or "null"))
    return Payload(size(length), tree, cut=cut, text=head if length <= LIMIT else "")


def read_text(rows: QuerySet[Any], field: str) -> str | None:
    """The JSON text of ``field`` of the one row as it is stored."""
    found: str | None = rows.order_by().values_list(_raw(field, 2**31 - 2), flat=True).first()
    return found


def _raw(field: str, length: int) -> Substr:
    return Substr(F(field), 1, length, output_field=TextField())
