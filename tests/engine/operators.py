"""What people and programs may ask of the engine at any moment, as moves of a state machine."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

import runs
from runs import cancel, delete_run, purge_runs, retrigger, retry
from runs.engine import pauses
from runs.errors import ConflictError, NotFoundError
from runs.models import TERMINAL, Run
from tests.support.engine import HandWorker

JOBS = ("alpha", "beta")
KEYS = st.sampled_from(["x", "x", "y", None])
RARE_KEYS = st.sampled_from([None, None, None, "k"])
PRIORITIES = st.sampled_from([0, 0, 0, 5, -5])
RARELY = st.sampled_from([False, False, False, True])
HOUR = timedelta(hours=1)


class Operators(RuleBasedStateMachine):
    """The model, and who triggers, steers and deletes runs."""

    def __init__(self) -> None:
        super().__init__()
        self.workers = [HandWorker("one"), HandWorker("two"), HandWorker("three")]
        self.alive: set[uuid.UUID] = set()
        self.paused: set[str] = set()
        self.deleted: set[uuid.UUID] = set()
        self.completed_steps: dict[uuid.UUID, dict[str, int]] = {}
        self.ended: dict[uuid.UUID, tuple[str, Any, int]] = {}
        self.calls: Counter[tuple[uuid.UUID, str]] = Counter()

    @rule(
        name=st.sampled_from(JOBS),
        key=KEYS,
        idempotency=RARE_KEYS,
        skip=st.booleans(),
        priority=PRIORITIES,
        later=RARELY,
    )
    def trigger(
        self,
        name: str,
        key: str | None,
        idempotency: str | None,
        skip: bool,
        priority: int,
        later: bool,
    ) -> None:
        same_job = Run.objects.filter(job=name)
        known = same_job.filter(idempotency_key=idempotency).first() if idempotency else None
        blocking = same_job.filter(concurrency_key=key, status="pending").first() if key else None
        try:
            with transaction.atomic():
                run = runs.trigger(
                    name,
                    idempotency_key=idempotency,
                    concurrency_key=key,
                    coalesce="skip" if skip and key else None,
                    priority=priority,
                    run_at=timezone.now() + HOUR if later else None,
                )
        except ConflictError:
            assert known is None
            assert blocking is not None
            assert not skip
            return
        if known is not None:
            assert (run.pk, run.disposition) == (known.pk, "idempotent")
        elif blocking is not None:
            assert (run.pk, run.disposition) == (blocking.pk, "coalesced")
        else:
            assert run.disposition == "created"
            assert run.pk not in self.alive
            self.alive.add(run.pk)

    def _pick(self, data: st.DataObject, statuses: Any) -> Run | None:
        found = list(Run.objects.filter(status__in=statuses).order_by("pk"))
        return data.draw(st.sampled_from(found)) if found else None

    def _is_blocked(self, run: Run) -> bool:
        """Whether another one has the place of the one pending run of its job and key."""
        same = Run.objects.filter(job=run.job, concurrency_key=run.concurrency_key)
        return run.concurrency_key is not None and same.filter(status="pending").exists()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        run = self._pick(data, ["pending", "running"])
        if run is not None:
            assert cancel(run).status == "cancelled"

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        run = self._pick(data, ["failed", "cancelled"])
        if run is None:
            return
        blocked = self._is_blocked(run)
        try:
            retried = retry(run)
        except ConflictError:
            assert blocked
            return
        assert not blocked
        assert (retried.status, retried.attempt) == ("pending", run.attempt + 1)
        self.ended.pop(run.pk, None)

    @rule(data=st.data())
    def retrigger(self, data: st.DataObject) -> None:
        run = self._pick(data, TERMINAL)
        if run is None:
            return
        blocked = self._is_blocked(run)
        try:
            copy = retrigger(run)
        except ConflictError:
            assert blocked
            return
        assert not blocked
        assert copy.pk not in self.alive
        assert (copy.source_id, copy.concurrency_key, copy.idempotency_key) == (
            run.pk, run.concurrency_key, None,
        )  # fmt: skip
        self.alive.add(copy.pk)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        run = self._pick(data, TERMINAL)
        if run is None:
            return
        before = Run.objects.get(pk=run.pk)
        try:
            delete_run(run)
        except ConflictError:
            assert before.lease_owner is not None  # its old body may still work
            return
        self.alive.remove(run.pk)
        self.deleted.add(run.pk)
        self.ended.pop(run.pk, None)

    @rule(limit=st.integers(1, 3))
    def purge(self, limit: int) -> None:
        """The oldest that are over, and whose body has stopped."""
        over = Run.objects.filter(status__in=TERMINAL, lease_owner=None)
        doomed = set(over.filter(finished_at__lt=timezone.now()).values_list("pk", flat=True))
        count = purge_runs(timezone.now(), limit)
        gone = self.alive - set(Run.objects.values_list("pk", flat=True))
        assert gone <= doomed
        assert len(gone) == count == min(limit, len(doomed))
        self.alive -= gone
        self.deleted |= gone
        for run_id in gone:
            self.ended.pop(run_id)

    @rule(name=st.sampled_from(JOBS), then=st.booleans())
    def pause_or_resume(self, name: str, then: bool) -> None:
        if then is (name in self.paused):
            with pytest.raises(ConflictError, match=name):
                (pauses.pause_job if then else pauses.resume_job)(name)
        elif then:
            pauses.pause_job(name)
            self.paused.add(name)
        else:
            pauses.resume_job(name)
            self.paused.remove(name)

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        """What a state does not allow changes nothing."""
        found = list(Run.objects.order_by("pk"))
        if not found:
            return
        run = data.draw(st.sampled_from(found))
        operation = data.draw(st.sampled_from([cancel, retry, retrigger, delete_run]))
        allowed = {
            cancel: {"pending", "running"},
            retry: {"failed", "cancelled"},
            retrigger: TERMINAL,
            delete_run: TERMINAL,
        }[operation]
        if run.status in allowed:
            return
        before = Run.objects.filter(pk=run.pk).values().get()
        with pytest.raises(ConflictError, match=str(run.pk)):
            operation(run)
        assert Run.objects.filter(pk=run.pk).values().get() == before

    @rule(data=st.data())
    def look_for_what_is_gone(self, data: st.DataObject) -> None:
        if self.deleted:
            gone = data.draw(st.sampled_from(sorted(self.deleted)))
            with pytest.raises(NotFoundError):
                retry(gone)
