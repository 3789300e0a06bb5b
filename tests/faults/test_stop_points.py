"""A worker that is told to stop before any of its statements hands back all that it has."""

from __future__ import annotations

import itertools
import os
import random
import re
import time
from collections.abc import Iterable

import pytest
from django.db import connection

from runs.models import EventKind, Run, RunEvent, RunStatus, Worker
from tests.faults.invariants import check_invariants
from tests.faults.rows import forget_all
from tests.support.crash import Cluster, state, trigger
from tests.support.engine import HandWorker

#: How many points are tried in the short form, and among how many: a life has a few more.
FEW = 3
MANY = {"sqlite": 70, "postgresql": 15}


def test_a_worker_told_to_stop_at_some_statements(
    cluster: Cluster, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = os.environ.get("CRASH_SEED") or str(time.time_ns())
    print(f"CRASH_SEED={seed}")  # noqa: T201 (pytest shows it when the test fails)
    monkeypatch.setenv("CRASH_EVIDENCE", str(cluster.evidence_file))
    stop_before(
        cluster, subtests, sorted(random.Random(seed).sample(range(MANY[connection.vendor]), FEW))
    )


@pytest.mark.soak
def test_a_worker_told_to_stop_at_any_statement(
    cluster: Cluster, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRASH_EVIDENCE", str(cluster.evidence_file))
    tried = stop_before(cluster, subtests, itertools.count())
    print(f"stopped at {tried} points")  # noqa: T201
    assert tried > MANY[connection.vendor]


def stop_before(cluster: Cluster, subtests: pytest.Subtests, numbers: Iterable[int]) -> int:
    """A life up to each of these statements, or to the first at which all was done. How many."""
    tried = 0
    for number in numbers:
        left = 1
        with subtests.test(f"before statement {number}"):
            left = one_life(cluster, number)
        tried += 1
        if not left:
            break
    return tried


def one_life(cluster: Cluster, number: int) -> int:
    """Stop a worker there, and let another go on. How many runs were left for that one."""
    forget_all()
    cluster.evidence_file.unlink(missing_ok=True)
    runs = [
        trigger(0, 0.05, 0),
        trigger(0, 0, concurrency_key="k"),
        trigger(0, 0, concurrency_key="k", asynchronous=True),
    ]
    worker = cluster.start("--concurrency", "2", ready=False, STOP_AT_STATEMENT=str(number))
    assert worker.exit_code() == 0, cluster.logs()
    [where] = re.findall("SIGTERM before: .*", worker.log.read_text())
    assert "unfinished" not in worker.log.read_text(), where
    for run in runs:
        check_handed_back(run, where)
    assert not list((cluster.folder / "var").glob("workers/*")), where
    assert not Worker.objects.filter(pid=worker.pid, stopped_at=None).exists(), where
    check_invariants(swept=False)
    left = go_on()
    assert cluster.check_durable(runs) == 0, where  # no body was executed twice
    check_invariants()
    return left


def check_handed_back(run: Run, where: str) -> None:
    """It is over, or as good as one that nobody has had."""
    run.refresh_from_db()
    about = f"{where}: {state(run)}"
    assert run.lease_owner is None, about
    assert (run.attempt, run.recoveries) == (1, 0), about
    if run.status == RunStatus.RUNNING:
        assert run.due_at == run.queued_at, about
    elif run.status == RunStatus.PENDING:
        assert run.due_at == run.queued_at or run.concurrency_key, about
    else:
        assert run.status == RunStatus.COMPLETED, about


def go_on() -> int:
    """Another worker takes all that is left at once: no lease is waited for, nothing is swept."""
    survivor, taken = HandWorker("survivor"), 0
    while (held := survivor.claim()) is not None:
        held.execute()
        taken += 1
    assert not RunEvent.objects.filter(kind=EventKind.TAKEN_OVER).exists()
    return taken
