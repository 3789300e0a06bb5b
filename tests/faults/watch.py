"""A look, again and again, at what retention will soon have deleted."""

from __future__ import annotations

import json
import time
from uuid import UUID

from runs.models import Run, Step
from tests.faults.load import Load
from tests.support.crash import Cluster

#: A look may take so long, in seconds: what is almost old enough to be purged is left out.
_MARGIN = 15.0


class Watch:
    """What was acknowledged is there, and no body ran again after its checkpoint.

    ``retained`` is how long a run is kept, in seconds; ``look`` more often than that.
    """

    def __init__(self, cluster: Cluster, load: Load, retained: float) -> None:
        self._evidence = cluster.evidence_file
        self._load = load
        self._young = retained - _MARGIN
        self._read = 0
        #: The token of the body that started last, by run and step.
        self._last: dict[tuple[UUID, str], str] = {}
        self.runs: set[UUID] = set()
        self.steps: set[tuple[UUID, str]] = set()

    def look(self) -> None:
        """Compare what is stored with what the load and the bodies have witnessed."""
        self._look_for_what_was_acknowledged()
        self._look_for_what_ran_again()

    def _look_for_what_was_acknowledged(self) -> None:
        now = time.time()
        expected = {
            UUID(line["run"]): now - line["at"]
            for line in self._load.done()
            if line["did"] == "triggered" and line["at"] > now - self._young
        }
        there = set(Run.objects.filter(pk__in=expected).values_list("pk", flat=True))
        # Only now: who deletes one says so before.
        deleted = {UUID(line["run"]) for line in self._load.done() if line["did"] == "deletes"}
        gone = {run: expected[run] for run in expected.keys() - there - deleted}
        assert not gone, f"Broken promises: acknowledged so many seconds ago, and gone: {gone}"
        self.runs |= there

    def _look_for_what_ran_again(self) -> None:
        completed = Step.objects.filter(run__job="toil", status="completed")
        stored = {(run, name): output for run, name, output in completed.values_list(
            "run_id", "name", "output"
        )}  # fmt: skip
        self._read_evidence()
        again = [place for place, token in stored.items() if self._last[place] != token]
        assert not again, f"Broken promises: ran again after its checkpoint: {again}"
        self.steps |= stored.keys()

    def _read_evidence(self) -> None:
        with self._evidence.open() as file:
            file.seek(self._read)
            whole, _, _ = file.read().rpartition("\n")
        self._read += len(whole.encode()) + bool(whole)
        for text in whole.splitlines():
            line = json.loads(text)
            if line["event"] == "start":
                self._last[UUID(line["run"]), line["step"]] = line["token"]
