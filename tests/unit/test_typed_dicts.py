"""``typing.TypedDict``, as Python 3.11 has it, is a type like any other."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NotRequired, Optional, TypedDict

import pydantic
import pytest

from runs.payloads import codec_for


class Size(TypedDict):
    """How large."""

    width: int
    unit: NotRequired[str]


class Partial(TypedDict, total=False):
    a: int
    b: Size


class Whole(Partial):
    c: list[Size]


class Loop(TypedDict):
    next: Loop


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        (Size, {"width": 1}, {"unit": "mm"}),
        (Size, {"width": 1, "unit": "mm"}, {"width": "x"}),
        (Partial, {}, {"b": {}}),
        (Partial, {"b": {"width": 1}}, {"a": "x"}),
        (Whole, {"c": [{"width": 1}]}, {"c": [{}]}),
        (list[Size], [{"width": 1}], [{}]),
        (dict[str, list[Size]], {"a": [{"width": 1}]}, {"a": [{}]}),
        (Size | None, None, {}),
        (Optional[Size], {"width": 1}, {}),  # noqa: UP045 (the old spelling is tested)
        (Annotated[list[Size], pydantic.Field(min_length=1)], [{"width": 1}], []),
        (tuple[Size, ...], ({"width": 1},), ({},)),
    ],
)
def test_values_are_checked_and_come_back_equal(type_: Any, good: Any, bad: Any) -> None:
    codec = codec_for(type_)
    _, decoded = codec.encode(good)
    assert decoded == good
    assert codec.adapter is not None
    with pytest.raises(pydantic.ValidationError):
        codec.adapter.validate_python(bad)


def test_the_schema_tells_what_is_required() -> None:
    schema = codec_for(Size).schema()
    assert schema["required"] == ["width"]
    assert schema["description"] == "How large."
    assert set(schema["properties"]) == {"width", "unit"}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic takes them itself from 3.12 on")
def test_one_that_refers_to_itself_is_refused_with_the_remedy() -> None:
    with pytest.raises(NameError, match=r"Loop refers to itself; use typing_extensions"):
        codec_for(Loop)
