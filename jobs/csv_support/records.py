"""CSV records with exact places, so that reading can go on later where it ended.

``csv.reader`` takes the lines of a record one by one and none beyond it. So whoever
hands it the lines knows, after each record, how many bytes of the file have been used:
also with line breaks in quoted cells, any kind of line end, and any encoding in which a
line can be decoded by itself.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

#: Records beyond this many bytes are refused, so that memory stays bounded.
MAX_RECORD = 1_000_000
CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Record:
    """One record: the line where it begins, and its cells or what is wrong with it."""

    line: int
    cells: list[str]
    problem: str = ""


class RecordTooLong(ValueError):
    """A record is longer than ``MAX_RECORD``."""


def raw_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends (LF, CRLF or CR). One that is too long comes in several parts."""
    rest = b""
    while chunk := file.read(CHUNK):
        lines = (rest + chunk).splitlines(keepends=True)
        rest = lines.pop()  # it may go on in the next chunk; so may a CR with its LF
        yield from lines
        if len(rest) > MAX_RECORD and not rest.endswith(b"\r"):
            yield rest
            rest = b""
    if rest:
        yield rest


class Lines:
    """The decoded lines of a file from some place on, and the place that they reach."""

    def __init__(self, file: BinaryIO, encoding: str, offset: int = 0, line: int = 1) -> None:
        file.seek(offset)
        self.offset = offset
        self.line = line
        self._encoding = encoding
        self._raw = raw_lines(file)
        self._again: deque[bytes] = deque()
        self.begin_record()

    def begin_record(self) -> None:
        self._taken: list[bytes] = []
        self._size = 0
        self.problem = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._again.popleft() if self._again else next(self._raw)
        self.offset += len(raw)
        self.line += 1
        self._size += len(raw)
        if self._size > MAX_RECORD:
            self._leave_line(raw)
            raise RecordTooLong
        self._taken.append(raw)
        if b"\0" in raw:
            self.problem = "it holds a NUL byte, which no text has"
        try:
            return raw.decode(self._encoding)
        except UnicodeDecodeError as error:
            self.problem = f"the byte 0x{raw[error.start]:02X} in it is not {self._encoding}"
            return raw.decode("latin-1")  # quotes and line ends are where they were

    def go_back_to_second_line(self) -> None:
        """Give all lines of the record again but its first."""
        again = self._taken[1:]
        self._again.extendleft(reversed(again))
        self.offset -= sum(map(len, again))
        self.line -= len(again)

    def _leave_line(self, raw: bytes) -> None:
        """Go to the end of a line that comes in parts; if it is not the first, before it."""
        if self._taken:
            self._taken.append(raw)
            return
        while raw and not raw.endswith((b"\n", b"\r")):
            raw = next(self._raw, b"")
            self.offset += len(raw)


def read_records(lines: Lines, delimiter: str) -> Iterator[Record]:
    """The records in ``lines``, without blank ones.

    If one is malformed, only its first line is given up and reading goes on with the
    next: a stray quote must not swallow the good rows after it.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin_record()
        begin = lines.line
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, RecordTooLong) as error:
            problem = _explain(error, lines.line - begin)
            lines.go_back_to_second_line()
            yield Record(begin, [], problem)
            continue
        if cells:
            yield Record(begin, cells, lines.problem)


def _explain(error: Exception, height: int) -> str:
    """What is wrong with a record of so many lines, for people."""
    reason = str(error)
    if "unexpected end of data" in reason:
        return "a quote that is opened in it is never closed"
    if "expected after" in reason:
        return "there is text after a closing quote"
    if isinstance(error, RecordTooLong):
        what, limit = "it", f"{MAX_RECORD:,} bytes"
    elif "field larger" in reason:
        what, limit = "a cell in it", f"{csv.field_size_limit():,} characters"
    else:
        return reason
    if height > 1:  # line breaks in a record are in quotes
        return f"a quote that is opened in it is not closed within {limit}"
    return f"{what} is longer than {limit}"
