"""The look at what retention will soon have deleted sees a broken promise."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from runs.models import Run
from tests.faults.watch import Watch
from tests.pages import factories

pytestmark = pytest.mark.django_db


class Witnesses:
    """In the places of a load and a cluster."""

    def __init__(self, folder: Path) -> None:
        self.evidence_file = folder / "evidence.jsonl"
        self.evidence_file.touch()
        self.lines: list[dict[str, Any]] = []

    def done(self) -> list[dict[str, Any]]:
        return self.lines

    def says(self, did: str, run: UUID) -> None:
        self.lines.append({"did": did, "run": str(run), "at": time.time()})

    def started(self, run: Run, token: str) -> None:
        line = {"event": "start", "run": str(run.pk), "step": "part-0", "token": token}
        with self.evidence_file.open("a") as file:
            file.write(json.dumps(line) + "\n")


@pytest.fixture
def witnesses(tmp_path: Path) -> Witnesses:
    return Witnesses(tmp_path)


@pytest.fixture
def watch(witnesses: Witnesses) -> Watch:
    return Watch(witnesses, witnesses, 60)  # type: ignore[arg-type]


def test_an_acknowledged_run_that_is_gone_is_seen(watch: Watch, witnesses: Witnesses) -> None:
    kept, gone = factories.run("pending"), uuid4()
    witnesses.says("triggered", kept.pk)
    watch.look()
    witnesses.says("triggered", gone)
    with pytest.raises(AssertionError, match="acknowledged so many seconds ago, and gone"):
        watch.look()
    witnesses.says("deletes", gone)
    watch.look()
    assert watch.runs == {kept.pk}


def test_a_body_that_started_after_its_checkpoint_is_seen(
    watch: Watch, witnesses: Witnesses
) -> None:
    run = factories.run("completed", job="toil")
    run.steps.create(
        name="part-0", status="completed", output="b", seq=1, index=0, attempts=1,
        started_at=run.created_at, finished_at=run.created_at,
    )  # fmt: skip
    witnesses.started(run, "a")  # whose worker died
    witnesses.started(run, "b")
    watch.look()
    witnesses.started(run, "c")
    with pytest.raises(AssertionError, match="ran again"):
        watch.look()
