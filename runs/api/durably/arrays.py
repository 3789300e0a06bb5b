"""JSON arrays that may hold very large payloads, made in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

Key = TypeVar("Key")

#: Payloads are null in what comes after so many bytes of JSON.
MAX_BYTES = 8_000_000

_PORTION = 20


def json_array(
    keys: Sequence[Key], load: Callable[[Sequence[Key], bool], Iterable[dict[str, Any]]]
) -> str:
    """The items of these keys as a JSON array.

    ``load(keys, payloads)`` reads some of them, without payloads once the array is large.
    """
    texts: list[str] = []
    size = 0
    while keys:
        payloads = size <= MAX_BYTES
        portion, keys = (keys[:_PORTION], keys[_PORTION:]) if payloads else (keys, ())
        for item in load(portion, payloads):
            texts.append(json.dumps(item, allow_nan=False))
            size += len(texts[-1])
    return f"[{', '.join(texts)}]"
