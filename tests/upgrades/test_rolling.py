"""Workers of two releases side by side, as while a deploy goes on.

Both have today's code: the one that is called old has another name for its release, and knows one
job less. What older code writes is tried in test_old_code.py.
"""

from __future__ import annotations

import pytest

from runs.models import Run, Worker
from runs.registry import registry
from tests.faults import jobs
from tests.faults.invariants import check_invariants
from tests.support.crash import Cluster, trigger

pytestmark = pytest.mark.slow


def test_runs_go_over_from_old_workers_to_new_ones(cluster: Cluster) -> None:
    old = [cluster.start(RELEASE="old") for _ in range(2)]
    runs = [trigger(*[0.2] * 12, asynchronous=bool(number % 2)) for number in range(16)]
    cluster.body(runs[0], 0)
    registry.add(jobs.probe)
    try:
        added = [jobs.probe.trigger() for _ in range(4)]
    finally:
        registry.remove(jobs.probe.name)
    for worker in old:
        new = cluster.start(RELEASE="new", DJANGO_SETTINGS_MODULE="tests.faults.settings")
        assert worker.stop()[0] == 0
    cluster.completed(*runs, *added)
    assert cluster.check_durable(runs) == 0  # no body was executed twice
    check_invariants(runs=[run.pk for run in (*runs, *added)])

    pids = {body.pid for body in cluster.evidence().bodies}
    assert pids > {worker.pid for worker in old}, "both have executed steps"
    releases = Worker.objects.values_list("pid", "release")
    assert dict(releases)[new.pid] == "new"
    assert {dict(releases)[worker.pid] for worker in old} == {"old"}
    assert not Run.objects.filter(recoveries__gt=0).exists()
