"""import-csv: what it imports, reports and refuses, and that a crash changes nothing."""

from __future__ import annotations

import csv
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest

from jobs import import_csv as module
from jobs.csv_support.checks import UnusableFileError
from jobs.import_csv import ImportSummary, import_csv
from jobs.models import ImportedRow
from runs.errors import ValidationError
from tests.jobs.fake_step import FakeStep, Killed

pytestmark = pytest.mark.django_db


def call(step: FakeStep, **options: Any) -> ImportSummary:
    summary = import_csv.call(step, {"file": "a.csv", **options})
    assert isinstance(summary, ImportSummary)
    return summary


def rows(step: FakeStep) -> list[tuple[int, dict[str, str]]]:
    stored = ImportedRow.objects.filter(run_id=step.run_id).order_by("line_number")
    return list(stored.values_list("line_number", "data"))


@pytest.fixture
def write(data_dir: Path) -> Any:
    def write_file(content: bytes | str, name: str = "a.csv") -> Path:
        raw = content.encode() if isinstance(content, str) else content
        path = data_dir / name
        path.write_bytes(raw)
        return path

    return write_file


def test_the_page_asks_for_a_file() -> None:
    assert import_csv.input_schema["properties"]["file"]["format"] == "file"
    assert import_csv.input_schema["required"] == ["file"]


def test_rows_are_stored_with_their_lines(write: Any, step: FakeStep) -> None:
    write('id,name\n1,Ann\n\n2,"Bob\nB."\n3,Zoë')
    summary = call(step)
    assert rows(step) == [
        (2, {"id": "1", "name": "Ann"}),
        (4, {"id": "2", "name": "Bob\nB."}),
        (6, {"id": "3", "name": "Zoë"}),
    ]
    assert (summary.rows_imported, summary.rows_rejected, summary.lines) == (3, 0, 6)
    assert summary.columns == ["id", "name"]
    assert step.log.warnings() == []


def test_one_step_for_each_batch_with_progress(write: Any, step: FakeStep) -> None:
    path = write("n\n" + "".join(f"{n}\n" for n in range(10)))
    call(step, batch_size=4)
    assert step.executed == ["check-file", "batch-1", "batch-2", "batch-3"]
    size = path.stat().st_size
    assert [values[0] for values in step.reported] == [10, 18, 22]
    assert step.reported[-1] == (size, size, "10 rows")


def test_long_rows_make_a_batch_end_early(
    write: Any, step: FakeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BATCH_BYTES", 10)
    write("n\n12345\n67890\n1\n")
    assert call(step).rows_imported == 3
    assert step.executed == ["check-file", "batch-1", "batch-2"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(write: Any, step: FakeStep, delimiter: str) -> None:
    write(f'id{delimiter}"na,me;x,y"\n1{delimiter}2\n')
    assert call(step).delimiter == delimiter
    assert rows(step) == [(2, {"id": "1", "na,me;x,y": "2"})]


@pytest.mark.parametrize(("given", "used"), [(":", ":"), ("tab", "\t"), ("\\t", "\t")])
def test_the_delimiter_can_be_given(write: Any, step: FakeStep, given: str, used: str) -> None:
    write(f"a{used}b,c\n1{used}2\n")
    assert call(step, delimiter=given).columns == ["a", "b,c"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_and_a_byte_order_mark(write: Any, step: FakeStep, end: str) -> None:
    write(b"\xef\xbb\xbf" + end.join(["id,name", "1,Zoë", "2,Ann", ""]).encode())
    call(step, batch_size=1)
    assert rows(step) == [(2, {"id": "1", "name": "Zoë"}), (3, {"id": "2", "name": "Ann"})]


@pytest.mark.parametrize("encoding", ["windows-1252", "latin-1", "shift_jis"])
def test_other_encodings_can_be_given(write: Any, step: FakeStep, encoding: str) -> None:
    text = "表,能\nソ,b\n" if encoding == "shift_jis" else "größe,x\nß,b\n"
    write(text.encode(encoding))
    call(step, encoding=encoding)
    header, row = (line.split(",") for line in text.splitlines())
    assert rows(step) == [(2, dict(zip(header, row, strict=True)))]


def test_bad_rows_are_reported_with_their_lines_and_skipped(write: Any, step: FakeStep) -> None:
    content = b'id,name\n1,Ann\n2\n3,C,D\n,E\n4,\xff\n5,Zo\xc3\xab\n6,"x"y\n7,"open\n8,F\n'
    write(content)
    summary = call(step, required=["id"])
    assert [line for line, _ in rows(step)] == [2, 7, 10]
    assert (summary.rows_imported, summary.rows_rejected) == (3, 6)
    assert step.log.warnings() == [
        "Line 3 skipped: it has 1 cells, the header 2",
        "Line 4 skipped: it has 3 cells, the header 2",
        "Line 5 skipped: the required column 'id' is empty",
        "Line 6 skipped: the byte 0xFF in it is not utf-8",
        "Line 8 skipped: there is text after a closing quote",
        "Line 9 skipped: a quote that is opened in it is never closed",
    ]


def test_so_many_warnings_and_no_more(
    write: Any, step: FakeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WARNINGS", 5)
    write("a,b\n" + "1\n" * 12)
    assert call(step, batch_size=3).rows_rejected == 12
    assert len(step.log.warnings()) == 6
    assert step.log.warnings()[-1] == "7 more bad rows are not listed"


def test_a_header_alone_is_an_import_of_nothing(write: Any, step: FakeStep) -> None:
    write("id,name")
    assert call(step).rows_imported == 0


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "'a.csv' is empty. Its first line must name the columns."),
        (b"\xef\xbb\xbf\n\n", {}, "'a.csv' is empty. Its first line must name the columns."),
        (b"a,b\n1,\x002\n", {}, "'a.csv', line 2: there is a NUL byte, so this is a binary file"),
        (b"\x1f\x8b\x08", {}, "'a.csv' is not a CSV file: it is compressed with gzip. Unpack"),
        (b"%PDF-1.7\n%\xe2\xe3", {}, "'a.csv' is not a CSV file: it is a PDF document."),
        ("a,b\n1,2\n".encode("utf-16"), {}, "it is text in UTF-16. Save it as CSV in UTF-8."),
        ("a,b\n1,2\n".encode("utf-16-le"), {}, "or text in UTF-16. Save it as CSV in UTF-8."),
        (b"id,b,id\n1,2,3\n", {}, "'a.csv', line 1: columns 1 and 3 are both named 'id'."),
        (b"id, ,c\n1,2,3\n", {}, "'a.csv', line 1: column 2 has no name. Name every column"),
        (
            b"\nid;name\n1;2\n",
            {"required": ["id", "email"]},
            (
                "'a.csv', line 2: there is no column 'email'; separated by ';' there are: id, "
                "name. Correct the header, or what is required."
            ),
        ),
        (
            "größe,b\n1,2\n".encode("latin-1"),
            {},
            (
                "'a.csv', line 1: the header can't be read: the byte 0xF6 in it is not utf-8. "
                "Start again with another encoding, perhaps windows-1252, or save the file"
            ),
        ),
        (
            "a,b\n1,2\nß,2\n3,3\nü,3\n".encode("latin-1"),
            {},
            (
                "'a.csv', line 3: this line and 1 more are not utf-8, so the file is in another "
                "encoding. Start again with another encoding, perhaps windows-1252, or save the"
            ),
        ),
        (b"\xef\xbb\xbfa\n1\n", {"encoding": "latin-1"}, "Start again with encoding utf-8."),
        (b'"a,b\n1,2\n', {}, "line 1: the header can't be read: a quote that is opened in it is"),
        (
            b"x" * 2_000_000,
            {},
            "line 1: the header can't be read: it is longer than 1,000,000 bytes",
        ),
    ],
)
def test_an_unusable_file_fails_with_one_message_and_stores_nothing(
    write: Any, step: FakeStep, content: bytes, options: dict[str, Any], message: str
) -> None:
    write(content)
    with pytest.raises(UnusableFileError) as caught:
        call(step, **options)
    assert message in str(caught.value)
    assert step.executed == []
    assert step.log.lines == []
    assert not ImportedRow.objects.exists()


def test_an_excel_workbook_is_told_from_a_csv_file(data_dir: Path, step: FakeStep) -> None:
    with zipfile.ZipFile(data_dir / "a.csv", "w") as workbook:
        workbook.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(UnusableFileError, match="it is an Excel workbook or a ZIP archive"):
        call(step)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("file", "none.csv", "There is no file 'none.csv'. Upload it on the job's page"),
        ("file", "../a.csv", "lies outside"),
        ("delimiter", ",,", "Give one character such as ; or the word tab, or auto."),
        ("delimiter", '"', "Give one character"),
        ("encoding", "utf-16", "'utf-16' is not supported. Give utf-8, windows-1252"),
        ("encoding", "klingon", "'klingon' is not supported"),
        ("encoding", "rot13", "'rot13' is not supported"),
        ("batch_size", 0, "greater than or equal to 1"),
        ("batch_size", 10_001, "less than or equal to 10000"),
    ],
)
def test_a_bad_input_is_refused_at_the_trigger(
    write: Any, field: str, value: object, message: str
) -> None:
    write("a\n1\n")
    with pytest.raises(ValidationError) as caught:
        import_csv.parse_input({"file": "a.csv", field: value})
    assert caught.value.errors[0].path == field
    assert message in caught.value.errors[0].message


def test_a_file_that_changes_meanwhile_fails_the_run(write: Any, step: FakeStep) -> None:
    path = write("n\n1\n2\n3\n")
    step.dies_before_checkpoint = "batch-2"
    with pytest.raises(Killed):
        call(step, batch_size=1)
    os.utime(path, ns=(0, 0))
    with pytest.raises(UnusableFileError, match=r"'a\.csv' has changed since this run began"):
        call(step, batch_size=1)


def test_a_file_that_vanishes_meanwhile_is_named(write: Any, step: FakeStep) -> None:
    path = write("n\n1\n2\n")
    step.dies_before_checkpoint = "batch-1"
    with pytest.raises(Killed):
        call(step, batch_size=1)
    path.unlink()
    with pytest.raises(ValidationError, match=r"There is no file 'a\.csv'"):
        call(step, batch_size=1)


def test_killed_after_every_insert_and_resumed_every_good_row_is_there_once(
    write: Any, data_dir: Path
) -> None:
    random_ = random.Random(7)
    written = [[str(n), random_.choice(["x", 'a"b', "line\nbreak", "é", ","])] for n in range(60)]
    with (data_dir / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *written])
    step = FakeStep()
    for batch in range(1, 11):
        step.dies_before_checkpoint = f"batch-{batch}"  # after its rows are in the table
        with pytest.raises(Killed):
            call(step, batch_size=6)
    summary = call(step, batch_size=6)
    assert [list(data.values()) for _, data in rows(step)] == written
    assert summary.rows_imported == 60
    assert step.executed == ["check-file", *(f"batch-{n}" for n in range(1, 11))]


def test_two_runs_of_one_file_keep_their_rows_apart(write: Any) -> None:
    write("n\n1\n")
    one, two = FakeStep(), FakeStep()
    call(one)
    call(two)
    assert rows(one) == rows(two) == [(2, {"n": "1"})]


@pytest.mark.parametrize("rows", [1, 10_000])
def test_a_cancelled_run_stops_within_a_step(write: Any, step: FakeStep, rows: int) -> None:
    write("n\n" + "1\n" * rows)
    step.cancelled = True
    with pytest.raises(Killed):
        call(step)
