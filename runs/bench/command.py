"""Runs a measuring process for each target and collects what it found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator

from django.conf import settings

from runs.bench import scratch
from runs.bench.orders import Order
from runs.bench.results import Row
from runs.bench.worker import BenchError


def known_server() -> str | None:
    """The PostgreSQL of this installation, if that is where its runs are."""
    url = os.environ.get("DATABASE_URL", "")
    return url if url.startswith("postgres") else None


def run(order: Order) -> Generator[Row, None, None]:
    """Measure one target, in its own database. Raises BenchError if that breaks."""
    with scratch.environment(order.target) as environment:
        process = subprocess.Popen(
            [sys.executable, "-m", "runs.bench", "measure", order.to_json()],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=settings.BASE_DIR,
        )
        assert process.stdout is not None
        try:
            with process.stdout:
                yield from map(Row.from_json, process.stdout)
        except BaseException:
            process.terminate()  # it ends its worker, too
            process.wait()
            raise
        if code := process.wait():
            raise BenchError(f"Measuring {order.target.title} ended with exit code {code}.")
