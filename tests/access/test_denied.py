"""What is refused is recorded, and the record stays bounded."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from runs import access
from runs.access import OPERATE, VIEW, Actor, denied
from runs.engine import chores
from runs.errors import NotFoundError, PermissionDeniedError
from runs.models import DeniedAttempt
from tests.access.people import TENANTS, person
from tests.pages import factories
from tests.processes import until

SAM = Actor("sam", address="10.0.0.9")


def rows() -> list[tuple[str, str, str, int]]:
    """What is recorded, oldest first."""
    found = DeniedAttempt.objects.order_by("id")
    return list(found.values_list("actor", "operation", "target", "count"))


@pytest.mark.django_db
def test_a_refused_attempt_is_recorded() -> None:
    viewer = person("vic", VIEW)
    run = factories.failed_run()
    for _ in range(3):
        with pytest.raises(PermissionDeniedError):
            access.operate(viewer, run.pk, "retry")
    assert rows() == [("vic", OPERATE, str(run.pk), 3)]
    row = DeniedAttempt.objects.get()
    assert "vic may not retry" in row.detail


@pytest.mark.django_db
def test_so_is_one_on_a_hidden_run_but_not_on_one_that_never_was(settings: Any) -> None:
    settings.ACCESS_POLICY = TENANTS
    ann = person("ann", tenants=("acme",))
    hidden = factories.run(labels={"tenant": "other"})
    for id in (hidden.pk, "00000000-0000-7000-8000-000000000000"):
        with pytest.raises(NotFoundError):
            access.get_run(ann, id)
    assert rows() == [("ann", "read", str(hidden.pk), 1)]


@pytest.mark.django_db
def test_a_flood_is_counted_in_ever_coarser_steps() -> None:
    for _ in range(123):
        denied.record(SAM, "read", "x")
    assert rows() == [("sam", "read", "x", 100)]


@pytest.mark.django_db
def test_many_targets_share_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denied, "MAX_ROWS", 3)
    for number in range(10):
        denied.record(SAM, "read", f"run {number}")
        denied.record(Actor(f"name {number}", address="10.0.0.8"), "sign-in")
    assert sorted(row[2:] for row in rows() if row[1] == "read") == [
        ("(others)", 7), ("run 0", 1), ("run 1", 1), ("run 2", 1),
    ]  # fmt: skip
    assert len([row for row in rows() if row[1] == "sign-in"]) == 4
    denied.record(SAM, "delete", "run 99")
    assert rows()[-1] == ("sam", "delete", "run 99", 1)


@pytest.mark.django_db
def test_text_that_can_t_be_stored_is_cleaned_and_cut() -> None:
    denied.record(Actor("a\x00b\ud800" + "x" * 500), "o" * 100, "t" * 999, "d" * 9999)
    row = DeniedAttempt.objects.get()
    assert (len(row.actor), len(row.operation), len(row.target)) == (200, 50, 300)
    assert len(row.detail) == 1000
    assert "\x00" not in row.actor


@pytest.mark.django_db
def test_a_row_that_was_deleted_is_written_again() -> None:
    denied.record(SAM, "read", "x")
    DeniedAttempt.objects.all().delete()
    denied.record(SAM, "read", "x")
    assert len(rows()) == 1


@pytest.mark.django_db
def test_a_record_that_fails_refuses_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(DeniedAttempt, "save", fail)
    with pytest.raises(PermissionDeniedError):
        access.require(person("vic", VIEW), OPERATE)


@pytest.mark.django_db(transaction=True)
def test_the_record_outlives_the_caller_s_transaction() -> None:
    viewer = person("vic", VIEW)
    with pytest.raises(PermissionDeniedError), transaction.atomic():
        access.require(viewer, OPERATE, target="x")
    until(lambda: len(rows()) == 1, "the record")
    with transaction.atomic():
        denied.record(SAM, "read", "x")
    until(lambda: len(rows()) == 2, "the record")


@pytest.mark.django_db(transaction=True)
def test_it_can_be_written_from_an_event_loop() -> None:
    async def refuse() -> None:
        denied.record(SAM, "read", "x")

    asyncio.run(refuse())
    until(lambda: len(rows()) == 1, "the record")


def add(count: int, age: timedelta = timedelta(0)) -> None:
    now = timezone.now()
    DeniedAttempt.objects.bulk_create(
        DeniedAttempt(actor=str(n), operation="read", created_at=now - age) for n in range(count)
    )


@pytest.mark.django_db
def test_old_ones_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denied, "_BATCH", 2)
    add(5, timedelta(days=91))
    add(3)
    assert denied.prune() == 5
    assert denied.prune() == 0
    assert DeniedAttempt.objects.count() == 3


@pytest.mark.django_db
def test_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denied, "MAX_KEPT", 4)
    monkeypatch.setattr(denied, "_BATCH", 2)
    add(9)
    assert denied.prune() == 5
    assert [row[0] for row in rows()] == ["5", "6", "7", "8"]


@pytest.mark.django_db
def test_a_worker_deletes_them() -> None:
    add(1, timedelta(days=91))
    worker = uuid4()
    chores.do_due(chores.SLOW, worker)  # the first look enters the chores
    chores.do_due(chores.SLOW, worker)
    assert not DeniedAttempt.objects.exists()
