"""One worker process to measure with, and what the process that triggers sees of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from runs.models import Run, RunStatus, Worker

_POLL_SECONDS = 0.01
_START_SECONDS = 60.0
_UNFINISHED = (RunStatus.PENDING, RunStatus.RUNNING)


class BenchError(Exception):
    """The measurement could not be made; the message says why."""


class WorkerUnderTest:
    """A worker in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self._process = process
        self._output = output

    def wait_until_done(self, job: str) -> None:
        """Wait until no run of the job is unfinished.

        Raises BenchError if the worker is dead, or if a run has failed.
        """
        while Run.objects.filter(job=job, status__in=_UNFINISHED).exists():
            self.check()
            time.sleep(_POLL_SECONDS)
        if Run.objects.filter(job=job, status=RunStatus.FAILED).exists():
            raise BenchError(f"A run of {job} failed: {self._said()}")

    def check(self) -> None:
        """Raise BenchError if the worker is dead."""
        if self._process.poll() is not None:
            raise BenchError(f"The worker ended: {self._said()}")

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def megabytes(self) -> float | None:
        """The memory that the worker holds, in MB; None where the system doesn't say."""
        return megabytes_of(self.pid)

    def _said(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace").strip()[-2000:] or "it said nothing"


def megabytes_of(pid: int) -> float | None:
    """The memory that a process holds, in MB; None where the system doesn't say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    sizes = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(sizes[0].split()[1]) / 1024 if sizes else None


@contextmanager
def running(**settings: str) -> Iterator[WorkerUnderTest]:
    """Start a worker process and wait until it is up; end it afterwards.

    ``settings`` are variables of its environment.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "runs.bench", "worker"],
            stdin=subprocess.PIPE,
            stderr=output,
            env=os.environ | settings,
        )
        worker = WorkerUnderTest(process, output)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not Worker.objects.filter(pid=process.pid, stopped_at=None).exists():
                worker.check()
                if time.monotonic() > deadline:
                    raise BenchError("The worker does not start")
                time.sleep(_POLL_SECONDS)
            yield worker
        finally:
            process.terminate()
            process.wait()


def be_worker() -> int:
    """Be that worker, until SIGTERM, or until the process that reads the figures is gone."""
    from runs.bench import jobs as _  # noqa: F401 (makes this process know them)
    from runs.engine.worker import run_worker

    end_with_parent()
    return run_worker()


def end_with_parent() -> None:
    """Make this process end once nobody holds the other end of its stdin."""

    def wait() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
