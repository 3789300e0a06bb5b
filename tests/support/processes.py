"""Other processes that work on the test's database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

_TRIGGER = """
import json, sys
import django
django.setup()
from django.db import connection
import runs

count, job, options = json.loads(sys.argv[1])
connection.ensure_connection()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(count):
    run = runs.trigger(job, {}, **options)
    print(json.dumps([str(run.pk), run.disposition]), flush=True)
"""


def environment() -> dict[str, str]:
    """The environment in which another process uses this test's database."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        url = f"sqlite:///{found['NAME']}"
    else:
        login = f"{found['USER']}:{found['PASSWORD']}" if found["PASSWORD"] else found["USER"]
        url = f"postgres://{login}@{found['HOST']}:{found['PORT'] or 5432}/{found['NAME']}"
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "durably_site.settings",
        "DATABASE_URL": url,
        "VAR_DIR": str(settings.VAR_DIR),
    }


def trigger_in_processes(
    processes: int, times: int, *, job: str, **options: Any
) -> list[tuple[str, str]]:
    """Trigger at one moment in several processes; (id, disposition) of each trigger."""
    root = Path(settings.BASE_DIR)
    arguments = [sys.executable, "-c", _TRIGGER, json.dumps([times, job, options])]
    started = [
        subprocess.Popen(
            arguments,
            cwd=root,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        found = []
        for process in started:
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0
            found += [(id, disposition) for id, disposition in map(json.loads, out.splitlines())]
        return found
    finally:
        for process in started:
            process.kill()
            process.wait()
