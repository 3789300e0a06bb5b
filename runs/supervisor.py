"""Keeps processes running: starts them, restarts one that dies, ends all of them together."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from django.conf import settings

_POLL_SECONDS = 0.1
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
#: A part that ran this long before it died is started again at once, as if for the first time.
_RAN_WELL_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1


@dataclass
class Part:
    """A process that should always run: its name for people, and its command."""

    name: str
    command: Sequence[str]
    pass_fds: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    deaths: int = field(default=0, init=False)
    started: float = field(default=0.0, init=False)
    start_at: float = field(default=0.0, init=False)


def manage_command(*arguments: str) -> list[str]:
    """The command line of ``manage.py`` with these arguments, for a part."""
    return [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), *arguments]


class Supervisor:
    """Runs parts until it is told to stop, or until ``stop()``."""

    def __init__(self, parts: Sequence[Part], *, grace: float, say: Callable[[str], object]):
        """``grace``: seconds that a part gets to end before it is killed."""
        self.parts = parts
        self.grace = grace
        self._say = say
        self._stops = 0
        self._die_with_parent = _die_with_parent()

    def run(self) -> None:
        """Keep the parts running until SIGINT, SIGTERM or SIGHUP; then end them.

        A second signal kills what has not ended yet.
        """
        caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._on_signal) for number in caught}
        try:
            while not self._stops:
                for part in self.parts:
                    self._tend(part)
                time.sleep(_POLL_SECONDS)
        finally:
            self._end_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Make ``run`` end the parts and return."""
        self._stops += 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stop()

    def _tend(self, part: Part) -> None:
        """Start the part if it should run and doesn't; note its death."""
        now = time.monotonic()
        if part.process is None:
            if now >= part.start_at:
                self._start(part)
            return
        code = part.process.poll()
        if code is None:
            return
        part.process = None
        part.deaths = 1 if now - part.started >= _RAN_WELL_SECONDS else part.deaths + 1
        delay = min(_FIRST_DELAY * 2 ** (part.deaths - 1), _LONGEST_DELAY)
        part.start_at = now + delay
        self._tell(f"The {part.name} ended ({_describe(code)}); starting it again in {delay:g} s.")

    def _start(self, part: Part) -> None:
        part.started = time.monotonic()
        # A session of its own: Ctrl-C in the terminal reaches only this process, which
        # then ends the parts in its own way.
        part.process = subprocess.Popen(
            part.command,
            stdin=subprocess.DEVNULL,
            pass_fds=part.pass_fds,
            start_new_session=True,
            preexec_fn=self._die_with_parent,  # noqa: PLW1509 (this process has one thread)
        )

    def _end_all(self) -> None:
        running = [part.process for part in self.parts if part.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self.grace
        while any(process.poll() is None for process in running):
            if time.monotonic() > deadline or self._stops > 1:
                break
            time.sleep(_POLL_SECONDS / 2)
        for process in running:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _tell(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more; carry on
            self._say(message)


def _describe(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _die_with_parent() -> Callable[[], None] | None:
    """What a child does before it becomes its command: ask for SIGTERM at its parent's death.

    Otherwise SIGKILL of the supervisor would leave the parts running for ever. Only Linux
    can do that; None elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return ask
