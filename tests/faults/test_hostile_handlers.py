"""Whatever a handler does, its run ends as it should, and the next one finds nothing of it."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest

from runs import Step, job, retry
from runs.models import Run
from runs.registry import registry
from runs.testing import drain
from tests.faults import jobs
from tests.faults.hostile import HOSTILE
from tests.faults.invariants import check_invariants
from tests.support.crash import Cluster, state

#: What a thread that goes on after the end of its run is told.
LATE = ["LeaseLost", "committed"]


def test_no_handler_harms_the_worker_or_the_next_run(
    cluster: Cluster, subtests: pytest.Subtests
) -> None:
    before = jobs.probe.trigger()
    pairs = []
    for name, hostile in HOSTILE.items():
        job = jobs.hostile_async if hostile.is_async else jobs.hostile
        pairs.append((name, job.trigger(name), jobs.probe.trigger()))
    # A short lease, so that a run which is let go of comes again while somebody looks.
    worker = cluster.start("--concurrency", "1", LEASE_SECONDS="3")
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
    cluster.completed(*runs)
    assert cluster.check_durable(runs) == 0
    for run in runs:
        assert run.lease_generation == 1, state(run)
    check_invariants(runs=[run.pk for run in runs])


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
