"""Import a CSV file into a table, so that a crash neither loses nor repeats a row."""

from __future__ import annotations

from itertools import islice

from pydantic import BaseModel, Field

from jobs.csv_support.checks import CheckedFile, Delimiter, Encoding, check_csv
from jobs.csv_support.records import Lines, Record, read_records
from jobs.models import ImportedRow
from runs import InputFile, Step, job
from runs.files import open_input_file

MAX_BATCH_BYTES = 4_000_000  # a batch is held in memory, so long rows make it shorter
MAX_WARNINGS = 1_000


class ImportInput(BaseModel):
    """What to import, and how it is written."""

    file: InputFile = Field(description="The CSV file. Its first line names the columns.")
    delimiter: Delimiter = Field(
        default="auto", description="What separates cells: one character, tab, or auto."
    )
    encoding: Encoding = Field(default="utf-8", description="Such as utf-8 or windows-1252.")
    required: list[str] = Field(
        default=[], description="Columns that must be there, with a value in every row."
    )
    batch_size: int = Field(default=1000, ge=1, le=10_000, description="Rows to insert at once.")


class Place(BaseModel):
    """How far the import has come: what each step returns, and where the next one starts."""

    offset: int
    line: int
    imported: int = 0
    rejected: int = 0


class ImportSummary(BaseModel):
    """What became of the file."""

    file: str
    columns: list[str]
    delimiter: str
    lines: int
    rows_imported: int
    rows_rejected: int


@job(name="import-csv", title="Import CSV")
def import_csv(step: Step, payload: ImportInput) -> ImportSummary:
    """Import the rows of a CSV file, of any size, into the table of imported rows.

    Rows that can't be used are skipped, each with a warning in the log that names its line.
    The others are inserted by batches, one step each. Killed at any moment and resumed, the
    import goes on where the last batch ended, and the table holds every good row once.
    """
    checked = step.run("check-file", check_file, step, payload)
    place, batch = Place(offset=checked.offset, line=checked.line), 0
    while place.offset < checked.size:
        batch += 1
        place = step.run(f"batch-{batch}", import_batch, step, payload, checked, place)
        step.progress(place.offset, checked.size, f"{place.imported:,} rows")
    if place.rejected > MAX_WARNINGS:
        step.log.warn(f"{place.rejected - MAX_WARNINGS:,} more bad rows are not listed")
    return ImportSummary(
        file=payload.file,
        columns=checked.columns,
        delimiter=checked.delimiter,
        lines=place.line - 1,
        rows_imported=place.imported,
        rows_rejected=place.rejected,
    )


def check_file(step: Step, payload: ImportInput) -> CheckedFile:
    """Refuse a file that is no usable CSV before any of its rows is stored."""
    with open_input_file(payload.file) as file:
        checked = check_csv(
            file,
            payload.file,
            payload.encoding,
            payload.delimiter,
            payload.required,
            step.raise_if_cancelled,
        )
    step.log.info(
        f"The header names {len(checked.columns)} columns",
        {"columns": checked.columns, "delimiter": checked.delimiter},
    )
    return checked


def import_batch(step: Step, payload: ImportInput, checked: CheckedFile, start: Place) -> Place:
    """Insert the rows of one batch and report those that can't be."""
    rows: list[ImportedRow] = []
    problems: list[tuple[int, str]] = []
    with open_input_file(payload.file) as file:
        checked.refuse_if_changed(file, payload.file)
        lines = Lines(file, payload.encoding, start.offset, start.line)
        for record in islice(read_records(lines, checked.delimiter), payload.batch_size):
            step.raise_if_cancelled()
            if problem := find_problem(record, checked.columns, payload.required):
                problems.append((record.line, problem))
            else:
                data = dict(zip(checked.columns, record.cells, strict=True))
                rows.append(ImportedRow(run_id=step.run_id, line_number=record.line, data=data))
            if lines.offset - start.offset >= MAX_BATCH_BYTES:
                break
    # One transaction. If the process dies before the result of this step is stored, the step
    # runs again, and rows that are in the table already are left as they are.
    ImportedRow.objects.bulk_create(rows, ignore_conflicts=True)
    for line, problem in problems[: max(0, MAX_WARNINGS - start.rejected)]:
        step.log.warn(f"Line {line} skipped: {problem}", {"line": line, "reason": problem})
    return Place(
        offset=lines.offset,
        line=lines.line,
        imported=start.imported + len(rows),
        rejected=start.rejected + len(problems),
    )


def find_problem(record: Record, columns: list[str], required: list[str]) -> str:
    """Why a row can't be imported; empty if it can."""
    if record.problem:
        return record.problem
    if len(record.cells) != len(columns):
        return f"it has {len(record.cells)} cells, the header {len(columns)}"
    for name in required:
        if not record.cells[columns.index(name)].strip():
            return f"the required column {name!r} is empty"
    return ""
