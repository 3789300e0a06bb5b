"""One engine on one database: its worker in a process of its own, and a figure."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs.bench import scratch
from runs.bench.scratch import Target
from tools.peers.engines import Engine

_TIMEOUT = 100.0
_TRIES = 3


class Failed(Exception):
    """An engine could not be measured; the message says why."""


@dataclass(frozen=True)
class Sizes:
    """How much of each is done, and how often."""

    steps: int = 2_000
    runs: int = 500
    pickups: int = 30
    repetitions: int = 3


QUICK = Sizes(steps=100, runs=20, pickups=5, repetitions=1)


def measure(engine: Engine, target: Target, sizes: Sizes) -> dict[str, Any]:
    """All figures of one repetition, in a database of its own. Raises Failed."""
    with _environment(target) as environment:
        _ask(engine, environment, "prepare")
        with _worker(engine, environment) as worker:
            for name, count in (("steps", 50), ("runs", 20), ("pickup", 2)):  # warm-up
                _ask(engine, environment, name, count, worker=worker)
            counts = {"steps": sizes.steps, "runs": sizes.runs, "pickup": sizes.pickups}
            found = {
                name: _ask(engine, environment, name, count, worker=worker)
                for name, count in counts.items()
            }
            found["memory"] = worker.megabytes()
            found["resume"] = _ask(engine, environment, "resume", sizes.steps, worker=worker)
            if engine.name == "ours":
                found["baseline"] = _ask(engine, environment, "baseline", sizes.steps)
            return found


@contextmanager
def _environment(target: Target) -> Iterator[dict[str, str]]:
    with scratch.environment(target) as found, tempfile.TemporaryDirectory() as folder:
        database = found["DATABASE_URL"].removeprefix("sqlite:///")
        yield {
            **{name: value for name, value in found.items() if name != "DATABASE_URL"},
            "PEERS_DATABASE": database,
            "PEERS_SYNCHRONOUS": target.synchronous,
            "PEERS_FOLDER": folder,
        }


def _ask(
    engine: Engine, environment: dict[str, str], *words: Any, worker: _Worker | None = None
) -> Any:
    """What an adapter's process prints. One that hangs is asked again, of a new worker."""
    for _ in range(_TRIES):
        try:
            done = subprocess.run(
                [*engine.command, *map(str, words)],
                cwd=engine.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            if worker is not None:
                worker.kill()
            continue
        if done.returncode:
            raise Failed((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None
    raise Failed(f"{words[0]} took more than {_TIMEOUT:g} s, {_TRIES} times")


class _Worker:
    """Keeps one worker process alive: some are meant to die, and start again."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._command = command
        self._folder = folder
        self._environment = environment
        self._stop = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._tend)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _tend(self) -> None:
        while not self._stop.wait(0.05):
            if self._process.poll() is not None:
                self._process = self._start()

    def megabytes(self) -> float:
        """The memory that it holds, in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        [size] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(size.split()[1]) / 1024

    def kill(self) -> None:
        """End it; another one is started."""
        self._process.kill()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _worker(engine: Engine, environment: dict[str, str]) -> Iterator[_Worker]:
    worker = _Worker([*engine.command, "worker"], engine.folder, environment)
    try:
        yield worker
    finally:
        worker.close()


def load() -> str:
    """How busy the machine is: processes that want a processor, in the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def now() -> str:
    return time.strftime("%Y-%m-%d %H:%M")
