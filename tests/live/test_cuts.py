"""Nothing is lost and nothing comes twice, however often a client is cut off."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings

import runs
from runs.access import VIEW
from runs.models import Run
from runs.registry import registry
from tests import processes
from tests.access import people
from tests.live.cutting import CutOff, stored, without_tried_again
from tests.processes import until
from tests.support.browserapp import jobs
from tests.support.web import Web

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@dataclass(frozen=True)
class Load:
    """How much happens, and how long a client may read at most before it is cut off."""

    runs: int
    parts: int
    lines: int
    longest: int
    together: int = 8


@pytest.fixture
def workers(
    transactional_db: None, tmp_path: Path
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts worker processes that know the scripted job."""
    registry.add(jobs.scripted)
    found: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        log = tmp_path / f"worker-{len(found)}.log"
        found.append(
            processes.start(
                "worker", log=log, DJANGO_SETTINGS_MODULE="tests.support.browser_settings"
            )
        )
        return found[-1]

    yield start
    for process in found:
        if process.poll() is None:
            processes.end(process)
    registry.remove(jobs.scripted.name)


def script(load: Load, number: int) -> jobs.Script:
    """Steps that log; in every third run one of them fails in the first attempt."""
    parts = [
        jobs.Part(
            name=f"part-{part}",
            log=[f"{number}/{part}/{line}" for line in range(load.lines)],
            fails="planned" if number % 3 == 0 and part == load.parts // 2 else "",
            result={"text": "ä" * (part * 20)},
        )
        for part in range(load.parts)
    ]
    return jobs.Script(parts=parts, output=number)


def do(load: Load) -> list[Run]:
    """Trigger all, not too many together, and retry what fails."""
    made: list[Run] = []
    retried: set[object] = set()
    over = Run.objects.filter(status__in=("completed", "failed"))
    deadline = time.monotonic() + 600
    while len(made) < load.runs or over.filter(status="completed").count() < load.runs:
        if len(made) < load.runs and len(made) - over.count() < load.together:
            made.append(runs.trigger("scripted", script(load, len(made))))
        for run in over.filter(status="failed"):
            assert run.pk not in retried, run.error
            retried.add(run.pk)
            runs.retry(run)
        time.sleep(0.01)
        assert time.monotonic() < deadline
    return made


def check(client: CutOff, run: Run) -> None:
    """That the client was told of a run what there is to tell, each thing once and in order."""
    told = client.told[str(run.pk)]
    assert len(set(told)) == len(told)
    assert without_tried_again(told) == stored(run)


def prove(web: Web, load: Load, meanwhile: Callable[[], object] = lambda: None) -> int:
    """Follow all runs and single ones through cuts; how many messages there were."""
    secret = people.token("viewer", VIEW)[1]
    first = [runs.trigger("scripted", script(load, number)) for number in range(2)]
    clients = [
        CutOff(web.port, f"/api/runs/{run.pk}/events?after=0", secret, seed, load.longest // 8)
        for seed, run in enumerate(first)
    ]
    every = CutOff(web.port, "/api/events?after=0", secret, 10, load.longest)
    meanwhile()
    made = do(load) + first
    until(lambda: all(client.is_over for client in clients), "the end of single runs' streams")
    total = sum(len(stored(run)) for run in made)

    def caught_up() -> bool:
        told = [*every.told.values()]
        return sum(len(without_tried_again(each)) for each in told) >= total

    until(caught_up, "all messages", timeout=120)
    every.stop()
    for run in made:
        check(every, run)
    for client, run in zip(clients, first, strict=True):
        check(client, run)
        ids = [int(id) for id in client.ids]
        assert ids == sorted(set(ids))
    assert min(client.cuts for client in (*clients, every)) >= 3
    return total


def test_a_client_that_is_cut_off_is_told_everything_once_and_in_order(
    web: Web, workers: Callable[[], object]
) -> None:
    workers()
    assert prove(web, Load(runs=8, parts=6, lines=20, longest=40_000)) > 1_200


@pytest.mark.soak
def test_the_same_through_kills_and_restarts_of_all_processes(
    web: Web, workers: Callable[[], subprocess.Popen[bytes]]
) -> None:
    stop = threading.Event()
    alive = [workers() for _ in range(2)]
    chance = random.Random(settings.SECRET_KEY)

    def disturb() -> None:
        while not stop.wait(chance.uniform(2, 6)):
            if chance.random() < 0.5:
                web.restart()
            else:
                victim = alive.pop(0)
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                alive.append(workers())

    thread = threading.Thread(target=disturb)
    load = Load(300, 12, 20, 400_000, together=20)
    try:
        total = prove(web, load, meanwhile=thread.start)
    finally:
        stop.set()
        thread.join()
    # Each part of each run, with its lines. What comes to that is a matter of kills.
    assert total >= (load.runs + 2) * load.parts * (load.lines + 1)
