"""Many processes with many threads each, which do things at one moment.

A test makes a ``Crowd`` and lets it ``meet``: each call is an action of ``actions`` by name, done
by a thread of its own. The processes share the machine's monotonic clock, and start together by it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import processes

#: From the order to the start, in seconds: so long a process takes to read what it has to do.
_NOTICE = 0.01


@dataclass(frozen=True)
class Call:
    """An action, and what it is called with; all of it JSON."""

    action: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What an action returned, or the type and text of what it raised."""

    call: Call
    value: Any = None
    error: str = ""
    text: str = ""


def call(action: str, **arguments: Any) -> Call:
    """An action to be done."""
    return Call(action, arguments)


class Crowd:
    """Processes that wait for something to do."""

    def __init__(self, folder: Path, members: int) -> None:
        self.log = folder / "crowd.log"
        environment = processes.environment(DJANGO_SETTINGS_MODULE="tests.faults.settings")
        with self.log.open("ab") as log:
            self._members = [
                subprocess.Popen(
                    [sys.executable, "-m", "tests.faults.crowd"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    text=True,
                )
                for _ in range(members)
            ]
        for member in self._members:
            assert self._read(member) == "ready"

    def meet(self, *calls: Call) -> list[Outcome]:
        """Do all of it at one moment, spread over the processes; the outcomes in order."""
        count = len(self._members)
        at = time.monotonic() + _NOTICE
        for number, member in enumerate(self._members):
            order = {"at": at, "calls": [(c.action, c.arguments) for c in calls[number::count]]}
            assert member.stdin is not None
            member.stdin.write(json.dumps(order) + "\n")
            member.stdin.flush()
        found: list[Outcome | None] = [None] * len(calls)
        for number, member in enumerate(self._members):
            for place, outcome in enumerate(self._read(member)):
                index = number + place * count
                found[index] = Outcome(calls[index], *outcome)
        return [outcome for outcome in found if outcome is not None]

    def _read(self, member: subprocess.Popen[str]) -> Any:
        assert member.stdout is not None
        line = member.stdout.readline()
        assert line, f"a process of the crowd has ended:\n{self.log.read_text()}"
        return json.loads(line)

    def close(self) -> None:
        """End the processes."""
        for member in self._members:
            member.kill()
            member.wait()
            for stream in (member.stdin, member.stdout):
                assert stream is not None
                stream.close()


class _Member:
    """One process of the crowd: a thread, with its database connection, for each call."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(100)

    def obey(self, at: float, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
        # All have to be there: a pool would let one thread do two calls, one after the other.
        all_there = threading.Barrier(max(len(calls), 1))
        futures = [self._pool.submit(self._do, all_there, at, *each) for each in calls]
        return [future.result(60) for future in futures]

    def _do(
        self, all_there: threading.Barrier, at: float, action: str, arguments: dict[str, Any]
    ) -> Any:
        from django.db import connection

        from tests.faults.actions import ACTIONS

        try:
            connection.ensure_connection()
            all_there.wait(30)
            time.sleep(max(at - time.monotonic(), 0))
            return ACTIONS[action](**arguments), "", ""
        except BaseException as error:
            return None, type(error).__name__, str(error)


def main() -> None:
    """Obey orders, a line of JSON each, until there are no more."""
    import django

    django.setup()
    member = _Member()
    sys.stdout.write('"ready"\n')
    sys.stdout.flush()
    for line in sys.stdin:
        order = json.loads(line)
        answer = member.obey(order["at"], order["calls"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
