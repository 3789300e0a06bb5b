"""Inserts of whole rows that a unique constraint may refuse, at the price of a statement."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, models

from runs.engine import database
from runs.engine.database import Statement

_Adapter = Callable[[Any], Any]


def insert_unless_conflict(row: models.Model) -> bool:
    """Insert a row; False, and nothing stored, if a unique constraint forbids it.

    Safe inside a transaction, which an IntegrityError would break on PostgreSQL. As the ORM
    stores it, but for fields that fill themselves in, such as ``auto_now``: none here does.
    """
    insert, values = _insertion(row, ())
    inserted = database.count(insert, values) > 0
    _mark_stored(row)
    return inserted


def insert_with(
    row: models.Model, *, now: tuple[str, ...], more: str, params: Sequence[Any]
) -> bool:
    """The same on PostgreSQL, in one statement with ``more`` that hangs on the row.

    The fields named in ``now`` get the database's time instead of the row's. ``more`` are
    CTEs that select from ``inserted``, which has what ``row`` has in ``id`` and ``seq``;
    ``params`` are theirs.
    """
    insert, values = _insertion(row, now)
    stored = database.query(_with_more(insert, now, more), (*values, *params))
    for name, value in zip(now, stored[0] if stored else (), strict=False):
        setattr(row, name, value)
    _mark_stored(row)
    return bool(stored)


def _insertion(row: models.Model, now: tuple[str, ...]) -> tuple[Statement, list[Any]]:
    statement, values_of, adapters = _insert_of(type(row), now)
    values = list(values_of(row))
    for position, adapt in adapters:
        if values[position] is not None:
            values[position] = adapt(values[position])
    return statement, values


def _mark_stored(row: models.Model) -> None:
    row._state.adding = False
    row._state.db = DEFAULT_DB_ALIAS


@functools.cache
def _with_more(insert: Statement, now: tuple[str, ...], more: str) -> Statement:
    columns = ", ".join(("id", "seq", *now))
    stored = ", ".join(now) or "1"
    return Statement(
        f"WITH inserted AS ({insert.postgresql} RETURNING {columns}), {more} "
        f"SELECT {stored} FROM inserted"
    )


@functools.cache
def _insert_of(
    model: type[models.Model], now: tuple[str, ...]
) -> tuple[Statement, Callable[[Any], tuple[Any, ...]], list[tuple[int, _Adapter]]]:
    """The INSERT of a model, what reads the row's values, and how those at a place are bound."""
    fields = [f for f in model._meta.concrete_fields if not f.generated]
    quote = connection.ops.quote_name
    names = ", ".join(quote(str(f.column)) for f in fields)
    marks = ", ".join("{now}" if f.attname in now else "%s" for f in fields)
    statement = Statement(
        f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({marks}) "
        "ON CONFLICT DO NOTHING"
    )
    given = [f for f in fields if f.attname not in now]
    adapters = ((place, _adapter_of(f)) for place, f in enumerate(given))
    return (
        statement,
        operator.attrgetter(*(f.attname for f in given)),
        [(place, adapt) for place, adapt in adapters if adapt is not None],
    )


def _adapter_of(field: models.Field[Any, Any]) -> _Adapter | None:
    """What makes a field's value, which isn't None, a parameter; None if it is one already."""
    if isinstance(field, models.UUIDField):
        return database.id_param
    if isinstance(field, models.DateTimeField):
        return lambda moment: database.time_param(moment.astimezone(UTC))
    if isinstance(field, models.CharField | models.IntegerField):
        return None
    return lambda value: field.get_db_prep_save(value, connection)
