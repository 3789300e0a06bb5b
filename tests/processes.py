"""Real processes of the product, on the database of the test that starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db import connection

MANAGE = str(Path(settings.BASE_DIR) / "manage.py")


def environment(**more: str) -> dict[str, str]:
    """What a process needs to work on this test's database, in this test's directory."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "durably_site.settings",
        "VAR_DIR": str(settings.VAR_DIR),
        "DATABASE_URL": database_url(),
        "HUEY_URL": settings.HUEY_URL,
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        **more,
    }


def database_url() -> str:
    """The URL of the test's database; the test needs ``django_db(transaction=True)``."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{found['NAME']}"
    login = ":".join(quote(found[part], safe="") for part in ("USER", "PASSWORD") if found[part])
    return f"postgres://{login}@{quote(found['HOST'], safe='')}:{found['PORT']}/{found['NAME']}"


def manage(*arguments: str, timeout: float = 60, **options: Any) -> tuple[int, str, str]:
    """Run ``manage.py`` to its end: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, MANAGE, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=options.pop("env", None) or environment(),
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def start(*arguments: str, log: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start ``manage.py`` and leave it running; what it prints goes to ``log``."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, MANAGE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(**more),
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM, timeout: float = 30) -> int:
    """Send a signal and wait for the exit code; kill what does not end in time.

    What hangs says before where each of its threads is.
    """
    with suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # the fault handler prints the threads' stacks
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def until(condition: Callable[[], Any], what: str, timeout: float = 30) -> Any:
    """Wait until ``condition`` is true and return its value; fail with ``what`` if never."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"Not within {timeout:g} s: {what}")
