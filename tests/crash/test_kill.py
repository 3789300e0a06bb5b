"""Workers killed with SIGKILL at random moments lose nothing and repeat nothing."""

from __future__ import annotations

import functools
import os
import random
import time

import pytest
from huey import Huey

from runs.models import Run, Worker
from tests.support.crash import Cluster, Process, children, trigger

#: How long a body takes at most, in seconds. Most lives of a worker are longer: a run that
#: completes no step in MAX_RECOVERIES of them is failed.
LONGEST_BODY = 0.06

#: How often the long forms kill, and how long that may take, in seconds.
KILLS = int(os.environ.get("CRASH_KILLS", "1000"))
LONG_ENOUGH = 300 + 10 * KILLS


@pytest.fixture
def dice() -> random.Random:
    """Random numbers that CRASH_SEED brings back."""
    seed = os.environ.get("CRASH_SEED") or str(time.time_ns())
    print(f"CRASH_SEED={seed}")  # noqa: T201 (pytest shows it when the test fails)
    return random.Random(seed)


def test_one_of_two_workers_killed_at_random(
    storage: Huey, cluster: Cluster, dice: random.Random
) -> None:
    torment(cluster, dice, kills=5, runs=15, steps=8, workers=2)
    cluster.until(lambda: storage.pending_count() == 0, "all messages are taken")


def test_processes_of_a_worker_killed_at_random(cluster: Cluster, dice: random.Random) -> None:
    torment_children(cluster, dice, kills=2, runs=15, steps=8, processes=2)


@pytest.mark.soak
@pytest.mark.timeout(LONG_ENOUGH)
@pytest.mark.parametrize("workers", [1, 2])
def test_as_many_kills_as_are_asked_for(
    cluster: Cluster, dice: random.Random, workers: int
) -> None:
    torment(cluster, dice, kills=KILLS, runs=2 * KILLS, steps=40, workers=workers)


@pytest.mark.soak
@pytest.mark.timeout(LONG_ENOUGH)
def test_as_many_kills_of_processes(cluster: Cluster, dice: random.Random) -> None:
    torment_children(cluster, dice, kills=KILLS, runs=2 * KILLS, steps=40, processes=3)


def torment(
    cluster: Cluster, dice: random.Random, *, kills: int, runs: int, steps: int, workers: int
) -> None:
    """Kill one of the workers again and again, and start another in its place."""
    triggered: list[Run] = []
    team = [cluster.start(ready=False) for _ in range(workers)]
    for number in range(kills):
        trigger_up_to(triggered, runs * (number + 1) // kills, steps, dice)
        victim = dice.choice(team)
        sleep_to_a_random_moment(cluster, victim, dice)
        victim.kill()
        team[team.index(victim)] = cluster.start(ready=False)
    finish(cluster, triggered, kills)


def torment_children(
    cluster: Cluster, dice: random.Random, *, kills: int, runs: int, steps: int, processes: int
) -> None:
    """Kill one of the processes of ``--kind process``; the worker starts another."""
    triggered: list[Run] = []
    parent = cluster.start("--kind", "process", "--concurrency", str(processes), ready=False)
    for number in range(kills):
        trigger_up_to(triggered, runs * (number + 1) // kills, steps, dice)
        row = cluster.until(lambda: living(cluster), "a process of the worker", timeout=40)
        time.sleep(dice.uniform(0, 0.5))
        cluster.kill(row.pid)
        cluster.until(functools.partial(is_gone, row.pid, parent), f"process {row.pid} is gone")
    finish(cluster, triggered, kills)


def trigger_up_to(triggered: list[Run], count: int, steps: int, dice: random.Random) -> None:
    while len(triggered) < count:
        bodies = [dice.uniform(0, LONGEST_BODY) for _ in range(steps)]
        triggered.append(trigger(*bodies, asynchronous=len(triggered) % 3 == 2))


def sleep_to_a_random_moment(cluster: Cluster, victim: Process, dice: random.Random) -> None:
    """Now and then while it starts; mostly while it works."""
    if dice.random() > 0.1:
        victim.await_ready()
    time.sleep(dice.uniform(0, 0.5))


def living(cluster: Cluster) -> Worker | None:
    """A worker that has not been killed yet, by its row."""
    rows = Worker.objects.filter(stopped_at__isnull=True).exclude(pid__in=cluster.killed)
    return rows.order_by("?").first()


def is_gone(pid: int, parent: Process) -> bool:
    return pid not in children(parent.pid)


def finish(cluster: Cluster, runs: list[Run], kills: int) -> None:
    cluster.completed(*runs, timeout=60)
    lost = cluster.check_durable(runs)
    assert sum(len(times) for times in cluster.killed.values()) == kills
    bodies = len(cluster.evidence().bodies)
    print(f"{kills} kills, {len(runs)} runs, {bodies} bodies, {lost} lost")  # noqa: T201
