"""A step object that keeps its checkpoints in memory, to call handlers without an engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from runs.payloads import JSONText, codec_for_result


class Killed(BaseException):
    """The process died here."""


class FakeLog:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, Mapping[str, Any]]] = []

    def info(self, message: str, data: Mapping[str, Any] | None = None) -> None:
        self.lines.append(("info", message, data or {}))

    def warn(self, message: str, data: Mapping[str, Any] | None = None) -> None:
        self.lines.append(("warn", message, data or {}))

    def warnings(self) -> list[str]:
        return [message for level, message, _ in self.lines if level == "warn"]


class FakeStep:
    """Use the same one again, and the handler resumes."""

    def __init__(self, attempt: int = 1) -> None:
        self.run_id = uuid.uuid4()
        self.attempt = attempt
        self.log = FakeLog()
        self.checkpoints: dict[str, JSONText] = {}
        self.executed: list[str] = []
        self.reported: list[tuple[Any, ...]] = []
        self.dies_before_checkpoint: str | None = None
        self.cancelled = False

    def run(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        codec = codec_for_result(fn)
        if name not in self.checkpoints:
            assert 0 < len(name) <= 500
            assert name not in self.executed, f"{name} is used twice"
            result = fn(*args, **kwargs)
            if name == self.dies_before_checkpoint:
                self.dies_before_checkpoint = None
                raise Killed
            self.executed.append(name)
            self.checkpoints[name] = codec.encode(result)[0]
        return codec.decode(self.checkpoints[name])

    def progress(self, *values: Any) -> None:
        self.reported.append(values)

    def raise_if_cancelled(self) -> None:
        if self.cancelled:
            raise Killed
