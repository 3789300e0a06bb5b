"""The tutorial with real processes: ``make up``, SIGKILL of its worker, and on it goes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, blocks

TUTORIAL = ROOT / "docs" / "tutorial.md"
_NOT_OURS = ("VAR_DIR", "DATA_DIR", "DATABASE_URL", "HUEY_URL", "DJANGO_SETTINGS_MODULE")


@dataclass
class Clone:
    """A copy of the project as a newcomer has it, with packages that are there already."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, folder: Path) -> Clone:
        for name in ("durably_site", "jobs", "runs", "static", "templates"):
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in ("manage.py", "Makefile", "requirements.txt"):
            shutil.copy2(ROOT / name, folder)
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        for name in (".created", ".runtime"):  # as make leaves them when it has installed
            (folder / ".venv" / name).touch()
        kept = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        return cls(folder, kept | {"PORT": str(port), "PYTHONUNBUFFERED": "1"})

    def manage(self, *words: str) -> str:
        command = [".venv/bin/python", "manage.py", *words]
        return subprocess.check_output(command, cwd=self.folder, env=self.environment, text=True)

    def count(self, query: str) -> int:
        """A number from the database, without a process of its own."""
        database = sqlite3.connect(self.folder / "var" / "db.sqlite3", timeout=20)
        with contextlib.closing(database):
            return int(database.execute(query).fetchone()[0])

    @property
    def said(self) -> str:
        return (self.folder / "said.txt").read_text()

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        with (self.folder / "said.txt").open("w") as said:
            process = subprocess.Popen(
                ["make", "up"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                yield
            finally:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(30)

    def worker_pid(self) -> int | None:
        """What the lock file of the worker says."""
        for lock in (self.folder / "var" / "workers").glob("*.lock"):
            return int(lock.read_text())
        return None


def _until(condition: Callable[[], Any], what: str, seconds: float = 40.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never seen: {what}")


def _promised(number: int) -> str:
    """What ``make up`` prints, by the tutorial; up to what differs each time."""
    shown = [block.text for block in blocks(TUTORIAL) if block.language == "text"]
    return shown[number].partition(" http")[0].strip()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_killed_in_the_middle_the_run_carries_on(tmp_path: Path) -> None:
    clone = Clone.make(tmp_path)
    job = next(b for b in blocks(TUTORIAL) if b.markers.get("file") == "jobs/bake.py")
    (tmp_path / "jobs" / "bake.py").write_text(job.text)
    with clone.up():
        _until(lambda: _promised(0) in clone.said, _promised(0))
        run = clone.manage("trigger", "bake", '{"cakes": 6, "seconds": 0.3}').strip()
        _until(lambda: clone.count("SELECT count(*) FROM runs_step") > 2, "two cakes")
        pid = clone.worker_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        _until(lambda: _promised(1) in clone.said, _promised(1))
        over = "SELECT count(*) FROM runs_run WHERE finished_at IS NOT NULL"
        _until(lambda: clone.count(over), "the end of the run")
        found = json.loads(clone.manage("runs", "show", run, "--json"))
    assert (found["status"], found["output"], found["attempt"]) == ("completed", "6 cakes", 1)
    assert "taken_over" in [event["kind"] for event in found["history"]]
    times = Counter(line["message"] for line in found["logs"] if line["step"] != "heat-oven")
    assert set(times.values()) <= {1, 2}
    assert list(times.values()).count(2) <= 1  # the one that was in the oven
    assert [step["index"] for step in found["steps"]] == list(range(8))
