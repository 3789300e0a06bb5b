"""Whatever a handler does, its run ends as it should, and the next one finds nothing of it."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runs import Step, job, retry
from runs.models import Run
from runs.registry import registry
from runs.testing import drain
from tests.faults import jobs
from tests.faults.hostile import HOSTILE
from tests.faults.invariants import check_invariants
from tests.support.crash import Cluster, now, state, trigger
from tests.support.crashapp.jobs import StepPlan

#: What a thread that goes on after the end of its run is told.
LATE = ["LeaseLost", "committed"]


@pytest.mark.parametrize("kind", ["thread", pytest.param("process", marks=pytest.mark.soak)])
def test_no_handler_harms_the_worker_or_the_next_run(
    cluster: Cluster, subtests: pytest.Subtests, kind: str
) -> None:
    before = jobs.probe.trigger()
    pairs = []
    for name, hostile in HOSTILE.items():
        job = jobs.hostile_async if hostile.is_async else jobs.hostile
        pairs.append((name, job.trigger(name), jobs.probe.trigger()))
    # A short lease, so that a run which is let go of comes again while somebody looks.
    worker = cluster.start("--kind", kind, "--concurrency", "1", ready=False, LEASE_SECONDS="3")
    with suppress(AssertionError):  # below it is told which has not
        cluster.until(lambda: all_over(pairs), "all runs have ended", timeout=60)

    before.refresh_from_db()
    for name, run, probe in pairs:
        with subtests.test(name):
            check_end(name, run)
            check_clean(before.output, probe)
    check_invariants(swept=False)
    code, _ = worker.stop()
    assert code == 0, cluster.logs()


def test_a_body_longer_than_its_lease_is_executed_once(cluster: Cluster) -> None:
    """For a body that lets others have the interpreter: the heartbeat renews its lease."""
    lease = 3.0
    for _ in range(2):
        cluster.start("--concurrency", "5", ready=False, LEASE_SECONDS=str(lease))
    runs = [jobs.slow.trigger((how, lease + 1.5)) for how in jobs.SLOW]
    blocking = StepPlan(seconds=lease + 1.5, on_the_loop=True)
    runs += [trigger(blocking, 0, asynchronous=True)]
    cluster.completed(*runs)
    assert cluster.check_durable(runs) == 0
    for run in runs:
        assert run.lease_generation == 1, state(run)
    check_invariants(runs=[run.pk for run in runs])


def test_a_body_that_blocks_its_event_loop_holds_up_no_other_run(cluster: Cluster) -> None:
    """Each async run has a loop of its own."""
    cluster.start("--concurrency", "2")
    blocking = trigger(StepPlan(seconds=2, on_the_loop=True), asynchronous=True)
    cluster.body(blocking, 0)
    beside = trigger(0, 0, asynchronous=True)
    cluster.completed(blocking, beside)
    [held], [free] = (cluster.evidence().handlers_of(run) for run in (blocking, beside))
    assert free.left < held.left - 1
    assert cluster.check_durable([blocking, beside]) == 0


def test_a_child_that_outlives_its_killed_worker_keeps_no_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Nobody takes the child, who has all that its parent had open, for the worker."""
    file = tmp_path / "child"
    doomed = cluster.start()  # with a lease of 30 s
    run = trigger(0, StepPlan(forks=str(file), seconds=60, first_only=True), 0)
    cluster.until(lambda: file.exists() and file.read_text(), "the child")
    child = int(file.read_text())
    try:
        cluster.start()
        doomed.kill()
        begun = now()
        cluster.completed(run)
        assert cluster.evidence().of(run, 1)[1].started < begun + 3
        assert is_alive(child)
    finally:
        os.kill(child, signal.SIGKILL)
    assert cluster.check_durable([run]) == 1
    assert (run.lease_generation, run.recoveries) == (2, 0), state(run)
    check_invariants()


QUICK = ["exits with 0", "reads where nothing is"]


@pytest.mark.parametrize(
    "kinds", [QUICK, pytest.param(list(jobs.KILLERS), marks=pytest.mark.soak, id="soak")]
)
def test_a_handler_that_ends_the_process_is_failed_and_harms_no_other(
    cluster: Cluster, kinds: list[str]
) -> None:
    killers = [jobs.killer.trigger(how) for how in kinds]
    others = [jobs.probe.trigger() for _ in killers]
    worker = cluster.start("--concurrency", "1", ready=False, MAX_RECOVERIES="1")
    deaths = 0

    def are_over() -> bool:
        nonlocal worker, deaths
        if worker.popen.poll() is not None:
            deaths += 1
            worker = cluster.start("--concurrency", "1", ready=False, MAX_RECOVERIES="1")
        return not Run.objects.filter(finished_at=None).exists()

    cluster.until(are_over, "all runs have ended", timeout=60)
    assert deaths == len(kinds), cluster.logs()
    for run in killers:
        run.refresh_from_db()
        assert run.error_type == "TooManyRecoveriesError", state(run)
        assert list(run.steps.values_list("name", flat=True)) == ["first"]
    for run in others:
        run.refresh_from_db()
        assert run.status == "completed", state(run)
    check_invariants()


@pytest.mark.django_db
def test_a_payload_changed_in_place_is_read_anew_by_a_retry() -> None:
    seen: list[Any] = []

    @job(name="changes-its-payload")
    def change(step: Step, payload: dict[str, Any]) -> None:
        seen.append(json.dumps(payload))
        payload["list"].append(payload.pop("a"))
        raise LookupError

    try:
        run = change.trigger({"a": 1, "list": []})
        drain()
        retry(run)
        drain()
    finally:
        registry.remove(change.name)
    assert seen == ['{"a": 1, "list": []}'] * 2
    assert Run.objects.get(pk=run.pk).input == {"a": 1, "list": []}


def is_alive(pid: int) -> bool:
    """Whether the process is there, and not only waits for somebody to note its end."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] != "Z"


def all_over(pairs: list[tuple[str, Run, Run]]) -> bool:
    ids = [run.pk for _, *both in pairs for run in both]
    return not Run.objects.filter(pk__in=ids, finished_at=None).exists()


def check_end(name: str, run: Run) -> None:
    """It was executed once, and ended as the table says."""
    expected = HOSTILE[name]
    about = state(run)
    assert run.status == expected.status, about
    assert re.fullmatch(expected.error, run.error or "", re.DOTALL), run.error
    assert run.output == expected.output
    assert run.lease_generation == 1, about
    assert run.recoveries == 0
    assert run.input == name
    lines = [f"{line.message} {line.data}" for line in run.logs.all()]
    assert any(re.fullmatch(expected.log, line, re.DOTALL) for line in ["", *lines]), lines


def check_clean(before: dict[str, Any], probe: Run) -> None:
    """The next run on its thread found everything as the very first."""
    probe.refresh_from_db()
    assert probe.status == "completed", state(probe)
    assert [line.message for line in probe.logs.all()] == ["probed"]
    found = dict(probe.output)
    assert set(found.pop("told")) <= set(LATE)
    assert found == {name: value for name, value in before.items() if name != "told"}
