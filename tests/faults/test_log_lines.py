"""What a worker's death costs of a log, and what it does while the log can't be written."""

from __future__ import annotations

import json
import statistics
import time

import pytest

from runs.models import LogEntry
from tests.faults import jobs
from tests.faults.invariants import check_invariants
from tests.faults.rows import forget_all
from tests.support.crash import Cluster, locked_tables

#: What a SIGKILL may cost, in seconds.
PROMISED = 0.25

#: What a machine that is too busy may add to one loss of many.
BUSY = 0.5


def witnessed(cluster: Cluster) -> dict[int, float]:
    """The time of each line that was logged, or about to be, by its number."""
    if not cluster.evidence_file.exists():
        return {}
    lines = map(json.loads, cluster.evidence_file.read_text().splitlines())
    return {line["number"]: line["clock"] for line in lines if line["event"] == "logs"}


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.soak, id="soak")])
def test_a_sigkill_takes_the_lines_of_the_last_moment_only(cluster: Cluster, kills: int) -> None:
    losses = []
    for number in range(kills):
        cluster.evidence_file.unlink(missing_ok=True)
        run = jobs.talker.trigger({"lines": 100_000, "pause": 0.001, "every": 1})
        worker = cluster.start()
        enough = 200 + 37 * (number % 10)  # to die at another moment between two writes
        cluster.until(lambda enough=enough: len(witnessed(cluster)) > enough, "it logs")  # type: ignore[misc]
        killed_at = time.time()
        worker.kill()
        kept = {line.data["number"] for line in LogEntry.objects.filter(run=run)}
        assert kept == set(range(len(kept)))
        first_lost = min(at for line, at in witnessed(cluster).items() if line not in kept)
        losses.append(killed_at - first_lost)
        forget_all()
    print(f"lost, in seconds: {losses}")  # noqa: T201 (pytest shows it when the test fails)
    assert statistics.median(losses) <= PROMISED
    assert max(losses) <= PROMISED + BUSY


def test_who_logs_without_end_waits_while_the_log_can_not_be_written(cluster: Cluster) -> None:
    cluster.start("--concurrency", "1", CRASH_SQLITE_TIMEOUT="0.2")
    lines = 60_000
    run = jobs.talker.trigger({"lines": lines, "pause": 0, "every": 100})
    cluster.until(lambda: witnessed(cluster), "it logs")
    with locked_tables():
        cluster.until(lambda: stands_still(cluster), "it waits")
        assert max(witnessed(cluster)) < lines - 100
    cluster.completed(run)
    assert [line.data["number"] for line in run.logs.all()] == list(range(lines))
    check_invariants()


def stands_still(cluster: Cluster) -> bool:
    """Whether nothing is logged for a while."""
    before = max(witnessed(cluster))
    time.sleep(0.5)
    return max(witnessed(cluster)) == before
