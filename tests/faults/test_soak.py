"""Minutes of everything at once, with a fault every few seconds; then a look at what is left."""

from __future__ import annotations

import os
import random
import time
from collections import Counter

import pytest
from django.db import connection
from django.db.models import Sum

from runs.models import Activity, Run, RunEvent
from tests import processes
from tests.faults import jobs
from tests.faults.installation import Installation
from tests.faults.invariants import check_invariants
from tests.faults.load import Load
from tests.faults.soak import (
    FAULTS,
    LEASE_SECONDS,
    Gauge,
    Site,
    Visitor,
    vacuum_if_nobody_does,
)
from tests.faults.watch import Watch
from tests.support.crash import Cluster
from tests.support.promises import BROKEN

#: What may be more at the end than it was in the second quarter.
GROWTH = {"memory, MB": 1.05, "database, MB": 1.6, "its log, MB": 2.0}
ELSE = 1.1

#: Before so many minutes have passed, no equal parts of what is stored come and go: runs are
#: purged a minute or two after their end, and PostgreSQL uses their place again once vacuumed.
SETTLED = 15

#: Of four fifths of what the workers can do undisturbed, so much has to be asked for.
PART = 0.5

#: Runs are purged when they are older, in seconds; a minute later at most.
RETAINED = 60


@pytest.fixture
def dice() -> random.Random:
    seed = os.environ.get("CRASH_SEED") or str(time.time_ns())
    print(f"CRASH_SEED={seed}")  # noqa: T201 (pytest shows it when the test fails)
    return random.Random(seed)


def test_nothing_is_lost_or_doubled_in_half_a_minute(cluster: Cluster, dice: random.Random) -> None:
    soak(cluster, dice, seconds=20, pause=3)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_nothing_is_lost_doubled_or_leaked_in_half_an_hour(
    cluster: Cluster, dice: random.Random
) -> None:
    """``SOAK_MINUTES`` says how long, 30 if nothing else is said."""
    minutes = float(os.environ.get("SOAK_MINUTES", "30"))
    gauge = soak(cluster, dice, seconds=minutes * 60, pause=10)
    for name, (early, late) in gauge.halves().items():
        allowed = next((factor for end, factor in GROWTH.items() if name.endswith(end)), ELSE)
        print(f"{name}: {early:.1f}, {late:.1f}")  # noqa: T201
        if minutes >= SETTLED or not name.startswith("database"):
            assert late <= early * allowed + 3, name


def soak(cluster: Cluster, dice: random.Random, *, seconds: float, pause: float) -> Gauge:
    """Load, visitors and faults for so long; afterwards every promise holds."""
    environment = {
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "RETAIN_RUNS": f"{RETAINED // 60}m",
        "HUEY_URL": queue_url(cluster),
    }
    with Installation(cluster, **environment) as installation:
        site = Site(installation, dice)
        load = Load(cluster.folder, "mixed", 0.8 * capacity(cluster), **environment)
        visitor, gauge = Visitor(site), Gauge(site)
        watch = Watch(cluster, load, RETAINED)
        try:
            faults = disturb(site, gauge, watch, seconds, pause)
            reached = load.reached
            assert load.process.poll() is None, load.log.read_text()
            load.close()
            cluster.ended(Run.objects.all(), 90)
            until_all_is_told(visitor)
        finally:
            load.close()
            visitor.leave()
    check_invariants()
    watch.look()
    assert set(visitor.told.values()) == {1}, f"{BROKEN}: a message came twice"
    assert reached >= PART, f"the load was {reached:.2f} of what was ordered"
    assert visitor.statuses.keys() <= {200, 503, 0}, visitor.statuses
    report(faults, load, watch, visitor)
    print(f"of the load that was ordered: {reached:.2f}")  # noqa: T201
    return gauge


def until_all_is_told(visitor: Visitor) -> None:
    """Now that nothing is disturbed any more, the stream has seconds to catch up."""
    deadline = time.monotonic() + 30
    while (missed := visitor.missed()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not missed, f"{BROKEN}: the stream did not tell {sorted(missed)[:20]}"


def queue_url(cluster: Cluster) -> str:
    """Huey's storage beside the database, as it is by default."""
    on_sqlite = connection.vendor == "sqlite"
    return f"sqlite:///{cluster.folder}/queue.sqlite3" if on_sqlite else processes.database_url()


def capacity(cluster: Cluster) -> float:
    """How many runs a second these workers do."""
    work = {"steps": 3, "seconds": 0.04, "lines": 3, "fails": False}
    begun = time.monotonic()
    made = jobs.toil.batch_trigger([work] * 150)
    cluster.completed(*made, timeout=60)
    return len(made) / (time.monotonic() - begun)


def disturb(site: Site, gauge: Gauge, watch: Watch, seconds: float, pause: float) -> Counter[str]:
    """One fault after the other; how often each came."""
    done: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        due = time.monotonic() + pause
        fault = FAULTS[sum(done.values()) % len(FAULTS)]
        fault(site)
        done[fault.__name__] += 1
        watch.look()
        if sum(done.values()) % len(FAULTS) == 0:
            vacuum_if_nobody_does()
        gauge.read()
        time.sleep(max(due - time.monotonic(), 0))
        gauge.read()
    return done


def report(faults: Counter[str], load: Load, watch: Watch, visitor: Visitor) -> None:
    did = Counter(line["did"] for line in load.done())
    ended = Activity.objects.filter(span=60).aggregate(
        completed=Sum("completed"), failed=Sum("failed"), cancelled=Sum("cancelled")
    )
    lines = {
        "faults": dict(faults),
        "asked for": dict(did),
        "ended": ended,
        "taken over, of those kept": RunEvent.objects.filter(kind="taken_over").count(),
        "runs and completed steps compared": (len(watch.runs), len(watch.steps)),
        "answers": dict(visitor.statuses),
        "messages": len(visitor.told),
    }
    for name, value in lines.items():
        print(f"{name}: {value}")  # noqa: T201
