"""For tests of code that triggers runs: execute them here and now."""

from __future__ import annotations

import uuid

from runs.engine import claims, executor
from runs.engine.database import in_event_loop
from runs.engine.execution import Execution
from runs.models import Run, RunStatus
from runs.registry import registry


def drain(limit: int | None = None) -> list[Run]:
    """Execute the runs that are due, in this thread, until none is (or ``limit`` were).

    Works inside pytest-django's ``db`` fixture, where ``on_commit`` never fires and no
    worker could see the run. Returns the runs as they ended, in order of execution.
    """
    ids: list[uuid.UUID] = []
    owner = uuid.uuid4()
    while limit is None or len(ids) < limit:
        claim = claims.claim_next(registry.names(), owner, "tests")
        if claim is None:
            break
        executor.execute(_WatchfulExecution(claim, "tests"))
        ids.append(claim.run_id)
    found = Run.objects.in_bulk(ids)
    return [found[id] for id in ids if id in found]


class _WatchfulExecution(Execution):
    """Looks at its run before each step, since no heartbeat does."""

    def check(self) -> None:
        if self.stop is None and not in_event_loop() and not self._is_running():
            self.halt(self.why_refused())
        super().check()

    def _is_running(self) -> bool:
        return Run.objects.filter(
            pk=self.run_id,
            status=RunStatus.RUNNING,
            lease_generation=self.claim.generation,
            lease_owner=self.claim.owner,
        ).exists()
