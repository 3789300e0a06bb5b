"""The fields of a form: what was typed into them, and the JSON value that it makes.

A field is a leaf, an object with fields of its own, or a list with a field for each row. What
the form has no field for, such as a union, is asked for as JSON. Paths are those of the
engine's complaints: ``items[0].price``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

MAX_ROWS = 100
MAX_LEAVES = 400
_MAX_DEPTH = 6

_INTEGER = re.compile(r"[+-]?\d{1,30}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_PART = re.compile(r"[^.\[\]]+")

_INPUT_TYPES = {"email": "email", "uri": "url"}


class BadField(ValueError):
    """What was typed into a field can't be read; the message says why."""


class Unfit(ValueError):
    """A value that the form has no place for; the message says why."""


@dataclass
class InputField:
    """One value of the input: how it is asked for, and what was typed."""

    path: str
    name: str
    kind: str  # object, list; text, date, datetime, integer, number, boolean, choice, file, json
    required: bool
    nullable: bool = False
    hint: str = ""
    placeholder: str = ""
    format: str = ""
    long: bool = False
    choices: list[tuple[str, str]] = field(default_factory=list)
    default: Any = None
    has_default: bool = False
    min_rows: int = 0
    example: Any = None
    new_row: Callable[[int], InputField] | None = None
    text: str = ""
    error: str = ""
    given: bool = True  # of an object that may be left out
    children: list[InputField] = field(default_factory=list)

    @property
    def id(self) -> str:
        return "input-" + "-".join(_PART.findall(self.path))

    @property
    def checked(self) -> bool:
        return self.text == "true"

    @property
    def may_be_left_out(self) -> bool:
        """Whether an object has a box to tick before its fields count."""
        return self.kind == "object" and bool(self.path) and (not self.required or self.nullable)

    @property
    def is_row(self) -> bool:
        """Whether it is a single value of a list, which has no name of its own."""
        return self.path.endswith("]")

    @property
    def must_be_typed(self) -> bool:
        """Whether the browser may insist on it: what lies deeper may be left out as a whole."""
        return self.required and not self.nullable and self.path == self.name

    @property
    def remarks(self) -> str:
        """What stands behind its name."""
        parts = ["JSON"] if self.kind == "json" else []
        parts += [] if self.required else ["optional"]
        return ", ".join(parts)

    @property
    def is_tall(self) -> bool:
        """Whether a text needs more than one line."""
        return self.long or "\n" in self.text

    @property
    def input_type(self) -> str:
        """A date that isn't one is shown as text, or the browser would drop it."""
        if self.kind == "date" and (not self.text or _DATE.fullmatch(self.text)):
            return "date"
        return _INPUT_TYPES.get(self.format, "text")

    @property
    def initial(self) -> str:
        """The text of a single value before anybody typed."""
        if self.kind == "boolean":
            return "true" if self.default is True else "false"
        if self.has_default and self.default is not None:
            return _as_text(self.kind, self.default)
        wanted = self.kind == "json" and self.required and self.example is not None
        return _as_text("json", self.example) if wanted else ""

    def walk(self) -> Iterator[InputField]:
        """This field and all below."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, path: str) -> InputField:
        """The field of that path, or the innermost one that it lies in."""
        found = self
        while True:
            inner = [child for child in found.children if _lies_in(path, child.path)]
            if not inner:
                return found
            found = inner[0]

    # -- from the schema, a value, or what was posted

    def prefill(self) -> None:
        """Show the default, or the rows that there must be."""
        if self.has_default and self.default is not None:
            try:
                self.fill(self.default)
            except Unfit:
                self._clear()
            return
        self._clear()

    def _clear(self) -> None:
        self.given = not self.may_be_left_out
        if self.kind not in ("object", "list"):
            self.text = self.initial
        if self.kind == "list":
            self.children = []
            for _ in range(self.min_rows):
                self.add_row()
        for child in self.children:
            child.prefill()

    def add_row(self) -> InputField:
        """Another row of a list, prefilled."""
        assert self.new_row is not None
        row = self.new_row(len(self.children))
        row.prefill()
        self.children.append(row)
        return row

    def fill(self, value: Any) -> None:
        """Show this value. Raises Unfit if the form can't hold it without changing it."""
        if self.kind == "object":
            self._fill_object(value)
        elif self.kind == "list":
            self._fill_list(value)
        elif value is None and self.kind not in ("json", "choice"):
            if not (self.nullable and (self.required or self.default is None)):
                raise Unfit(f"{self.path} is null, which the form can't say")
            self.text = ""
        else:
            self.text = self._text_of(value)

    def _fill_object(self, value: Any) -> None:
        if value is None and self.may_be_left_out and self.default is None:
            self._clear()
            return
        if not isinstance(value, dict):
            raise Unfit(f"{self.path or 'The input'} is not an object")
        known = {child.name for child in self.children}
        for name in value:
            if name not in known:
                where = f" in {self.path}" if self.path else ""
                raise Unfit(f"the form has no field {str(name)[:80]}{where}")
        self.given = True
        for child in self.children:
            if child.name in value:
                child.fill(value[child.name])
            elif child.has_default or child.kind != "list":
                child.prefill()

    def _fill_list(self, value: Any) -> None:
        if value is None and self.nullable and self.default is None:
            value = []
        if not isinstance(value, list):
            raise Unfit(f"{self.path} is not a list")
        if len(value) > MAX_ROWS:
            raise Unfit(f"{self.path} has more than {MAX_ROWS} rows")
        self.children = []
        for item in value:
            self.add_row().fill(item)

    def _text_of(self, value: Any) -> str:
        fits = {
            "boolean": isinstance(value, bool),
            "integer": isinstance(value, int | str) and not isinstance(value, bool),
            "number": isinstance(value, int | float | str) and not isinstance(value, bool),
            "choice": json.dumps(value) in [choice for choice, _ in self.choices],
            "json": True,
        }.get(self.kind, isinstance(value, str) and (value != "" or self.default == ""))
        if self.kind == "choice" and value is None and not self.required:
            return ""
        if not fits:
            raise Unfit(f"{self.path} is {json.dumps(value)[:80]}, which the form can't say")
        return _as_text(self.kind, value)

    def read(self, post: Mapping[str, str]) -> None:
        """Take what was typed."""
        if self.kind == "list":
            count = post.get(f"rows.{self.path}", "0")
            assert self.new_row is not None
            rows = min(int(count), MAX_ROWS) if _INTEGER.fullmatch(count) else 0
            self.children = [self.new_row(number) for number in range(rows)]
        if self.kind == "object":
            self.given = not self.may_be_left_out or f"given.{self.path}" in post
        for child in self.children:
            child.read(post)
        self.text = post.get(f"input.{self.path}", "").replace("\r\n", "\n")
        if self.kind == "boolean":
            self.text = "true" if self.text else "false"

    # -- to a value

    def drop_blank_rows(self) -> None:
        """Rows of single values in which nothing was typed are none."""
        for child in self.children:
            child.drop_blank_rows()
        if self.kind != "list" or not self.children or self.children[0].children:
            return
        kept = [row for row in self.children if row.text.strip() or row.kind == "boolean"]
        self.children = []
        for row in kept:
            self.add_row().text = row.text

    def value(self) -> Any:
        """What was typed, as JSON data. Raises KeyError if nothing was.

        What is unreadable is said in ``error``, and stands in the value as it was typed.
        """
        if self.kind == "object":
            return self._object()
        if self.kind == "list":
            if not self.children and not self.required and not self.default:
                raise KeyError(self.path)
            return [child.value_or_text() for child in self.children]
        if self.kind == "boolean":
            return self.checked
        if not self.text.strip() and (self.kind != "text" or not self.text):
            if self.required and self.nullable:
                return None
            raise KeyError(self.path)
        try:
            return self._read_text()
        except BadField as error:
            self.error = str(error)
            return self.text

    def value_or_text(self) -> Any:
        """The value of a row, which can't be left out."""
        try:
            return self.value()
        except KeyError:
            return self.text

    def _object(self) -> dict[str, Any] | None:
        if self.may_be_left_out and not self.given and not self._is_touched():
            if self.required:
                return None
            raise KeyError(self.path)
        self.given = True
        found = {}
        for child in self.children:
            try:
                found[child.name] = child.value()
            except KeyError:
                continue
        return found

    def _is_touched(self) -> bool:
        """Whether something was typed below an object whose box is not ticked."""
        return any(
            len(child.children) > child.min_rows
            if child.kind == "list"
            else child.kind != "object" and child.text not in ("", "false", child.initial)
            for child in self.walk()
        )

    def _read_text(self) -> Any:
        text = self.text if self.kind == "text" else self.text.strip()
        if self.kind == "integer":
            return int(text) if _INTEGER.fullmatch(text) else text
        if self.kind == "number":
            return _number(text) if _NUMBER.fullmatch(text) else text
        if self.kind == "datetime":
            return _with_zone(text)
        return read_json(text) if self.kind in ("choice", "json") else text


def read_json(text: str) -> Any:
    """The JSON value. Raises BadField, naming line and column."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BadField(
            f"This is no JSON: {error.msg}, line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise BadField("This JSON is nested too deeply.") from error
    except ValueError as error:
        raise BadField(f"This is no JSON: {error}.") from error


def without_row(post: Mapping[str, str], path: str, number: int) -> dict[str, str]:
    """What was posted, but for one row of a list; those below it move up."""
    left: dict[str, str] = {}
    for name, value in post.items():
        kind, _, rest = name.partition(".")
        match = re.match(rf"{re.escape(path)}\[(\d{{1,4}})\]", rest)
        if match is None:
            left[name] = value
            continue
        at = int(match[1])
        if at != number:
            tail = rest[match.end() :]
            left[f"{kind}.{path}[{at - (at > number)}]{tail}"] = value
    count = post.get(f"rows.{path}", "")
    if _INTEGER.fullmatch(count):
        left[f"rows.{path}"] = str(max(0, int(count) - 1))
    return left


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _number(text: str) -> int | float:
    if _INTEGER.fullmatch(text):
        return int(text)
    number = float(text)
    if math.isinf(number):
        raise BadField("This number is too large.")
    return number


def _as_text(kind: str, value: Any) -> str:
    if kind in ("boolean", "choice"):
        return json.dumps(value)
    if kind == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    return str(value)


def _lies_in(path: str, outer: str) -> bool:
    return path.startswith(outer) and path[len(outer) : len(outer) + 1] in ("", ".", "[")


def _with_zone(text: str) -> str:
    """A time without a zone means the one that the page shows."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        return text
    if moment is None:
        return text
    return (timezone.make_aware(moment) if timezone.is_naive(moment) else moment).isoformat()
