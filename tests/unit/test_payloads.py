"""Values to JSON text and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs import payloads
from runs.payloads import JSONText, Unstorable

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_any_json_value_comes_back_as_it_was(value: Any) -> None:
    text, decoded = payloads.codec_for(Any).encode(value)
    assert isinstance(text, JSONText)
    assert decoded == value
    assert json.dumps(decoded) == json.dumps(value)  # types too: 1 is not 1.0


@given(st.text(alphabet=st.characters(codec=None, categories=None)) | st.text())
def test_clean_text_can_always_be_stored(text: str) -> None:
    clean = payloads.clean_text(text)
    clean.encode("utf-8")
    assert "\x00" not in clean
    assert len(clean) == len(text)
    assert payloads.clean_text(clean) == clean


@pytest.mark.parametrize("surrogate", ["\ud800", "a\udfffb", "\ud83d\x00"])
def test_lone_surrogates_and_nul_are_replaced(surrogate: str) -> None:
    clean = payloads.clean_text(surrogate)
    assert "\ufffd" in clean
    clean.encode("utf-8")


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": "\ud800"}, ["\x00"]])
def test_json_text_of_any_string_can_be_stored(value: Any) -> None:
    text = payloads.dumps(value)
    text.encode("utf-8")
    assert "\x00" not in text
    assert payloads.loads(text) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], object(), {1, 2}, b"x", 1j])
def test_what_is_not_json_is_refused_with_a_reason(value: Any) -> None:
    with pytest.raises(Unstorable, match=r"NaN|not JSON serializable"):
        payloads.dumps(value)


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Unstorable, match="nested too deeply"):
        payloads.dumps(deep)


def test_a_loop_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Unstorable):
        payloads.dumps(loop)


@pytest.mark.parametrize(
    ("text", "limit", "found"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc… (1 more characters cut)"),
        ("ääää", 5, "ää… (2 more characters cut)"),
        ("ääää", 8, "ääää"),
        ("a\x00b", 10, "a\ufffdb"),
    ],
)
def test_text_is_cut_to_bytes_between_characters(text: str, limit: int, found: str) -> None:
    assert payloads.cut_bytes(text, limit) == found


def test_text_is_cut_to_characters_with_a_note() -> None:
    assert payloads.cut_text("abc", 3) == "abc"
    assert payloads.cut_text("ä" * 1005, 3) == "äää… (1,002 more characters cut)"


def test_codecs_are_cached_and_bounded() -> None:
    assert payloads.codec_for(list[int]) is payloads.codec_for(list[int])
    assert payloads._cached_codec.cache_info().maxsize is not None


def test_byte_size_counts_as_utf8() -> None:
    assert [payloads.byte_size(text) for text in ("", "abc", "ä", "😀")] == [0, 3, 2, 4]
