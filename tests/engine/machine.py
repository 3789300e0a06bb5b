"""The engine as a state machine: what can happen in any order, and what holds after each move."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

import runs
from runs.engine import claims, control, leases, pauses
from runs.models import TERMINAL, LogEntry, Run
from runs.models import Step as StepRow
from tests.engine.bulk_moves import BulkOperators
from tests.engine.operators import HOUR, JOBS
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, Held

#: What the database keeps of a run that goes by its clock.
TIMES = ("due_at", "queued_at", "run_at", "lease_expires_at", "started_at", "finished_at")
STEPS = ("s1", "s2", "s3")


class Body:
    """One execution of a run, with what the model expects of it."""

    def __init__(self, held: Held, worker: HandWorker) -> None:
        self.held = held
        self.worker = worker
        self.used: set[str] = set()

    @property
    def run_id(self) -> uuid.UUID:
        return self.held.claim.run_id

    def may_write(self) -> bool:
        """Whether the row says that this execution holds the run."""
        return Run.objects.filter(
            pk=self.run_id,
            status="running",
            lease_owner=self.worker.id,
            lease_generation=self.held.claim.generation,
        ).exists()


class EngineMachine(BulkOperators):
    """The model: which runs exist, who executes what, and which steps are done."""

    bodies: Bundle[Body] = Bundle("bodies")

    @initialize(target=bodies)
    def begin_with_runs_in_all_hands(self) -> Any:
        for name, key in (("alpha", "x"), ("beta", "x"), ("alpha", "y"), ("beta", None)):
            self.alive.add(runs.trigger(name, concurrency_key=key).pk)
        found = [(worker, worker.claim()) for worker in self.workers]
        return multiple(*(Body(held, worker) for worker, held in found if held is not None))

    # Workers

    @rule(target=bodies, number=st.integers(0, 2), messages=st.sampled_from([1, 1, 1, 4]))
    def claim(self, number: int, messages: int) -> Any:
        """A message that comes twice makes a worker look once more, and harms nothing."""
        worker = self.workers[number]
        found = [worker.claim() for _ in range(messages)]
        return multiple(*(self._taken(held, worker) for held in found if held is not None))

    def _taken(self, held: Held, worker: HandWorker) -> Body:
        run = Run.objects.get(pk=held.claim.run_id)
        assert run.pk in self.alive
        assert run.pk not in self.ended
        assert (run.status, run.lease_owner) == ("running", worker.id)
        assert held.claim.steps.keys() >= self.completed_steps.get(run.pk, {}).keys()
        *_, before, _ = run.events.order_by("id").values_list("kind", flat=True)
        if run.job in self.paused:
            assert before in ("started", "taken_over", "handed_back")  # it was under way
        return Body(held, worker)

    @rule(body=bodies, name=st.sampled_from(STEPS), fails=st.booleans())
    def step(self, body: Body, name: str, fails: bool) -> None:
        if name in body.used:
            return
        done = name in self.completed_steps.get(body.run_id, {})
        known = body.held.claim.steps.get(name)
        replays = known is not None and known.completed
        may_write = body.may_write()

        def work() -> int:
            self.calls[body.run_id, name] += 1
            # Never again, unless by an old body that nothing has told, whose result is refused.
            assert not done or not may_write
            if fails:
                raise LookupError
            return self.calls[body.run_id, name]

        try:
            result = body.held.step.run(name, work)
        except control.ControlFlow:
            assert not may_write
            return
        except LookupError:
            assert may_write
            return
        body.used.add(name)
        if replays:
            return  # the stored result, whoever holds the run now
        assert may_write
        self.completed_steps.setdefault(body.run_id, {})[name] = result

    @rule(body=bodies)
    def log_and_progress(self, body: Body) -> None:
        lines = LogEntry.objects.filter(run=body.run_id).count()
        run = Run.objects.filter(pk=body.run_id).first()
        may_write = body.may_write()
        body.held.step.log.info("line")
        body.held.step.progress(body.held.claim.generation, 10)
        body.held.execution.flush()
        now = Run.objects.filter(pk=body.run_id).first()
        written = LogEntry.objects.filter(run=body.run_id).count() - lines
        if run is None or now is None:
            assert (run, now, written) == (None, None, 0)
        elif may_write:
            assert written >= 1
            assert now.progress["current"] == body.held.claim.generation
        else:
            assert now.progress == run.progress
            # Of its last holder, as one whose run was cancelled, the lines are kept.
            if now.lease_generation != body.held.claim.generation:
                assert written == 0

    @rule(target=bodies, body=consumes(bodies), fails=st.booleans(), claims=st.booleans())
    def end(self, body: Body, fails: bool, claims: bool) -> Any:
        """The handler returns or raises; whatever it does, the row decides.

        With the end, and only then, the worker may take the next run.
        """
        may_write = body.may_write()
        before = Run.objects.filter(pk=body.run_id).first()
        name = body.held.claim.job
        outcomes[name] = LookupError("by the handler") if fails else None
        following = None
        if claims and body.worker in self.workers:  # else its process is dead
            following = body.held.execute_and_claim(body.worker)
        else:
            body.held.execute()
        run = Run.objects.filter(pk=body.run_id).first()
        if may_write:
            assert run is not None
            assert run.status == ("failed" if fails else "completed")
        elif before is None:
            assert run is None
        else:
            assert run is not None
            assert (run.status, run.output, run.error) == (
                before.status, before.output, before.error,
            )  # fmt: skip
        if following is None:
            return multiple()
        assert may_write
        return self._taken(following, body.worker)

    @rule(body=consumes(bodies))
    def hand_over(self, body: Body) -> None:
        may_write = body.may_write()
        assert body.held.hand_over() is may_write
        if may_write:
            run = Run.objects.get(pk=body.run_id)
            assert (run.lease_owner, run.due_at) == (None, run.queued_at)

    @rule(number=st.integers(0, 2))
    def crash(self, number: int) -> None:
        """A process dies; its bodies may still be running elsewhere, as after a partition."""
        self.workers[number].die()
        self.workers[number] = HandWorker(self.workers[number].name)

    @rule(target=bodies, body=bodies, number=st.integers(0, 2))
    def take_over(self, body: Body, number: int) -> Any:
        """Its process is cut off, another one takes its runs, and it goes on: rare by chance."""
        if body.worker in self.workers:
            self.crash(self.workers.index(body.worker))
        taken = self.claim(number, 4)
        self.log_and_progress(body)
        return taken

    @rule(number=st.integers(0, 2))
    def renew(self, number: int) -> None:
        worker = self.workers[number]
        leases.renew(worker.id, list(Run.objects.values_list("pk", flat=True)))

    # The clock

    @rule(by=st.sampled_from([-HOUR, timedelta(seconds=-5), timedelta(seconds=40), HOUR]))
    def jump(self, by: timedelta) -> None:
        """The database's clock is set; for the rows it is the same as if they were moved."""
        for run in Run.objects.all():
            moved = {name: getattr(run, name) for name in TIMES}
            Run.objects.filter(pk=run.pk).update(
                **{name: time and time - by for name, time in moved.items()}
            )

    @rule()
    def sweep(self) -> None:
        """Who is late lets go; a clock that was set back gives more time, also to the dead."""
        late = Run.objects.exclude(status="running").filter(lease_expires_at__lte=Now())
        found = list(late.values_list("pk", flat=True))
        leases.sweep()
        assert not Run.objects.filter(pk__in=found, lease_owner__isnull=False).exists()

    # What always holds

    @invariant()
    def every_promise_holds(self) -> None:
        check_invariants(runs=self.alive)
        self._check_wakes()
        self._check_ends()
        self._check_steps()

    def _check_wakes(self) -> None:
        """A message that was lost is not missed: who looks by itself sees every run that is due."""
        due = Run.objects.filter(status__in=("pending", "running"), due_at__lte=Now())
        assert claims.anything_due(JOBS) is due.exists()

    def _check_ends(self) -> None:
        """Only a retry leads out of a terminal state."""
        ended = Run.objects.filter(status__in=TERMINAL)
        now = {run.pk: (run.status, run.output, run.attempt) for run in ended}
        for pk, before in self.ended.items():
            assert now.get(pk) == before
        self.ended = now

    def _check_steps(self) -> None:
        """A completed step stays, with its result."""
        rows = StepRow.objects.filter(status="completed").values_list("run_id", "name", "output")
        found: dict[uuid.UUID, dict[str, Any]] = {}
        for run_id, name, output in rows:
            found.setdefault(run_id, {})[name] = output
        expected = {id: steps for id, steps in self.completed_steps.items() if id in self.alive}
        assert found == expected

    def teardown(self) -> None:
        """Left alone with one worker, everything comes to an end."""
        outcomes.clear()
        for worker in self.workers:
            worker.die()
        for name in self.paused:
            pauses.resume_job(name)
        self.jump(100 * HOUR)  # however often it was set back
        leases.sweep()
        last = HandWorker("last")
        while (held := last.claim()) is not None:
            held.execute()
        assert not Run.objects.exclude(status__in=TERMINAL).exists()
        check_invariants()


#: How the jobs of the model end, by name.
outcomes: dict[str, Exception | None] = {}
