"""A step between its call and its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runs.errors import ValidationError
from runs.payloads import Codec, clean_text, safe_str

MAX_STEP_NAME = 500


@dataclass(slots=True)
class OpenStep:
    """A step whose body may be executing, or whose stored result is about to be returned."""

    name: str
    codec: Codec
    attempts: int
    started_at: datetime
    stored_output: str | None = None
    replayed: bool = False


def check_step_name(name: object) -> None:
    """Raise ValidationError if a step can't have this name."""
    if not isinstance(name, str) or not name or len(name) > MAX_STEP_NAME:
        raise ValidationError(
            f"A step's name is a text of 1 to {MAX_STEP_NAME} characters, "
            f"not {safe_str(name)[:80]!r}"
        )
    if clean_text(name) != name:
        raise ValidationError(f"Step name {name[:80]!r} has a character that can't be stored")
