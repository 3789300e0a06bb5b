"""``manage.py trigger --wait``, with a real worker."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs.engine.operations import cancel
from runs.models import Run
from tests import processes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = processes.start("worker", log=tmp_path / "worker.log")
    yield process
    processes.end(process)


@pytest.mark.usefixtures("worker")
def test_a_completed_run_shows_progress_and_log_prints_its_output_and_exits_with_0() -> None:
    code, out, err = processes.manage(
        "trigger", "process-order", '{"order_id": "order_1"}', "--wait"
    )
    assert code == 0
    assert json.loads(out) == {"success": True}
    assert re.search(r"info +Starting order processing", err)
    assert re.search(r"4/4 +Confirmed", err)


@pytest.mark.usefixtures("worker")
def test_a_failed_run_names_its_error_and_exits_with_1() -> None:
    code, out, err = processes.manage(
        "trigger", "process-order", '{"order_id": "order_2"}', "--wait"
    )
    assert (code, out) == (1, "")
    assert "PaymentDeclinedError" in err
    assert "process-payment" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("worker")
def test_a_cancelled_run_exits_with_2(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        waiting = processes.start(
            "trigger", "slow-report", '{"seconds": 60}', "--wait", log=Path(out.name)
        )
    run = processes.until(
        lambda: Run.objects.filter(step_count__gt=0).first(), "the run has done a step"
    )
    cancel(run)
    assert waiting.wait(30) == 2


def test_a_run_that_is_not_over_in_time_goes_on_and_the_exit_code_is_3() -> None:
    code, _, err = processes.manage(
        "trigger", "process-order", '{"order_id": "a"}', "--wait", "--timeout", "0.2"
    )
    assert code == 3
    assert "goes on" in err
    assert Run.objects.get().status == "pending"


def test_ctrl_c_leaves_the_run_alone(tmp_path: Path) -> None:
    log = tmp_path / "out"
    waiting = processes.start("trigger", "process-order", '{"order_id": "a"}', "--wait", log=log)
    processes.until(lambda: "(created)" in log.read_text(), "it waits")
    assert processes.end(waiting, 2) == 130
    assert "goes on" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert Run.objects.get().status == "pending"


def test_without_tables_it_says_what_to_do(tmp_path: Path) -> None:
    env = processes.environment(VAR_DIR=str(tmp_path), DATABASE_URL=f"sqlite:///{tmp_path}/new.db")
    code, _, err = processes.manage("trigger", "process-order", '{"order_id": "a"}', env=env)
    assert code == 69
    assert "manage.py migrate" in err
    assert "Traceback" not in err
