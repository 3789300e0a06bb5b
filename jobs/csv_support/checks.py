"""What a file must be like to be imported, and finding out how it is written."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from jobs.csv_support.records import CHUNK, MAX_RECORD, Lines, Record, raw_lines, read_records

_DELIMITERS = (",", ";", "\t", "|")
_KINDS = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive. Save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook. Save the sheet as CSV",
    b"\x1f\x8b": "compressed with gzip. Unpack it first",
    b"%PDF": "a PDF document. Export its table as CSV",
    codecs.BOM_UTF16_LE: "text in UTF-16. Save it as CSV in UTF-8",
    codecs.BOM_UTF16_BE: "text in UTF-16. Save it as CSV in UTF-8",
}


class UnusableFileError(ValueError):
    """The file can't be imported; the message says where, why, and what to do."""


@dataclass(frozen=True)
class CheckedFile:
    """What there is to know about a CSV file before its rows are read."""

    columns: list[str]
    delimiter: str
    size: int
    changed_ns: int
    offset: int  # where the first row begins
    line: int

    def refuse_if_changed(self, file: BinaryIO, name: str) -> None:
        """Raise UnusableFileError if the file is not the one that was checked."""
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (self.size, self.changed_ns):
            raise UnusableFileError(
                f"{name!r} has changed since this run began to read it, so the run can't go on. "
                "Rows imported so far stay. Use Run again to import the file as it is now."
            )


def check_csv(
    file: BinaryIO,
    name: str,
    encoding: str,
    delimiter: str,
    required: list[str],
    still_wanted: Callable[[], None],
) -> CheckedFile:
    """Examine a whole file without storing anything; ``still_wanted`` is called now and then.

    Raises UnusableFileError if it is empty, binary, in another encoding, or if its header
    is unusable or lacks a required column.
    """
    status = os.fstat(file.fileno())
    start = _refuse_other_kinds(file.read(CHUNK), name, encoding)
    header, delimiter, lines = _find_header(file, name, encoding, delimiter, start)
    columns = [cell.strip() for cell in header.cells]
    _check_columns(columns, f"{name!r}, line {header.line}", delimiter, required)
    _refuse_other_encoding(file, name, encoding, still_wanted)
    return CheckedFile(
        columns, delimiter, status.st_size, status.st_mtime_ns, lines.offset, lines.line
    )


def _refuse_other_kinds(head: bytes, name: str, encoding: str) -> int:
    """Where the text begins: after a byte order mark, if there is one."""
    for mark, kind in _KINDS.items():
        if head.startswith(mark):
            raise UnusableFileError(f"{name!r} is not a CSV file: it is {kind}.")
    if b"\0" in head:
        line = len(head[: head.index(b"\0") + 1].splitlines())
        raise UnusableFileError(
            f"{name!r}, line {line}: there is a NUL byte, so this is a binary file, or text in "
            "UTF-16. Save it as CSV in UTF-8."
        )
    if not head.startswith(codecs.BOM_UTF8):
        return 0
    if encoding != "utf-8":
        raise UnusableFileError(
            f"{name!r} begins with the mark of UTF-8, but the encoding {encoding} was given. "
            "Start again with encoding utf-8."
        )
    return len(codecs.BOM_UTF8)


def _find_header(
    file: BinaryIO, name: str, encoding: str, delimiter: str, start: int
) -> tuple[Record, str, Lines]:
    """The first record, by the delimiter that finds most columns in it.

    A quote that is left in a cell tells that it was cut at the wrong characters.
    """
    found: list[tuple[Record, str, Lines]] = []
    for candidate in _DELIMITERS if delimiter == "auto" else (delimiter,):
        lines = Lines(file, encoding, start)
        record = next(read_records(lines, candidate), None)
        if record is None:
            raise UnusableFileError(f"{name!r} is empty. Its first line must name the columns.")
        found.append((record, candidate, lines))
    best = max(found, key=lambda it: ('"' not in "".join(it[0].cells), len(it[0].cells)))
    if problem := best[0].problem:
        remedy = "Correct the header"
        if problem.endswith(f"is not {encoding}"):
            remedy = _other_encoding(encoding)
        raise UnusableFileError(
            f"{name!r}, line {best[0].line}: the header can't be read: {problem}. {remedy}."
        )
    return best


def _check_columns(columns: list[str], where: str, delimiter: str, required: list[str]) -> None:
    first: dict[str, int] = {}
    for number, column in enumerate(columns, start=1):
        if not column:
            raise UnusableFileError(
                f"{where}: column {number} has no name. Name every column in the header."
            )
        if column in first:
            raise UnusableFileError(
                f"{where}: columns {first[column]} and {number} are both named {column!r}. "
                "Give each column a name of its own."
            )
        first[column] = number
    if missing := [column for column in required if column not in first]:
        shown = ", ".join(columns)
        shown = shown if len(shown) <= 300 else f"{shown[:300]}…"
        raise UnusableFileError(
            f"{where}: there is no column {', '.join(map(repr, missing))}; separated by "
            f"{delimiter!r} there are: {shown}. Correct the header, or what is required."
        )


def _refuse_other_encoding(
    file: BinaryIO, name: str, encoding: str, still_wanted: Callable[[], None]
) -> None:
    """Refuse a file in which no line beyond ASCII can be decoded.

    Where some can and some can't, the encoding is right and those lines are damaged; they
    are left to be reported one by one.
    """
    file.seek(0)
    first, bad = 0, 0
    for number, raw in enumerate(raw_lines(file), start=1):
        if number % 10_000 == 0:
            still_wanted()
        if raw.isascii() or len(raw) > MAX_RECORD:
            continue
        try:
            raw.decode(encoding)
        except UnicodeDecodeError:
            first, bad = first or number, bad + 1
        else:
            return
    if bad:
        lines = "this line is" if bad == 1 else f"this line and {bad - 1:,} more are"
        raise UnusableFileError(
            f"{name!r}, line {first}: {lines} not {encoding}, so the file is in another "
            f"encoding. {_other_encoding(encoding)}."
        )


def _other_encoding(encoding: str) -> str:
    other = "windows-1252" if encoding == "utf-8" else "utf-8"
    return f"Start again with another encoding, perhaps {other}, or save the file as CSV in UTF-8"


def _one_character(delimiter: str) -> str:
    delimiter = {"": "auto", "tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if delimiter != "auto" and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise PydanticCustomError(
            "delimiter", "Give one character such as ; or the word tab, or auto."
        )
    return delimiter


def _usable_encoding(encoding: str) -> str:
    # Lines are found as bytes, so these characters must be one byte each, as in ASCII.
    sample = '\r\n\t ,;|"+-~~azAZ09'
    try:
        if sample.encode("ascii").decode(encoding) == sample:
            is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
            return "utf-8" if is_utf8 else encoding
    except (LookupError, ValueError):
        pass
    raise PydanticCustomError(
        "encoding",
        "{encoding} is not supported. Give utf-8, windows-1252, latin-1 or another encoding "
        "that extends ASCII, or save the file as CSV in UTF-8.",
        {"encoding": repr(encoding[:40])},
    )


#: One character, or "auto" to find it out from the header.
Delimiter = Annotated[str, AfterValidator(_one_character)]

#: An encoding in which the characters of ASCII are what they are in ASCII.
Encoding = Annotated[str, AfterValidator(_usable_encoding)]
