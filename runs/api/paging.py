"""Pages that fit into memory, however large the payloads of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import F, IntegerField, QuerySet, Value
from django.db.models.functions import Coalesce, Length

#: A page ends before its payloads take more characters; a larger one comes alone.
MAX_PAGE = 16_000_000


def fitting(rows: QuerySet[Any], keys: Sequence[Any], *payloads: str) -> list[Any]:
    """As many of the rows' keys, from the first on, as have payloads that fit on a page."""
    size = sum(
        (Coalesce(Length(F(name)), Value(0), output_field=IntegerField()) for name in payloads),
        start=Value(0),
    )
    sizes = dict(rows.filter(pk__in=keys).order_by().values_list("pk", size))
    total = 0
    found: list[Any] = []
    for key in keys:
        total += sizes.get(key, 0)
        if found and total > MAX_PAGE:
            break
        found.append(key)
    return found
