"""Who is told that something is stored: had SQLite waited for the disk? With FULL, not with NORMAL.

As the kernel sees it. What is in a file that nobody has waited for is lost when the power goes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from runs.models import Run
from tests import processes
from tests.faults.installation import Installation
from tests.processes import until
from tests.services import Missing, skip_or_fail
from tests.support.crash import Cluster, plan
from tests.support.promises import BROKEN

pytestmark = [
    pytest.mark.skipif(connection.vendor != "sqlite", reason="how SQLite waits for a disk"),
    pytest.mark.parametrize("mode", ["FULL", "NORMAL"]),
]

_STRACE = ("strace", "-f", "-y", "-s", "40", "-e", "trace=write,pwrite64,fdatasync,fsync,sendto")

#: What a process does: it writes to the log, waits until the disk has it, and tells somebody.
_LOG = r"\d+<[^>]*/test\.sqlite3-wal>"
_BODY_ENDS = r'write\(\d+<[^>]*evidence\.jsonl>, "{\\"event\\": \\"end\\"'
_BODY_STARTS = r'write\(\d+<[^>]*evidence\.jsonl>, "{\\"event\\": \\"start\\"'
_LETTERS = {
    "w": rf"pwrite64\({_LOG}",
    "s": rf"f(?:data)?sync\({_LOG}",
    "E": _BODY_ENDS,
    "S": _BODY_STARTS,
    "A": r'sendto\(.*"HTTP/1.1 201',
    "P": r"write\(1<",
}

STEPS = 5


@pytest.fixture(autouse=True)
def strace() -> None:
    if not shutil.which("strace"):
        skip_or_fail(Missing("no strace on PATH"))
    if subprocess.run(["strace", "-o", "/dev/null", "true"], check=False).returncode:
        pytest.skip("strace may not look at processes here")


@contextmanager
def traced(pid: int, file: Path) -> Iterator[None]:
    """Write down what this process asks of the kernel."""
    said = file.with_suffix(".log")
    with said.open("wb") as log:
        strace = subprocess.Popen([*_STRACE, "-o", file, "-p", str(pid)], stderr=log)
    try:
        until(lambda: f"Process {pid} attached" in said.read_text(), "strace is there")
        yield
    finally:
        strace.terminate()
        strace.wait()


def letters(file: Path) -> dict[str, str]:
    """By thread, and under "all" those of the process. The disk has it when the call returns."""
    found: defaultdict[str, str] = defaultdict(str)
    waiting = set()
    for line in file.read_text().splitlines():
        thread, _, call = line.partition(" ")
        if "sync resumed" in call and thread in waiting:
            waiting.discard(thread)
            letter = "s"
        else:
            matches = (name for name, call_of in _LETTERS.items() if re.search(call_of, call))
            letter = next(matches, "")
            if letter == "s" and "<unfinished" in call:
                waiting.add(thread)
                letter = ""
        found[thread] += letter
        found["all"] += letter
    return dict(found)


def is_on_the_disk(before: str, mode: str) -> None:
    """By what was done before somebody was told."""
    assert "w" in before
    if mode == "FULL":
        assert before.endswith("s"), f"{BROKEN}: told before the disk has it: {before}"
    else:
        assert not before.endswith("s"), before  # that of a new log's header comes before


def test_who_waits_for_the_disk_before_a_checkpoint_counts(
    cluster: Cluster, tmp_path: Path, mode: str
) -> None:
    """Worker and web process: the next body starts, and a trigger is answered, after that."""
    by_worker, by_web = tmp_path / "worker.trace", tmp_path / "web.trace"
    with (
        Installation(cluster, SQLITE_SYNCHRONOUS=mode) as site,
        traced(site.worker.pid, by_worker),
        traced(site.web.pid, by_web),
    ):
        steps = plan(*[0] * STEPS).model_dump()
        assert site.post("/api/jobs/crash-plan/trigger", {"input": steps}).status == 201
        cluster.completed(Run.objects.get())
    [executed] = [did for name, did in letters(by_worker).items() if name != "all" and "E" in did]
    checkpoints = re.findall("E([^ES]*)S", executed)
    assert len(checkpoints) == STEPS - 1, executed
    for before in checkpoints:
        is_on_the_disk(before, mode)
    is_on_the_disk(letters(by_web)["all"].partition("A")[0], mode)


def test_who_waits_for_the_disk_before_a_command_says_what_it_did(
    cluster: Cluster, tmp_path: Path, mode: str
) -> None:
    trace = tmp_path / "trigger.trace"
    command = [sys.executable, processes.MANAGE, "trigger", "crash-plan", '{"steps": []}']
    env = processes.environment(**cluster.environment, SQLITE_SYNCHRONOUS=mode)
    with (tmp_path / "said.log").open("wb") as said:
        subprocess.run([*_STRACE, "-qq", "-o", trace, *command], check=True, env=env, stdout=said)
    assert Run.objects.count() == 1
    is_on_the_disk(letters(trace)["all"].partition("P")[0], mode)
