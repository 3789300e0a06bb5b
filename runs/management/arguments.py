"""What people type after a command, as values. Everything here raises BadArgument."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import CommandError
from django.db.models import CharField
from django.db.models.functions import Cast
from django.utils import timezone

from runs.errors import NotFoundError
from runs.management.base import USAGE
from runs.models import Run
from runs.registry import JobDefinition

_SHORTEST_TAIL = 4
_LONGEST_TAIL = 12  # the last group of an id, which has no hyphen in it
_INLINE = ("{", "[", '"')


class BadArgument(CommandError):
    """An argument can't be used; the message says which and why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=USAGE)


def read_input(argument: str | None, definition: JobDefinition) -> Any:
    """The input of a run: inline JSON, a file, stdin (``-``), or nothing.

    Nothing means ``{}`` if the job takes an object, else null.
    """
    if argument is None:
        return {} if definition.input_schema.get("type") == "object" else None
    if argument.lstrip().startswith(_INLINE):
        return parse_json(argument, "input")
    if argument == "-":
        return parse_json(_decode(sys.stdin.buffer.read(), "stdin"), "stdin")
    try:
        raw = Path(argument).read_bytes()
    except FileNotFoundError:
        raise BadArgument(
            f"There is no file {argument!r}. The input is a JSON file, - for stdin, or JSON "
            'itself, starting with {, [ or ".'
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadArgument(f"Can't read {argument}: {reason}.") from None
    return parse_json(_decode(raw, argument), argument)


def parse_json(text: str, where: str) -> Any:
    """The value that ``text`` stands for; an error names the place, line and column."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise BadArgument(
            f"{where}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}."
        ) from None
    except RecursionError:
        raise BadArgument(f"{where}: nested too deeply.") from None
    except ValueError as error:
        raise BadArgument(f"{where}: not JSON: {error}.") from None


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """Labels from ``key=value`` (or, as in links to lists, ``key:value``)."""
    labels: dict[str, str] = {}
    for pair in pairs:
        separator = "=" if "=" in pair else ":"
        key, found, value = pair.partition(separator)
        if not found:
            raise BadArgument(f"--label {pair!r}: write it as key=value.")
        if key in labels:
            raise BadArgument(f"--label {pair!r}: the key {key!r} is given twice.")
        labels[key] = value
    return labels


def parse_time(text: str) -> datetime:
    """An aware time from ISO 8601; without an offset it is in TIME_ZONE."""
    try:
        moment = datetime.fromisoformat(text)
        aware = timezone.make_aware(moment) if timezone.is_naive(moment) else moment
        aware.astimezone(UTC)  # as it is stored: the first hours of the calendar have no such time
    except (ValueError, OverflowError):
        raise BadArgument(
            f"{text!r} is not a time in ISO 8601, such as 2026-12-31T18:00:00+01:00."
        ) from None
    return aware


def find_run(id: str) -> Run:
    """The run of that id, or of the only id that ends so. Raises NotFoundError, BadArgument."""
    given = id.strip().lower()
    digits = given.replace("-", "")
    if not digits or set(digits) - set("0123456789abcdef"):
        raise BadArgument(f"{id!r} is not the id of a run.")
    if len(digits) == 32:
        run = Run.objects.filter(pk=digits).first()
        if run is None:
            raise NotFoundError(f"There is no run {id}.")
        return run
    if not _SHORTEST_TAIL <= len(given) <= _LONGEST_TAIL or "-" in given:
        raise BadArgument(
            f"{id!r}: give the whole id of a run, or its last {_SHORTEST_TAIL} to "
            f"{_LONGEST_TAIL} digits."
        )
    texts = Run.objects.annotate(text=Cast("pk", CharField()))
    found = list(texts.filter(text__endswith=given).newest_first()[:2])
    if not found:
        raise NotFoundError(f"There is no run whose id ends in {id}.")
    if len(found) > 1:
        raise BadArgument(f"More than one run's id ends in {id}: give more of it.")
    return found[0]


def _decode(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadArgument(
            f"{where}: not UTF-8 text (byte 0x{raw[error.start]:02x} at offset {error.start})."
        ) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
