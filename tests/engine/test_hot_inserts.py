"""The inserts that are written as SQL store what the ORM would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, models

from runs.engine import database, history, inserts
from runs.models import EventKind, Run, RunEvent
from runs.payloads import JSONText

pytestmark = pytest.mark.django_db

_MOMENT = datetime(2026, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)
_ELSEWHERE = _MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))


def _stored(model: type[models.Model], pk: Any) -> dict[str, Any]:
    """A row as the database holds it, without its key."""
    key = database.id_param(pk) if isinstance(model._meta.pk, models.UUIDField) else pk
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {model._meta.db_table} WHERE id = %s", [key])
        names = [column[0] for column in cursor.description or ()]
        [row] = cursor.fetchall()
    return {name: value for name, value in zip(names, row, strict=True) if name != "id"}


def _least() -> dict[str, Any]:
    return {"job": "a-job", "created_at": _MOMENT, "queued_at": _MOMENT, "triggered_by": "code"}


def _most() -> dict[str, Any]:
    return {
        **_least(),
        "input": JSONText('{"a": 1.50}'),
        "output": {"ü": [None, True]},
        "labels": {"a": "b"},
        "progress": {"current": 1},
        "priority": -3,
        "run_at": _ELSEWHERE,
        "due_at": _ELSEWHERE,
        "source_id": uuid4(),
        "lease_owner": uuid4(),
        "lease_expires_at": _MOMENT,
        "error_message": "100 %s of it",
    }


@pytest.mark.parametrize("make", [_least, _most])
def test_a_run_is_stored_as_the_orm_stores_it(make: Any) -> None:
    values = make()
    run = Run(**values)
    assert inserts.insert_unless_conflict(run)
    assert _stored(Run, run.pk) == _stored(Run, Run.objects.create(**values).pk)
    assert run._state.adding is False
    assert run._state.db == "default"


def test_a_refused_run_is_not_stored() -> None:
    first, second = (Run(**_least(), idempotency_key="a") for _ in range(2))
    assert inserts.insert_unless_conflict(first)
    assert not inserts.insert_unless_conflict(second)
    assert list(Run.objects.all()) == [first]


def test_an_event_is_stored_as_the_orm_stores_it() -> None:
    run = Run.objects.create(**_least(), seq=7)
    history.record(run, EventKind.RETRIED, "ann", reason="a \x00 b", data={"attempt": 2})
    event = RunEvent.objects.get()
    copy = RunEvent.objects.create(
        run=run,
        kind=EventKind.RETRIED,
        actor="ann",
        reason="a \ufffd b",
        data={"attempt": 2},
        created_at=event.created_at,
        seq=7,
    )
    assert _stored(RunEvent, event.pk) == _stored(RunEvent, copy.pk)
