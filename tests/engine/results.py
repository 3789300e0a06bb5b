"""Bodies of steps that return a value, first and on replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.engine import HandWorker, Held


def resume(held: Held) -> Held:
    dead = HandWorker()
    dead.id = held.claim.owner
    dead.die()
    return HandWorker("successor").take()


def returning(value: Any, annotation: Any = None) -> Callable[[], Any]:
    def body() -> Any:
        return value

    if annotation is None:
        body.__annotations__.clear()
    else:
        body.__annotations__["return"] = annotation
    return body


def never() -> Any:
    raise AssertionError("called on replay")


def typed_never(annotation: Any) -> Callable[[], Any]:
    def body() -> Any:
        return never()

    body.__annotations__["return"] = annotation
    return body
