"""How far somebody has read, and what lies between there and somewhere later."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.live import BEGINNING, Place, Position, Record, Selection
from runs.live import reading as reading_module
from runs.live.cursor import MAX_HOLES, Cursor, Range
from runs.live.position import SOURCES
from runs.live.reading import RunReader, StretchReader
from runs.models import Run
from tests.live.following import begun, event, log, step
from tests.pages import factories

pytestmark = pytest.mark.django_db

#: Whatever an example writes stays for the next, which changes nothing for it.
lasting = settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

numbers = st.integers(0, 10**18 - 1)


@st.composite
def cursors(draw: Any) -> Cursor:
    """Any cursor: below its last id, holes that don't touch."""
    edges = sorted(draw(st.sets(st.integers(1, 10**17), max_size=12)))
    holes: list[Range] = []
    for first, last in pairwise(edges):
        if not holes or first > holes[-1][1] + 1:
            holes.append((first, draw(st.sampled_from([first, last]))))
    highest = holes[-1][1] if holes else 0
    return Cursor(draw(st.integers(highest + 1, 10**18 - 1)), tuple(holes))


positions = st.tuples(*[cursors()] * len(SOURCES)).map(Position)
places = st.one_of(
    positions.map(Place), st.builds(Place, positions, positions, st.uuids(), numbers)
)


@given(places)
def test_a_place_is_read_back(place: Place) -> None:
    assert Place.parse(str(place)) == place
    assert place.fits


@given(places, st.data())
def test_a_place_that_was_tampered_with_is_another_or_none(place: Place, data: Any) -> None:
    text = str(place)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from("0123456789._-~afx")) + text[at + 1 :]
    found = Place.parse(changed)
    assert found is None or str(found) == changed


@given(st.text())
def test_any_text_is_a_place_or_none(text: str) -> None:
    found = Place.parse(text)
    assert found is None or text == "0" or str(found) == text


@pytest.mark.parametrize(
    "text", ["", "1", "1_2", "1_2_3_4", "1_2_3~", "1_2_3~1_2_3", "1_2_3~1_2_3~x.1", "1_2_3~~~",
             "1.5_2_3", "1.0_2_3", "01_2_3", "1_2_3 ", "٣_2_3", "9" * 17_000],
)  # fmt: skip
def test_what_nobody_was_given_is_no_place(text: str) -> None:
    assert Place.parse(text) is None


def test_zero_is_the_beginning() -> None:
    assert Place.parse("0") == Place(BEGINNING)


def test_a_place_with_very_many_holes_is_not_given_to_clients() -> None:
    holes = tuple((number, number) for number in range(1, 2 * MAX_HOLES, 2))
    cursor = Cursor(10**17, holes)
    assert Place(Position((cursor, cursor, Cursor(0)))).fits
    assert not Place(Position((cursor, cursor, cursor))).fits
    fitting = Place(Position((cursor, Cursor(1), Cursor(1))), Position((cursor, *[Cursor(9)] * 2)))
    assert len(str(fitting)) < 16_000
    assert Place.parse(str(fitting)) == fitting


def test_ids_that_are_yet_to_be_drawn_make_no_place_of_the_past() -> None:
    log(begun(), "hello")
    now = Position.now()
    assert Place(now).is_past()
    for number in range(len(SOURCES)):
        ahead = list(now.cursors)
        # Not the very next: what was rolled back has drawn some.
        ahead[number] = Cursor(ahead[number].last + 1_000_000)
        assert not Place(Position(tuple(ahead))).is_past()
        assert not Place(now, Position(tuple(ahead))).is_past()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "_MAX_ROWS", 3)
    monkeypatch.setattr(reading_module, "_RUNS_A_PAGE", 2)
    monkeypatch.setattr(reading_module, "_RUNS_AHEAD", 3)
    monkeypatch.setattr(reading_module, "_ROWS_TO_SORT", 8)


def everything() -> Selection:
    return Selection.of(Run.objects.all())


def keys(records: list[Record]) -> list[tuple[uuid.UUID, int]]:
    return [(record.run.pk, record.seq) for record in records]


def pages(reader: StretchReader | RunReader) -> Iterator[list[Record]]:
    is_last = False
    while not is_last:
        records, is_last = reader.read()
        yield records


def seen(rows: list[Any]) -> Position:
    """The position of who has seen exactly these rows, of all that there are."""
    cursors = []
    for source in SOURCES:
        ids = {row.pk for row in rows if isinstance(row, source)}
        last = max(ids, default=0)
        missing: Any = source._default_manager.filter(pk__lt=last).exclude(pk__in=ids)
        holes = tuple((id, id) for id in sorted(missing.values_list("pk", flat=True)))
        cursors.append(Cursor(last, holes))
    return Position(tuple(cursors))


#: Which of four runs gets a row next, and of which kind.
histories = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["event", "step", "log"])), max_size=30
)


@lasting
@given(histories, st.lists(st.lists(st.integers(0, 12), min_size=4, max_size=4), max_size=3))
def test_between_positions_each_row_is_told_once_and_in_order_from_any_place(
    small_pages: None, history: list[tuple[int, str]], cuts: list[list[int]]
) -> None:
    """Each cut says how many rows of each run are visible then, as by transactions under way."""
    Run.objects.all().delete()
    runs = sorted((factories.run("running") for _ in range(4)), key=lambda run: run.pk)
    rows: list[list[Any]] = [[] for _ in runs]
    for number, kind in history:
        run = runs[number]
        if kind == "event":
            rows[number].append(event(run, "handed_back"))
        elif kind == "step":
            rows[number].append(step(run, f"step {run.seq}"))
        else:
            rows[number].append(log(run, "line"))
    counts = [[0] * 4, *([max(each) for each in zip(*cuts[: n + 1], strict=True)]
                         for n in range(len(cuts))), [99] * 4]  # fmt: skip
    states = [
        [row for own, count in zip(rows, each, strict=True) for row in own[:count]]
        for each in counts
    ]
    for before, after in pairwise(states):
        start, end = seen(before), seen(after)
        expected = [(row.run_id, row.seq) for row in after if row not in before]
        reader = StretchReader(Place(start), end, everything())
        told: list[Record] = []
        for page in pages(reader):
            told += page
            place = Place.parse(str(reader.place))
            assert place is not None
            rest = StretchReader(place, end, everything())
            assert keys(told) + [key for page in pages(rest) for key in keys(page)] == expected
        assert keys(told) == expected


def test_a_long_run_is_read_from_any_number_on(small_pages: None) -> None:
    run, other = begun(), begun()
    for number in range(9):
        log(run, f"line {number}")
        log(other, "other")
        if number % 2:
            step(run, f"step {number}")
    for seq in range(run.seq + 1):
        told = [record.seq for page in pages(RunReader(run.pk, seq)) for record in page]
        assert told == list(range(seq + 1, run.seq + 1))


def test_a_page_takes_few_bytes_but_at_least_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "_MAX_BYTES", 10_000)
    run = begun()
    for size in (5_000, 3_000, 20_000, 10, 20):
        step(run, f"step {size}", output="x" * size)
    sizes = [len(page) for page in pages(RunReader(run.pk, 2))]
    assert sizes == [2, 1, 2]
