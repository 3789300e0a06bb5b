"""A process that dies at any statement of whatever it does loses nothing and doubles nothing."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from runs.engine import leases
from runs.models import Job, Run, Step
from tests.faults.crash_points import Mortals
from tests.faults.invariants import check_invariants
from tests.faults.lives import LIVES, Life
from tests.faults.rows import forget_all
from tests.support.crash import Cluster
from tests.support.engine import HandWorker
from tests.support.promises import BROKEN


@pytest.fixture
def mortals(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mortals]:
    # Runs are executed to their end in this process, which is a witness, too.
    monkeypatch.setenv("CRASH_EVIDENCE", str(cluster.evidence_file))
    found = Mortals(tmp_path)
    yield found
    found.close()


#: How many points of each life are tried in the short form.
FEW = 3


def test_whoever_dies_at_some_statements(
    mortals: Mortals, cluster: Cluster, subtests: pytest.Subtests
) -> None:
    seed = os.environ.get("CRASH_SEED") or str(time.time_ns())
    print(f"CRASH_SEED={seed}")  # noqa: T201 (pytest shows it when the test fails)
    dice = random.Random(seed)
    die_everywhere(mortals, cluster, subtests, lambda points: dice.sample(points, FEW))


@pytest.mark.soak
def test_whoever_dies_at_any_statement(
    mortals: Mortals, cluster: Cluster, subtests: pytest.Subtests
) -> None:
    die_everywhere(mortals, cluster, subtests, lambda points: points)


Point = tuple[int, bool]


def die_everywhere(
    mortals: Mortals,
    cluster: Cluster,
    subtests: pytest.Subtests,
    choose: Callable[[list[Point]], list[Point]],
) -> None:
    """Each life once to its end, and then up to each of the points that are chosen."""
    deaths = planned = 0
    for name, prepare in LIVES.items():
        statements = one_life(mortals, cluster, prepare)
        points = [(number, False) for number in range(1, len(statements) + 1)]
        if mortals.may_die_after:
            points += [(number, True) for number, _ in points]
        for number, after in choose(points):
            where = f"{name}: {'after' if after else 'before'} {number}, {statements[number - 1]}"
            with subtests.test(where[:200]):
                one_life(mortals, cluster, prepare, die_at=number, after=after)
                deaths += mortals.has_died
                planned += 1
    print(f"{deaths} deaths in {len(LIVES)} kinds of life")  # noqa: T201
    assert deaths >= 0.9 * planned


def one_life(
    mortals: Mortals,
    cluster: Cluster,
    prepare: Callable[[], Life],
    *,
    die_at: int = 0,
    after: bool = False,
) -> list[str]:
    """Live and die, let somebody else go on, and look at what has come of it."""
    forget_all()
    cluster.evidence_file.unlink(missing_ok=True)
    life = prepare()
    statements = mortals.live(life.calls, die_at=die_at, after=after)
    check_invariants(swept=False)
    done = set(Step.objects.filter(status="completed").values_list("run_id", "name"))
    bodies = count_bodies(cluster)
    go_on()
    life.check()
    go_on()
    check_invariants()
    check_bodies(cluster, done, bodies)
    return statements


def go_on() -> None:
    """What other workers do when they see that this one is dead."""
    for owner in set(Run.objects.values_list("lease_owner", flat=True)) - {None}:
        assert owner is not None
        leases.expire_owned_by(owner)
    leases.sweep()
    survivor = HandWorker("survivor")
    while (held := survivor.claim()) is not None:
        held.execute()
    paused = Job.objects.filter(paused_at__isnull=False).values("name")
    assert not Run.objects.filter(finished_at=None).exclude(job__in=paused)


def count_bodies(cluster: Cluster) -> Counter[tuple[UUID, str]]:
    """How often each step's body was begun."""
    return Counter((body.run, body.step) for body in cluster.evidence().bodies)


def check_bodies(
    cluster: Cluster, done: set[tuple[UUID, str]], before: Counter[tuple[UUID, str]]
) -> None:
    """No step that had a checkpoint ran again, and none ran more than once without one."""
    after = count_bodies(cluster)
    for place, count in after.items():
        assert count <= before[place] + (place not in done), f"{BROKEN}: {place} ran again"
    for run in Run.objects.filter(status="completed"):
        for step in run.steps.filter(name__startswith="step-"):
            bodies = cluster.evidence().of(run, int(step.name.removeprefix("step-")))
            assert not bodies or step.output == bodies[-1].token
