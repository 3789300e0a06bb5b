from __future__ import annotations

import pytest

from runs.live.cursor import Cursor, gaps

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("cursor", "text"),
    [
        (Cursor(0), "0"),
        (Cursor(110), "110"),
        (Cursor(110, ((105, 105),)), "110.5"),
        (Cursor(110, ((90, 93), (105, 105))), "110.20-17.5"),
    ],
)
def test_a_cursor_is_read_back(cursor: Cursor, text: str) -> None:
    assert str(cursor) == text
    assert Cursor.parse(text) == cursor


@pytest.mark.parametrize("text", ["", "-1", "1.", "1,2", "x", "9" * 19, "1.2-", "1." + "2." * 9000])
def test_what_is_no_cursor_is_none(text: str) -> None:
    assert Cursor.parse(text) is None


@pytest.mark.postgres
def test_gaps_are_what_is_missing() -> None:
    assert gaps(4, [5, 6]) == []
    assert gaps(4, [5, 7, 10]) == [(6, 6), (8, 9)]
