"""The table, and how a module of this folder adds to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, TypeVar

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True)
class Hostile:
    """A handler, and what must be stored of its run afterwards."""

    handler: Callable[..., Any]
    status: str
    #: What ``run.error`` must match from beginning to end.
    error: str
    #: What the text of one log line, message and data, must match.
    log: str
    #: What the run's output must be, if it completes.
    output: Any

    @property
    def is_async(self) -> bool:
        return iscoroutinefunction(self.handler)


HOSTILE: dict[str, Hostile] = {}


def hostile(
    name: str, *, error: str = "", log: str = "", output: Any = None
) -> Callable[[Handler], Handler]:
    """Put a handler into the table: it fails with this error, or without one completes."""

    def add(handler: Handler) -> Handler:
        assert name not in HOSTILE, name
        status = "failed" if error else "completed"
        HOSTILE[name] = Hostile(handler, status, error, log, output)
        return handler

    return add
