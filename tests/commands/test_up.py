"""``manage.py up``, ``web`` and ``worker``, as real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs import trigger
from runs.models import Run
from runs.supervisor import manage_command
from tests import processes
from tests.processes import until

pytestmark = pytest.mark.django_db(transaction=True)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


class Up:
    """A running ``manage.py up``."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self.log = port, log
        self.process = processes.start("up", log=log, PORT=str(port))

    def children(self) -> dict[str, int]:
        """Pid of each part, by its command."""
        found = {}
        for path in Path(f"/proc/{self.process.pid}/task/{self.process.pid}").glob("children"):
            for pid in path.read_text().split():
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                found.update({name.decode(): int(pid) for name in command if name in PARTS})
        return found

    def answers(self) -> bool:
        return status_of(f"http://127.0.0.1:{self.port}/admin/login/") == 200


PARTS = (b"web", b"worker")


def status_of(url: str) -> int | None:
    """The status of a GET, None without an answer."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.fixture
def up(port: int, log: Path) -> Iterator[Up]:
    running = Up(port, log)
    yield running
    if running.process.poll() is None:
        processes.end(running.process)


def has_completed(run: Run) -> bool:
    return Run.objects.filter(pk=run.pk, status="completed").exists()


def test_one_command_serves_pages_executes_runs_and_ends_with_ctrl_c(up: Up) -> None:
    link = until(lambda: re.search(r"http://\S+/login/once/\S+", up.log.read_text()), "a link")[0]
    assert status_of(link) == 200
    run = trigger("process-order", {"order_id": "order_1"})
    until(lambda: has_completed(run), "the run is completed")
    assert processes.end(up.process, signal.SIGINT) == 0
    assert "Stopped." in up.log.read_text()
    assert "Traceback" not in up.log.read_text()


@linux
def test_a_part_that_is_killed_is_started_again(up: Up) -> None:
    until(lambda: len(up.children()) == 2 and up.answers(), "both parts run")
    before = up.children()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    until(
        lambda: len(up.children()) == 2 and not set(up.children().values()) & set(before.values()),
        "both run again",
    )
    assert up.answers()
    run = trigger("process-order", {"order_id": "order_1"})
    until(lambda: has_completed(run), "the run is completed")


@linux
def test_nothing_is_left_behind_when_it_is_killed(up: Up) -> None:
    until(lambda: len(up.children()) == 2 and up.answers(), "both parts run")
    pids = up.children().values()
    up.process.kill()
    up.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the parts are gone")


def test_a_port_in_use_is_one_message_that_names_port(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        code, _, err = processes.manage("up", env=processes.environment(PORT=str(port)))
    assert code == 1
    assert f"127.0.0.1:{port}" in err
    assert f"PORT={port + 1}" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "url", ["postgres://nobody@127.0.0.1:1/none", "sqlite:////nonexistent/folder/db.sqlite3"]
)
def test_a_database_that_cannot_be_opened_is_one_message(port: int, url: str) -> None:
    env = processes.environment(PORT=str(port), DATABASE_URL=url)
    code, _, err = processes.manage("up", env=env)
    assert code == 1
    assert "DATABASE_URL" in err
    assert len(err.strip().splitlines()) == 1


def test_the_web_server_alone_answers_and_ends_cleanly(port: int, log: Path) -> None:
    web = processes.start("web", "--port", str(port), log=log)
    until(lambda: status_of(f"http://127.0.0.1:{port}/admin/login/") == 200, "it answers")
    assert processes.end(web) == 0
    assert log.read_text() == f"Serving http://127.0.0.1:{port}/\n"


def test_an_open_connection_does_not_keep_the_web_server_from_ending(port: int, log: Path) -> None:
    web = processes.start("web", "--port", str(port), log=log)
    until(lambda: status_of(f"http://127.0.0.1:{port}/admin/login/") == 200, "it answers")
    with socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\n")
        assert processes.end(web, timeout=10) == 0


def test_a_worker_ends_cleanly_on_a_signal(log: Path) -> None:
    worker = processes.start("worker", log=log)
    until(lambda: "is up" in log.read_text(), "it is up")
    assert processes.end(worker) == 0


@linux
def test_process_workers_execute_runs_survive_a_kill_and_end_together(log: Path) -> None:
    keeper = processes.start("worker", "--kind", "process", "--concurrency", "2", log=log)
    until(lambda: log.read_text().count("is up: 1 slot") == 2, "two worker processes are up")
    children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children")
    pids = {int(pid) for pid in children.read_text().split()}
    os.kill(min(pids), signal.SIGKILL)
    until(lambda: log.read_text().count("is up: 1 slot") == 3, "the killed one is up again")
    run = trigger("process-order", {"order_id": "order_1"})
    until(lambda: has_completed(run), "the run is completed")
    pids = {int(pid) for pid in children.read_text().split()}
    assert processes.end(keeper) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_bad_concurrency_is_refused(count: str) -> None:
    command = [*manage_command("worker"), f"--concurrency={count}"]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=processes.environment()
    )
    assert done.returncode == 2
    assert "whole number of at least 1" in done.stderr
