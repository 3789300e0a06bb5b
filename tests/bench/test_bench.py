"""``manage.py bench``, with little of everything. How fast it is, is nobody's business here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings

from tests import services

ROWS = [
    *("trigger", "resume", "steps", "runs", "sustained"),
    *("pickup-p50", "pickup", "progress", "log"),
]
STREAMS = [
    *("stream-trigger-p50", "stream-trigger"),
    *("stream-lag-p95", "stream-lag", "stream-memory"),
]
WORKERS = ["workers-1", "workers-2"]
FOOTPRINT = ["footprint-disk", "footprint-wal", "footprint-commits"]
FLAT = [
    *("flat-trigger", "flat-claim", "flat-checkpoint", "flat-execute", "flat-purge"),
    *("flat-trigger-crowded", "flat-claim-crowded", "flat-checkpoint-crowded"),
    *("flat-execute-crowded", "flat-sweep-crowded"),
]
LONG = ["long-claim", "long-checkpoint", "long-log"]


def _environment(var: Path) -> dict[str, str]:
    settings_of_tests = ("DJANGO_SETTINGS_MODULE", "DATABASE_URL")
    kept = {key: value for key, value in os.environ.items() if key not in settings_of_tests}
    return {**kept, "VAR_DIR": str(var)}


def _bench(var: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "bench", "--quick", *arguments],
        cwd=settings.BASE_DIR,
        env=_environment(var),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def _rows(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert result.returncode == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


@pytest.mark.slow
def test_measures_all_on_sqlite_and_leaves_nothing_behind(tmp_path: Path) -> None:
    names = [name for name in ROWS if name != "pickup-p50"]
    only = [argument for name in (*names, "footprint") for argument in ("--only", name)]
    rows = _rows(_bench(tmp_path, "--json", *only))
    assert [row["name"] for row in rows] == [*ROWS, "footprint-disk"] * 2
    assert {row["target"] for row in rows} == {
        "SQLite, synchronous=NORMAL",
        "SQLite, synchronous=FULL",
    }
    assert all(row["figure"] > 0 for row in rows)
    by_name = {row["name"]: row for row in rows}
    for name in ("trigger", "resume", "steps", "runs", "sustained"):
        assert by_name[name]["baseline"] > 0
        assert by_name[name]["ratio"] > 0
    assert by_name["log"]["note"].startswith("2,000 of 2,000 lines")
    assert "in that execution: 1 " in by_name["resume"]["note"]
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


@pytest.mark.slow
def test_measures_streams_and_the_triggers_beside_them(tmp_path: Path) -> None:
    only = ("--only", "streams", "--on", "normal", "--seconds", "1")
    rows = _rows(_bench(tmp_path, "--json", *only))
    assert [row["name"] for row in rows] == STREAMS
    assert all(row["figure"] > 0 for row in rows)
    assert "of 10;" in rows[1]["note"]
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


@pytest.mark.slow
def test_measures_how_runs_grow_with_workers(tmp_path: Path) -> None:
    rows = _rows(_bench(tmp_path, "--json", "--only", "workers", "--on", "full"))
    assert [row["name"] for row in rows] == WORKERS
    assert all(0 < row["figure"] < row["baseline"] for row in rows)
    assert rows[1]["baseline"] == pytest.approx(2 * rows[0]["baseline"])
    if Path("/proc/self/stat").exists():
        assert all("a run costs the worker " in row["note"] for row in rows)
        assert "idle: workers " in rows[1]["note"]
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_prints_a_table_of_what_was_asked_for(tmp_path: Path) -> None:
    result = _bench(tmp_path, "--on", "normal", "--only", "steps")
    assert result.returncode == 0, result.stderr
    machine, _, heading, _, columns, line, *rest = result.stdout.splitlines()
    assert "processors" in machine
    assert f"Django {django.__version__}" in machine
    assert heading == "SQLite, synchronous=NORMAL"
    assert columns.split() == ["figure", "baseline", "ratio", "goal", "met"]
    assert line.startswith("100 steps of one run ")
    assert rest == [""]


def test_sigterm_ends_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "bench", "--on", "normal", "--only", "steps"],
        cwd=settings.BASE_DIR,
        env=_environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # As for a command that a shell runs in the background: Ctrl-C is not for it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("bench-*/workers/*.lock")):  # until its worker is up
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


@pytest.mark.slow
def test_measures_every_page_once_in_a_large_database(tmp_path: Path) -> None:
    rows = _rows(_bench(tmp_path, "--json", "--pages", "--seed", "1000"))
    assert [row["name"] for row in rows[: len(FLAT)]] == FLAT
    assert [row["name"] for row in rows[-len(LONG) :]] == LONG
    assert "100 steps were read" in rows[-len(LONG)]["note"]
    *pages, purge = rows[len(FLAT) : -len(LONG)]
    assert {row["target"] for row in rows} == {"SQLite, synchronous=NORMAL, 1,000 runs"}
    assert {"overview", "list-job-status", "search", "big-run", "admin"} <= {
        row["name"] for row in pages
    }
    assert all(0 < row["median"] <= row["figure"] for row in pages)
    [big] = [row for row in pages if row["name"] == "big-run"]
    assert big["what"] == "run page, 1,000 steps, 10,000 lines", (
        "made among the first thousand runs"
    )
    assert purge["name"] == "purge"
    assert purge["figure"] > 0
    assert "runs deleted a second beside " in purge["note"]
    assert all(row["goal"] for row in rows)


@pytest.mark.postgres
def test_measures_postgresql_in_a_database_that_it_drops(tmp_path: Path) -> None:
    import psycopg

    server = services.postgres_url()

    def databases() -> set[str]:
        with psycopg.connect(server) as connection:
            return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}

    # Another measurement may have been killed on this server, and left its own.
    before = databases()
    names = ("trigger", "resume", "steps", "runs", "footprint", "workers", "flat")
    only = [argument for name in names for argument in ("--only", name)]
    rows = _rows(_bench(tmp_path, "--json", *only, "--on", "postgresql", "--postgres", server))
    expected = [*names[:4], *FOOTPRINT, *WORKERS, *FLAT]
    assert [row["name"] for row in rows] == expected
    notes = {row["name"]: row["note"] for row in rows}
    assert notes["footprint-disk"].endswith("of them indexes")
    assert "whole pages in it" in notes["footprint-wal"]
    if Path("/proc/self/stat").exists() and "127.0.0.1" in server:
        used = notes[WORKERS[-1]]
        assert re.search(r"used: server [\d.]+, workers .* idle: server [\d.]+, workers", used)
    left = databases() - before
    assert not [name for name in left if name.startswith("runs_bench_")]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--only", "everything"], 64, "invalid choice: 'everything'"),
        (["--runs", "0"], 64, "not a whole number of at least 1"),
        (["--on", "postgresql"], 64, "Name it with --postgres URL"),
        (
            ["--on", "postgresql", "--postgres", "postgres://nobody@127.0.0.1:1/x"],
            69,
            "Can't make a scratch database on 127.0.0.1:1/x",
        ),
    ],
)
def test_refuses_in_one_line(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    result = _bench(tmp_path, *arguments)
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
