"""How a test database on PostgreSQL is emptied after a test that committed."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql.operations import DatabaseOperations

#: The rows of models and rights: made from code, and the same in every test.
_MADE_FROM_CODE = ("django_content_type", "auth_permission")


def install() -> None:
    """Let Django delete rows, where it would truncate.

    TRUNCATE waits for whoever still reads, as a thread of a stream that was just hung up on,
    who in turn may want a table that is locked already: a deadlock. It also makes a file anew
    for every table and index, which takes longer than deleting the few rows of a test.
    """
    DatabaseOperations.sql_flush = _sql_flush  # type: ignore[assignment,method-assign]


def _sql_flush(operations: Any, style: Any, tables: list[str], **options: bool) -> list[str]:
    names = [operations.quote_name(name) for name in tables if name not in _MADE_FROM_CODE]
    # One round trip. The order is free: Django's foreign keys are checked at the commit.
    return ["; ".join(f"DELETE FROM {name}" for name in names)] if names else []
