"""Processor time, as Linux accounts for it; elsewhere nothing is known."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

#: The process that serves this connection, if it may be one of this machine.
_MINE = """
    SELECT pg_backend_pid() WHERE inet_server_addr() IS NULL
        OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1'
"""


@dataclass(frozen=True, slots=True)
class _Process:
    """What /proc says of it; ``of_the_dead`` is what its children used that are over."""

    name: str
    parent: int
    seconds: float
    of_the_dead: float


@dataclass(frozen=True, slots=True)
class Used:
    """What a while took: seconds of it, and of processors, where they are known."""

    seconds: float
    server: float | None
    workers: float | None

    @property
    def processors(self) -> str:
        """How many the server and the workers used, as far as it is known."""
        known = (("server", self.server), ("workers", self.workers))
        return ", ".join(
            f"{name} {used / self.seconds:.2f}" for name, used in known if used is not None
        )

    def notes(self, runs: int) -> list[str]:
        """The same for a table, and what of it is a run's."""
        if not self.processors:
            return []
        known = (("server", self.server), ("worker", self.workers))
        each = " and ".join(
            f"the {name} {used / runs * 1000:.1f} ms" for name, used in known if used is not None
        )
        return [f"processors used: {self.processors}", f"a run costs {each}"]


class Meter:
    """Measures the server and some processes from when it is made."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._used = self._read()
        self._began = time.perf_counter()

    def read(self) -> Used:
        """What was used since."""
        seconds = time.perf_counter() - self._began
        server, workers = (
            None if before is None or after is None else after - before
            for before, after in zip(self._used, self._read(), strict=True)
        )
        return Used(seconds, server, workers)

    def _read(self) -> tuple[float | None, float | None]:
        return server_seconds(), seconds_of(self._pids)


def seconds_of(pids: Iterable[int]) -> float | None:
    """What these processes have used so far; None where the system doesn't say."""
    found = [_read(pid) for pid in pids]
    known = [process.seconds for process in found if process is not None]
    return sum(known) if len(known) == len(found) else None


def server_seconds() -> float | None:
    """What the database server has used so far, in all its processes, for whomever.

    None on SQLite, which has no server, and of a server elsewhere.
    """
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(_MINE)
        found = cursor.fetchone()
    mine = None if found is None else _read(found[0])
    if mine is None or mine.name != "postgres":
        return None
    server = _read(mine.parent)
    return None if server is None else server.seconds + server.of_the_dead + _of_those(mine.parent)


def _of_those(parent: int) -> float:
    """What the processes that it has started, and that live, have used."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    living = [process for pid in pids if (process := _read(pid)) is not None]
    return sum(process.seconds for process in living if process.parent == parent)


def _read(pid: int) -> _Process | None:
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return None
    fields = after.split()
    user, system, user_dead, system_dead = (
        int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:15]
    )
    name = before.partition("(")[2]
    return _Process(name, int(fields[1]), user + system, user_dead + system_dead)
