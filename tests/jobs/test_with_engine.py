"""The example jobs as users meet them: triggered, executed, failed, retried."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.checksum_files import checksum_files
from jobs.import_csv import import_csv
from jobs.models import ImportedRow
from jobs.process_order import process_order
from jobs.slow_report import slow_report
from runs import JobDefinition, retry
from runs.models import Run
from runs.testing import drain

pytestmark = pytest.mark.django_db


def execute(job: JobDefinition, input: object) -> Run:
    run = job.trigger(input)
    drain()
    return Run.objects.get(id=run.id)


def test_an_import_with_its_steps_log_and_summary(data_dir: Path) -> None:
    content = "id;name\n1;Ann\n2\n3;Bob\n"
    (data_dir / "a.csv").write_text(content)
    run = execute(import_csv, {"file": "a.csv", "batch_size": 2})
    assert run.error is None
    assert run.output == {
        "file": "a.csv",
        "columns": ["id", "name"],
        "delimiter": ";",
        "lines": 4,
        "rows_imported": 2,
        "rows_rejected": 1,
    }
    assert run.progress == {
        "current": len(content), "total": len(content), "message": "2 rows",
    }  # fmt: skip
    assert [step.name for step in run.steps.all()] == ["check-file", "batch-1", "batch-2"]
    warning = run.logs.get(level="warn")
    assert (warning.step, warning.message) == (
        "batch-1",
        "Line 3 skipped: it has 1 cells, the header 2",
    )
    rows = ImportedRow.objects.filter(run_id=run.id).order_by("line_number")
    assert [row.data["name"] for row in rows] == ["Ann", "Bob"]


def test_an_unusable_file_can_be_replaced_and_the_run_retried(data_dir: Path) -> None:
    (data_dir / "a.csv").write_text("id,id\n1,2\n")
    run = execute(import_csv, {"file": "a.csv"})
    assert run.status == "failed"
    assert run.error == (
        "UnusableFileError: 'a.csv', line 1: columns 1 and 2 are both named 'id'. "
        "Give each column a name of its own. (in step check-file)"
    )
    (data_dir / "a.csv").write_text("id,name\n1,2\n")
    retry(run)
    drain()
    assert Run.objects.get(id=run.id).output["rows_imported"] == 1


def test_a_declined_payment_goes_through_on_retry_without_fetching_again() -> None:
    run = execute(process_order, {"order_id": "order_124"})
    assert run.error_step == "process-payment"
    retry(run)
    drain()
    run.refresh_from_db()
    assert (run.status, run.output, run.attempt) == ("completed", {"success": True}, 2)
    attempts = {step.name: step.attempts for step in run.steps.all()}
    assert attempts == {"fetch-order": 1, "validate": 1, "process-payment": 2, "confirm": 1}


def test_checksums_of_odd_names_can_be_stored(data_dir: Path) -> None:
    (data_dir / ("x" * 250)).mkdir()
    (data_dir / ("x" * 250) / ("ä" * 120)).mkdir()
    (data_dir / ("x" * 250) / ("ä" * 120) / ("y" * 250)).write_bytes(b"1")
    Path(str(data_dir) + "/\udcff\n").write_bytes(b"1")
    run = execute(checksum_files, {"folder": "."})
    assert run.error is None
    assert run.output["files"] == 2
    assert len(run.output["duplicates"]) == 1


def test_a_report_is_the_same_through_the_engine() -> None:
    run = execute(slow_report, {"sections": 2, "seconds": 0})
    assert run.output == {"sections": 2, "limit": 20_000, "primes": 2262, "largest": 19_997}
