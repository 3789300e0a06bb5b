"""A decorator as a library would have it: the names in the signatures aren't known here."""

from __future__ import annotations

import functools
import typing as t


def traced(fn: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Call ``fn``."""

    @functools.wraps(fn)
    def wrapper(*args: t.Any, **kwargs: t.Any) -> t.Any:
        return fn(*args, **kwargs)

    return wrapper
