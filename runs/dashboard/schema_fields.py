"""The form that a job's input schema asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runs.dashboard.input_fields import MAX_ROWS, InputField

Schema = Mapping[str, Any]
Refs = tuple[str, ...]

_LONG_TEXT = 200
_LIMITS = {
    "minimum": "At least",
    "exclusiveMinimum": "More than",
    "maximum": "At most",
    "exclusiveMaximum": "Less than",
}
_STRINGS = {"file": "file", "date": "date", "date-time": "datetime"}


def form_of(schema: Schema) -> InputField | None:
    """A field for each property; None if the input is not an object with known properties."""
    builder = _Builder(schema)
    found = builder.field("", "", schema, required=True)
    return found if found.kind == "object" and found.children else None


def skeleton(schema: Schema) -> str:
    """JSON text to start from: every property, with its default or an example of its kind."""
    return json.dumps(_Builder(schema).example(schema), indent=2, ensure_ascii=False)


class _Builder:
    """Makes fields. ``refs`` are the definitions that a field lies in: one that comes back is
    asked for as JSON, or the form would have no end.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def field(
        self, path: str, name: str, outer: Any, *, required: bool, refs: Refs = ()
    ) -> InputField:
        outer = outer if isinstance(outer, dict) else {}
        inner, nullable, refs = self._one_kind(outer, refs)
        found = InputField(path=path, name=name, kind=_kind(inner), required=required)
        found.nullable = nullable
        found.has_default, found.default = "default" in outer, outer.get("default")
        found.hint = _hint(outer, inner)
        found.placeholder = _placeholder(outer, inner)
        found.format = str(inner.get("format", ""))
        found.long = int(inner.get("maxLength", 0)) > _LONG_TEXT
        if found.kind == "json":
            found.example = self.example(outer)
        if found.kind == "boolean" and nullable:
            found.kind, inner = "choice", {"enum": [True, False]}
        if found.kind == "choice":
            found.choices = _choices(found, inner, nullable=nullable)
        elif found.kind == "object":
            found.children = self._properties(path, inner, refs)
            found.given = not found.may_be_left_out
        elif found.kind == "list":
            self._make_list(found, inner, refs)
        return found

    def _properties(self, path: str, inner: Schema, refs: Refs) -> list[InputField]:
        needed = inner.get("required", [])
        return [
            self.field(
                f"{path}.{name}" if path else name, name, prop, required=name in needed, refs=refs
            )
            for name, prop in inner["properties"].items()
        ]

    def _make_list(self, found: InputField, inner: Schema, refs: Refs) -> None:
        rows = inner["items"]
        if self.field("", "", rows, required=True, refs=refs).kind == "json":
            found.kind, found.example = "json", []
            return
        found.min_rows = min(int(inner.get("minItems", 0)), MAX_ROWS) if found.required else 0
        found.new_row = lambda number: self.field(
            f"{found.path}[{number}]", str(number + 1), rows, required=True, refs=refs
        )

    def _one_kind(self, prop: Schema, refs: Refs) -> tuple[dict[str, Any], bool, Refs]:
        """The one kind of value that a property takes besides null; empty if it isn't one."""
        found, refs = self._resolve(prop, refs)
        options = found.get("anyOf")
        if not isinstance(options, list):
            several = "oneOf" in found or "allOf" in found
            return ({} if several else found), False, refs
        rest = [option for option in options if option.get("type") != "null"]
        nullable = len(rest) < len(options)
        if len(rest) != 1:
            return {}, nullable, refs
        inner, deeper, refs = self._one_kind(rest[0], refs)
        return inner, nullable or deeper, refs

    def _resolve(self, prop: Schema, refs: Refs) -> tuple[dict[str, Any], Refs]:
        found = dict(prop)
        while isinstance(ref := found.get("$ref"), str):
            if ref in refs or not ref.startswith("#/$defs/"):
                return {}, refs
            refs = (*refs, ref)
            found = dict(self._schema.get("$defs", {}).get(ref.removeprefix("#/$defs/"), {}))
        return found, refs

    def example(self, prop: Any, refs: Refs = ()) -> Any:
        """A value to start from."""
        prop = prop if isinstance(prop, dict) else {}
        for source in ("default", "const"):
            if source in prop:
                return prop[source]
        found, refs = self._resolve(prop, refs)
        for several in ("anyOf", "oneOf"):
            if found.get(several):
                return self.example(found[several][0], refs)
        if found.get("enum"):
            return found["enum"][0]
        if isinstance(found.get("properties"), dict):
            return {name: self.example(inner, refs) for name, inner in found["properties"].items()}
        empty = {"array": [], "string": "", "integer": 0, "number": 0, "boolean": False}
        return empty.get(str(found.get("type")), None if refs or found.get("type") else {})


def _kind(prop: Schema) -> str:
    if "enum" in prop or "const" in prop:
        return "choice"
    kind = prop.get("type")
    if kind == "object":
        return (
            "object" if prop.get("properties") and not prop.get("additionalProperties") else "json"
        )
    if kind == "array":
        return (
            "list" if isinstance(prop.get("items"), dict) and "prefixItems" not in prop else "json"
        )
    if kind == "string":
        return _STRINGS.get(str(prop.get("format")), "text")
    return str(kind) if kind in ("integer", "number", "boolean") else "json"


def _choices(found: InputField, prop: Schema, *, nullable: bool) -> list[tuple[str, str]]:
    values = list(prop["enum"]) if "enum" in prop else [prop["const"]]
    blank = [("", "default" if found.has_default and found.default is not None else "none")]
    words = [(json.dumps(v), v if isinstance(v, str) else json.dumps(v)) for v in values]
    return (blank if not found.required or nullable else []) + words


def _hint(outer: Schema, inner: Schema) -> str:
    """The description, and the limits of a number in words."""
    text = str(outer.get("description") or inner.get("description") or "").strip()
    limits = [
        f"{words} {inner[name]:,}."
        for name, words in _LIMITS.items()
        if isinstance(inner.get(name), int | float)
    ]
    return " ".join([text, *limits]).strip()


def _placeholder(outer: Schema, inner: Schema) -> str:
    examples = outer.get("examples") or inner.get("examples")
    if isinstance(examples, list) and examples and isinstance(examples[0], str | int | float):
        return str(examples[0])
    return "2026-11-22 14:30" if inner.get("format") == "date-time" else ""
