"""The CSV reader: the records of ``csv.reader``, from any place of the file on."""

from __future__ import annotations

import csv
import io
from itertools import islice
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.csv_support import records
from jobs.csv_support.records import Lines, Record, read_records

Rows = list[list[str]]

cells = st.text(
    st.one_of(
        st.sampled_from("ab,;|\t\"' \r\n\x0b\x1c\x85\u2028é漢🙂\ufeff"), st.characters()
    ).filter(lambda c: c != "\0" and not "\ud800" <= c <= "\udfff"),
    max_size=8,
)
dialects = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t|"),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    }
)


def read(data: bytes, delimiter: str = ",", offset: int = 0, line: int = 1) -> list[Record]:
    return list(read_records(Lines(io.BytesIO(data), "utf-8", offset, line), delimiter))


def read_in_batches(data: bytes, delimiter: str, size: int) -> list[list[Record]]:
    """Each batch by a reader of its own that starts where the one before ended."""
    batches, offset, line = [], 0, 1
    while offset < len(data):
        lines = Lines(io.BytesIO(data), "utf-8", offset, line)
        batches.append(list(islice(read_records(lines, delimiter), size)))
        assert lines.offset > offset
        offset, line = lines.offset, lines.line
    return batches


@given(
    rows=st.lists(st.lists(cells, min_size=1, max_size=4), max_size=12),
    dialect=dialects,
    size=st.integers(1, 5),
    chunk=st.integers(1, 40),
    cut=st.booleans(),
)
@example(rows=[["a\r"], ["\nb"]], dialect={"lineterminator": "\r"}, size=1, chunk=1, cut=False)
def test_any_batches_give_the_records_of_csv_reader(
    rows: Rows, dialect: dict[str, Any], size: int, chunk: int, cut: bool
) -> None:
    out = io.StringIO()
    csv.writer(out, **dialect).writerows(rows)
    text = out.getvalue()
    if cut:
        text = text.removesuffix(dialect["lineterminator"])
    delimiter = dialect.get("delimiter", ",")
    expected = [r for r in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if r]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "CHUNK", chunk)
        whole = read(text.encode(), delimiter)
        batches = read_in_batches(text.encode(), delimiter, size)
    assert [record.cells for record in whole] == expected
    assert not any(record.problem for record in whole)
    assert [record for batch in batches for record in batch] == whole
    assert all(len(batch) <= size for batch in batches)


@given(
    data=st.lists(
        st.sampled_from([b'"', b",", b"\n", b"\r", b"\r\n", b"a", b"\xe9", "é".encode(), b"\0"]),
        max_size=60,
    ).map(b"".join),
    size=st.integers(1, 3),
    limit=st.integers(1, 20),
    chunk=st.integers(1, 9),
)
def test_any_bytes_are_read_alike_in_batches_and_as_a_whole(
    data: bytes, size: int, limit: int, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "MAX_RECORD", limit)
        patch.setattr(records, "CHUNK", chunk)
        whole = read(data)
        batches = read_in_batches(data, ",", size)
    assert [record for batch in batches for record in batch] == whole
    lines = [record.line for record in whole]
    assert lines == sorted(set(lines))
    assert not lines or lines[-1] <= len(data.splitlines())


def test_line_numbers_are_those_of_an_editor() -> None:
    assert [r.line for r in read(b'a,b\r\n\r\n"x\n\ny",1\n\nc,d')] == [1, 3, 7]


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252", "latin-1", "shift_jis", "gb18030"])
def test_offsets_count_bytes_in_any_encoding(encoding: str) -> None:
    text = "表,ソ\n能,b\n" if encoding in ("shift_jis", "gb18030") else "é,ß\nü,b\n"
    data = text.encode(encoding)
    lines = Lines(io.BytesIO(data), encoding)
    reader = read_records(lines, ",")
    next(reader)
    rest = Lines(io.BytesIO(data), encoding, lines.offset, lines.line)
    assert next(read_records(rest, ",")) == Record(2, text.splitlines()[1].split(","))


def test_an_open_quote_costs_its_own_line_only() -> None:
    found = read(b'1,"a\n2,b\n3,c\n')
    assert found[0].problem == "a quote that is opened in it is never closed"
    assert [(r.line, r.cells) for r in found[1:]] == [(2, ["2", "b"]), (3, ["3", "c"])]


def test_text_after_a_closing_quote_is_a_problem() -> None:
    found = read(b'1,"a"b\n2,c\n')
    assert found[0].problem == "there is text after a closing quote"
    assert found[1].cells == ["2", "c"]


def test_an_open_quote_in_a_big_file_is_found_after_a_bounded_number_of_bytes() -> None:
    good = b"2,b\n" * 500_000
    file = io.BytesIO(b'1,"a\n' + good)
    reader = read_records(Lines(file, "utf-8"), ",")
    assert next(reader).problem == (
        "a quote that is opened in it is not closed within 131,072 characters"
    )
    assert file.tell() < 2_000_000
    assert sum(not record.problem for record in reader) == 500_000


def test_many_short_cells_with_line_breaks_do_not_fill_the_memory() -> None:
    file = io.BytesIO(b'"\n",' * 1_000_000)
    first = next(read_records(Lines(file, "utf-8"), ","))
    assert first.problem.endswith("is not closed within 1,000,000 bytes")
    assert file.tell() < 2_000_000


def test_a_line_that_is_too_long_is_skipped() -> None:
    found = read(b"1,a\n" + b"x" * 5_000_000 + b"\n2,b\n")
    assert [(r.line, r.cells) for r in found if not r.problem] == [(1, ["1", "a"]), (3, ["2", "b"])]
    assert found[1] == Record(2, [], "it is longer than 1,000,000 bytes")


def test_a_cell_that_is_too_long_is_a_problem() -> None:
    found = read(b"1," + b"x" * 200_000 + b"\n2,b\n")
    assert found[0].problem == "a cell in it is longer than 131,072 characters"
    assert found[1].cells == ["2", "b"]


def test_bytes_of_another_encoding_are_a_problem_of_their_line() -> None:
    found = read("é,1\n".encode() + b"\xe9,2\n" + "é,3\n".encode())
    assert [r.problem for r in found] == ["", "the byte 0xE9 in it is not utf-8", ""]


def test_a_nul_byte_is_a_problem_of_its_line() -> None:
    assert [bool(r.problem) for r in read(b"a\nb\0\nc\n")] == [False, True, False]
