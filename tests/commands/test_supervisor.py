"""The supervisor of ``manage.py up`` and of process workers, with plain processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runs.supervisor import Part, Supervisor
from tests.processes import until

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
]


@contextmanager
def meanwhile(action: object) -> Iterator[list[BaseException]]:
    """Run something beside the supervisor, which needs the main thread for its signals."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=run)
    thread.start()
    yield errors
    thread.join()
    assert not errors, errors


def pid_of(part: Part) -> int:
    return until(lambda: part.process and part.process.pid, f"{part.name} runs")  # type: ignore[no-any-return]


def test_it_runs_the_parts_until_a_signal_and_ends_them() -> None:
    parts = [Part("one", SLEEP), Part("two", SLEEP)]
    keeper = Supervisor(parts, grace=5, say=print)
    with meanwhile(lambda: [pid_of(part) for part in parts]):
        keeper.run()
    assert [part.process.returncode for part in parts if part.process] == [-signal.SIGTERM] * 2
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_it_restarts_a_part_that_dies_and_says_so() -> None:
    said: list[str] = []
    part = Part("worker", SLEEP)

    def kill() -> None:
        first = pid_of(part)
        os.kill(first, signal.SIGKILL)
        until(lambda: part.process and part.process.pid != first, "it runs again")

    with meanwhile(kill):
        Supervisor([part], grace=5, say=said.append).run()
    assert said == ["The worker ended (SIGKILL); starting it again in 0.5 s."]


def test_it_waits_longer_after_each_death_and_starts_anew_after_a_good_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    part = Part("worker", ["false"])
    keeper = Supervisor([part], grace=1, say=said.append)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(8):
        now = part.start_at
        keeper._tend(part)
        assert part.process is not None
        part.process.wait()
        keeper._tend(part)
    delays = [text.rpartition(" in ")[2] for text in said]
    assert delays == ["0.5 s.", "1 s.", "2 s.", "4 s.", "8 s.", "16 s.", "30 s.", "30 s."]
    now = part.start_at
    keeper._tend(part)
    assert part.process is not None
    part.process.wait()
    now += 60
    keeper._tend(part)
    assert said[-1].endswith("(exit code 1); starting it again in 0.5 s.")


def test_a_part_that_ignores_the_signal_is_killed_after_the_grace() -> None:
    part = Part("stubborn", STUBBORN)

    def wait() -> None:
        pid_of(part)
        time.sleep(0.5)

    began = time.monotonic()
    with meanwhile(wait):
        Supervisor([part], grace=0.5, say=print).run()
    assert part.process is not None
    assert part.process.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 10


def test_nobody_who_listens_is_no_reason_to_stop() -> None:
    def broken(_text: str) -> None:
        raise BrokenPipeError

    part = Part("worker", ["false"])

    def dies_twice() -> None:
        until(lambda: part.deaths > 1, "it died twice")

    with meanwhile(dies_twice):
        Supervisor([part], grace=1, say=broken).run()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can do that")
def test_parts_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "keeper.py"
    script.write_text(
        "import sys\n"
        "from runs.supervisor import Part, Supervisor\n"
        "part = Part('one', ['sh', '-c', 'echo $$ > pid; exec sleep 60'])\n"
        "Supervisor([part], grace=1, say=print).run()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    keeper = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, env=env)
    pid_file = tmp_path / "pid"
    until(lambda: pid_file.exists() and pid_file.read_text().strip(), "the part runs")
    keeper.kill()
    keeper.wait()
    pid = int(pid_file.read_text())
    until(lambda: not Path(f"/proc/{pid}").exists(), "the part is gone")
