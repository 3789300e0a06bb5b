"""One web process to measure with."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from runs.bench.worker import BenchError, end_with_parent

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05


@contextmanager
def running() -> Iterator[tuple[int, int]]:
    """Start a web process and wait until it answers; its pid and port. End it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "runs.bench", "web", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError("The web server does not start")
            time.sleep(_POLL_SECONDS)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


def be_web(port: int) -> int:
    """Be that process, until SIGTERM, or until the process that reads the figures is gone."""
    from django.core.management import call_command

    from runs.bench import jobs as _  # noqa: F401 (makes this process know them)

    end_with_parent()
    call_command("web", port=port)
    return 0


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:  # nosec B310 # always http
            return bool(answer.status == 200)
    except OSError:
        return False
