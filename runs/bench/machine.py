"""What a table of figures has to say of where they come from."""

from __future__ import annotations

import os
import platform
import sqlite3
from datetime import UTC, datetime

import django
import huey

#: Those that make a server quicker or slower than its defaults, or that a measurement needs.
_SETTINGS = (
    *("synchronous_commit", "fsync", "full_page_writes", "autovacuum", "shared_buffers"),
    *("max_wal_size", "checkpoint_timeout", "max_connections"),
)


def this_machine() -> str:
    """The day, the machine and the versions, as a line."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} processors "
        f"({platform.machine()}), load {os.getloadavg()[0]:.1f}. "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"Django {django.__version__}, Huey {huey.__version__}"
    )


def that_server(url: str) -> str:
    """The version of a PostgreSQL server and the settings that count, as a line."""
    import psycopg

    with psycopg.connect(url) as server:
        settings: dict[str, str] = dict(
            server.execute(
                "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)",
                [list(_SETTINGS)],
            ).fetchall()
        )
        version = server.info.parameter_status("server_version")
    return f"PostgreSQL {version}, " + ", ".join(f"{name}={settings[name]}" for name in _SETTINGS)
