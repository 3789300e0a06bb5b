"""A running web process, and a worker."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.support.web import Web


@pytest.fixture
def web(transactional_db: None, tmp_path: Path) -> Iterator[Web]:
    """A web process that ends with the test."""
    found = Web(tmp_path / "web.log")
    yield found
    processes.end(found.process)


@pytest.fixture
def worker(transactional_db: None, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that ends with the test."""
    process = processes.start("worker", log=tmp_path / "worker.log")
    yield process
    processes.end(process)
