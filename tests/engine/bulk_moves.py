"""Bulk actions, as moves of a state machine: ordered now, done by some worker later, or stopped."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from runs.engine import bulk
from runs.errors import ConflictError
from runs.models import BulkAction, BulkItem, BulkKind, Run
from tests.engine.operators import JOBS, Operators

KINDS = st.sampled_from(BulkKind.values)
FILTERS = st.sampled_from(["", *(f"job={name}" for name in JOBS)])

#: The status of a run after it was done to.
_THEN: dict[str, str] = {BulkKind.RETRY: "pending", BulkKind.CANCEL: "cancelled"}


class BulkOperators(Operators):
    """Who orders and stops bulk actions, and the workers that do them."""

    @rule(data=st.data(), kind=KINDS, filters=FILTERS, selected=st.booleans())
    def order(self, data: st.DataObject, kind: str, filters: str, selected: bool) -> None:
        known = sorted(self.alive | self.deleted)
        which: dict[str, Any] = {"filters": filters}
        if known and selected:
            chosen = st.lists(st.sampled_from(known), min_size=1, max_size=4, unique=True)
            which = {"run_ids": data.draw(chosen)}
        assert bulk.create(kind, **which).status == "pending"

    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        actions = list(BulkAction.objects.order_by("pk"))
        if not actions:
            return
        action = data.draw(st.sampled_from(actions))
        if action.status in ("pending", "running"):
            assert bulk.abort(action).status == "aborted"
        else:
            with pytest.raises(ConflictError, match=action.status):
                bulk.abort(action)

    @rule(number=st.integers(0, 2))
    def advance(self, number: int) -> None:
        """A worker does all of the oldest one."""
        action = BulkAction.objects.filter(status="pending").order_by("pk").first()
        before = Run.objects.in_bulk()
        assert bulk.advance(self.workers[number].id, 60) is (action is not None)
        if action is None:
            return
        action.refresh_from_db()
        assert action.status == "completed"
        items = list(action.items.order_by("id"))
        found = [item.run_id for item in items]
        assert found == sorted(found, reverse=True), "from new runs to old ones"
        if action.selection is not None:
            chosen = {uuid.UUID(id) for id in action.selection}
            assert set(found) == chosen & before.keys()
        assert all(id in before and id <= action.bound for id in found)
        for item in items:
            self._note(action.kind, item, before[item.run_id])

    def _note(self, kind: str, item: BulkItem, before: Run) -> None:
        """What one outcome means for the model."""
        now = Run.objects.filter(pk=item.run_id).first()
        if not item.done:
            assert item.message
            assert now is not None
            assert (now.status, now.attempt) == (before.status, before.attempt)
            return
        assert before.status in bulk.STATUSES[kind]
        if kind == BulkKind.DELETE:
            assert now is None
            self.alive.remove(item.run_id)
            self.deleted.add(item.run_id)
        else:
            assert now is not None
            assert now.status == _THEN.get(kind, before.status)
        if kind == BulkKind.RETRIGGER:
            assert item.result_id is not None
            copy = Run.objects.get(pk=item.result_id)
            assert (copy.source_id, copy.idempotency_key) == (item.run_id, None)
            assert copy.pk not in self.alive
            self.alive.add(copy.pk)
        if kind in (BulkKind.RETRY, BulkKind.DELETE):
            self.ended.pop(item.run_id, None)
