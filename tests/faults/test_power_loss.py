"""Whenever the power goes, the files of SQLite are whole, and hold all that was acknowledged."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection, connections

from runs.models import Run, RunStatus, Step
from tests.faults import disk
from tests.faults.invariants import check_invariants
from tests.faults.load import Load
from tests.faults.rows import forget_all
from tests.support.crash import Body, Cluster
from tests.support.promises import BROKEN

pytestmark = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="what PostgreSQL leaves on a disk is its own matter"
)

#: The log is moved into the database after so many pages; in the product after 4,000.
SETTINGS = {"SQLITE_SYNCHRONOUS": "FULL", "CRASH_SQLITE_PAGES": "40"}


@pytest.fixture
def dice() -> random.Random:
    seed = os.environ.get("CRASH_SEED") or str(time.time_ns())
    print(f"CRASH_SEED={seed}")  # noqa: T201 (pytest shows it when the test fails)
    return random.Random(seed)


@pytest.mark.parametrize(
    "rounds", [1, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_what_a_disk_holds_at_any_moment_is_whole_and_goes_on(
    cluster: Cluster, dice: random.Random, rounds: int
) -> None:
    cluster.environment.update(LEASE_SECONDS="3", **SETTINGS)
    for _ in range(rounds):
        worker = cluster.start("--concurrency", "3")
        load = Load(cluster.folder, "plans", 80, **SETTINGS)
        try:
            cluster.until(load.triggered, f"a run: {load.log.read_text()}")
            last = cut_the_power(cluster, [worker.pid, load.pid], load, dice)
        finally:
            load.close()
        worker.kill()
        go_on(cluster, last)
        forget_all()
        cluster.evidence_file.unlink()


def cut_the_power(cluster: Cluster, pids: list[int], load: Load, dice: random.Random) -> Path:
    """At many moments; what the disk holds at the last of them."""
    database = Path(str(connection.settings_dict["NAME"]))
    kept = cluster.folder / "copies"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    for number in range(25):
        time.sleep(dice.uniform(0.01, 0.06))
        whole, torn = kept / f"{number}" / "db.sqlite3", kept / f"{number}-torn" / "db.sqlite3"
        with disk.frozen(pids):
            moved = disk.copy(database, whole)
            acknowledged, bodies = load.triggered(), cluster.evidence().bodies
        disk.copy(whole, torn)
        disk.tear(torn, dice, moved)
        missing = check_copy(whole, acknowledged, bodies)
        assert not missing, f"{BROKEN}: missing in a whole copy: {missing}"
        # Its last commit is one that perhaps nobody was told of, or one that all know of.
        missing = check_copy(torn, acknowledged, bodies)
        assert len(missing) <= 1, f"{BROKEN}: missing in a torn copy: {missing}"
    return torn


def check_copy(file: Path, acknowledged: Iterable[UUID], bodies: Iterable[Body]) -> set[str]:
    """It is whole; what is missing in it: runs, and steps whose successors have begun."""
    with disk.opened(file) as using:
        with connections[using].cursor() as cursor:
            for pragma, expected in (("integrity_check", [("ok",)]), ("foreign_key_check", [])):
                cursor.execute(f"PRAGMA {pragma}")
                assert cursor.fetchall() == expected, file
        check_invariants(using=using, swept=False)
        stored = set(Run.objects.using(using).values_list("pk", flat=True))
        steps = set(Step.objects.using(using).values_list("run_id", "name"))
    missing = {f"run {run}" for run in acknowledged if run not in stored}
    for body in bodies:
        before = range(int(body.step.removeprefix("step-")))
        names = [f"step-{number}" for number in before]
        missing |= {f"{name} of {body.run}" for name in names if (body.run, name) not in steps}
    return missing


def go_on(cluster: Cluster, file: Path) -> None:
    """The power is back: a worker does what is left."""
    worker = cluster.start(
        ready=False, DATABASE_URL=f"sqlite:///{file}", VAR_DIR=str(file.parent / "var")
    )
    with disk.opened(file) as using:
        found = Run.objects.using(using)
        cluster.ended(found, 60)
        assert set(found.values_list("status", flat=True)) == {RunStatus.COMPLETED}, BROKEN
        check_invariants(using=using)
    code, _ = worker.stop()
    assert code == 0
