"""Several hosts at work on one database, and what the network does to them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import pytest
from django.db import OperationalError, transaction

from runs.models import Chore, EventKind, Run, RunEvent, RunStatus, Step, Worker
from tests.access import people
from tests.hosts.conftest import LEASE, Machines
from tests.hosts.network import Host
from tests.hosts.servers import start_redis
from tests.support.crash import now, state, trigger
from tests.support.promises import BROKEN

pytestmark = [pytest.mark.hosts, pytest.mark.postgres, pytest.mark.slow]

#: With so short a lease it is TCP that takes longer to give up, in seconds.
_SHORTEST = 4.0

#: Requests from a host, as its own programs make them.
_ASK = """
import json, sys, urllib.request
method, url, token, body = json.loads(sys.argv[1])
request = urllib.request.Request(url, method=method, data=json.dumps(body).encode())
request.add_header("Authorization", "Bearer " + token)
request.add_header("Content-Type", "application/json")
with urllib.request.urlopen(request, timeout=30) as answer:
    print(answer.read().decode())
"""

#: A transaction that has got as far as a lock when its host is cut off.
_LOCK = """
import sys, time
import django
django.setup()
from django.db import transaction
from runs.models import Run
with transaction.atomic():
    Run.objects.select_for_update().get(pk=sys.argv[1])
    print("locked", flush=True)
    time.sleep(120)
"""


def test_of_three_hosts_one_dies_and_one_is_cut_off_and_comes_back(machines: Machines) -> None:
    """Longer than its lease. Nothing is lost, and nothing is done twice."""
    cluster, network = machines.cluster, machines.network
    _, dying, cut = machines.hosts
    started = [machines.begin_work(host, "--concurrency", "3") for host in machines.hosts]
    for process in started:
        cluster.until(lambda process=process: process.row, "a worker")  # type: ignore[misc]
    names = {process.pid: process.row for process in started}
    assert {row.host for row in names.values() if row} == {host.name for host in machines.hosts}

    runs = [trigger(*[0.2] * 12) for _ in range(14)]
    cluster.until(lambda: busy(names) == 3, "all three hosts at work")
    before = Chore.objects.get(name="sweep").due_at
    network.power_off(dying)
    network.cut(cut)
    lost = [started[1].pid, started[2].pid]
    cluster.until(lambda: taken_from(names, lost) == 2, "runs of both are taken over")
    assert Chore.objects.get(name="sweep").due_at > before, "the periodic work goes on"
    network.mend(cut)
    cluster.completed(*runs, timeout=60)
    check_nothing_lost_nothing_doubled(machines, runs, lost)

    # The one that was cut off has understood, and is a good worker again.
    cluster.until(lambda: "LeaseLost" in ends_of_handlers(machines, started[2].pid), "LeaseLost")
    assert started[0].stop()[0] == 0
    again = trigger(0, 0)
    cluster.completed(again)
    assert cluster.evidence().of(again)[0].pid == started[2].pid


def ends_of_handlers(machines: Machines, pid: int) -> set[str | None]:
    """How the handlers of a process ended."""
    return {each.how for each in machines.cluster.evidence().handlers if each.pid == pid}


def busy(workers: dict[int, Worker | None]) -> int:
    """How many of the workers hold a run."""
    held = Run.objects.filter(status=RunStatus.RUNNING, step_count__gte=1)
    ids = {row.pk for row in workers.values() if row}
    return len(ids & set(held.values_list("lease_owner", flat=True)))


def taken_from(workers: dict[int, Worker | None], pids: list[int]) -> int:
    """From how many of these another one has taken a run."""
    ids = {str(row.pk) for pid, row in workers.items() if row and pid in pids}
    events = RunEvent.objects.filter(kind=EventKind.TAKEN_OVER)
    return len(ids & {(event.data or {}).get("from") for event in events})


def check_nothing_lost_nothing_doubled(
    machines: Machines, runs: list[Run], lost: list[int]
) -> None:
    """Each run ended once; what was checkpointed never ran again; a lost host costs each of its
    runs the one step that it was in.
    """
    evidence = machines.cluster.evidence()
    for run in runs:
        run.refresh_from_db()
        about = f"{BROKEN}: {state(run)}\n{evidence.of(run)}"
        assert RunEvent.objects.filter(run=run, kind=EventKind.COMPLETED).count() == 1, about
        steps = list(Step.objects.filter(run=run).order_by("index"))
        assert [step.output for step in steps] == run.output, about
        assert [step.index for step in steps] == list(range(12)), about
        stored = {step.output for step in steps}
        in_vain = [body for body in evidence.of(run) if body.token not in stored]
        assert len(stored) + len(in_vain) == len(evidence.of(run)), about
        by_pid = Counter(body.pid for body in in_vain)
        assert set(by_pid) <= set(lost), about
        assert max(by_pid.values(), default=0) <= 1, about


def test_a_lock_of_a_host_that_is_cut_off_is_given_up_within_a_lease(machines: Machines) -> None:
    """By TCP alone the server would keep it for two hours, and nobody could take the run."""
    good, cut = machines.hosts[:2]
    run = trigger(0)
    with machines.popen(cut, sys.executable, "-c", _LOCK, str(run.pk)) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == b"locked\n"
            machines.network.cut(cut)
            begun = now()
            with pytest.raises(OperationalError), transaction.atomic():
                Run.objects.select_for_update(nowait=True).get(pk=run.pk)
            with transaction.atomic():
                Run.objects.select_for_update().get(pk=run.pk)
            assert now() - begun <= max(float(LEASE), _SHORTEST) + 2
            machines.work(good)
            machines.cluster.completed(run, timeout=30)
        finally:
            machines.network.power_off(cut)


@pytest.mark.redis
def test_web_servers_and_workers_on_hosts_of_their_own(machines: Machines) -> None:
    """A run that is triggered at one web server, executed elsewhere, and followed at another."""
    first, second, third = machines.hosts
    redis = start_redis(machines.network.server, machines.cluster.folder)
    _, secret = people.token("program")
    webs = [machines.serve(host, HUEY_URL=redis) for host in (first, second)]
    machines.work(third, HUEY_URL=redis)
    plan = {"steps": [{"seconds": 0.1}] * 3}
    trigger_it = "/jobs/crash-plan/trigger"
    made = json.loads(ask(third, first, "POST", trigger_it, secret, {"input": plan}))
    # The stream ends with the run.
    events = ask(third, second, "GET", f"/runs/{made['id']}/events?after=0", secret)
    assert events.count("event: step") == 3
    found = json.loads(ask(first, second, "GET", f"/runs/{made['id']}", secret))
    assert (found["status"], found["step_count"]) == ("completed", 3)
    worker = Worker.objects.get(stopped_at=None, host=third.name)
    started = RunEvent.objects.get(run_id=made["id"], kind=EventKind.STARTED)
    assert started.actor == str(worker)
    for web in webs:
        assert web.poll() is None


def ask(asking: Host, asked: Host, method: str, path: str, secret: str, body: Any = None) -> str:
    """What a program on one host gets from the web server of another."""
    request = json.dumps([method, f"http://{asked.address}:8000/api{path}", secret, body])
    return asking.run(sys.executable, "-c", _ASK, request)
