"""Values to JSON text and back.

Everything that a run stores (inputs, results, log data) passes through here. Values
without a type are plain JSON; values with one are encoded and decoded by pydantic, so
that a dataclass, a datetime or a Decimal comes back as what it was. Never pickle.
"""

from __future__ import annotations

import codecs
import functools
import json
import weakref
from collections.abc import Callable
from typing import Any

import pydantic
from pydantic_core import PydanticSerializationError

from runs.annotations import UNTYPED, annotations_of, resolve_annotation, unwrap
from runs.errors import FieldError, TooLargeError, ValidationError
from runs.typed_dicts import replace_typed_dicts


class JSONText(str):
    """Text that is JSON already."""

    __slots__ = ()


class Unstorable(ValueError):
    """A value can't be kept as JSON; the message says why."""


def clean_text(text: str) -> str:
    """Text that every database takes: NUL and lone surrogates become U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if text.isascii():
        return text
    return text.encode("utf-8", "replace_surrogate").decode("utf-8")


def _replace_surrogate(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    return b"\xef\xbf\xbd" * (error.end - error.start), error.end  # as text it would be refused


def cut_text(text: str, limit: int) -> str:
    """At most ``limit`` characters of cleaned text, with a note of how much was cut."""
    if len(text) <= limit:
        return clean_text(text)
    return clean_text(text[:limit]) + f"… ({len(text) - limit:,} more characters cut)"


def cut_bytes(text: str, limit: int) -> str:
    """At most ``limit`` bytes of cleaned text as UTF-8, with a note of how much was cut."""
    text = clean_text(text)
    if byte_size(text) <= limit:
        return text
    kept = text.encode()[:limit].decode("utf-8", "ignore")
    return f"{kept}… ({len(text) - len(kept):,} more characters cut)"


def byte_size(text: str) -> int:
    """How many bytes text takes as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def safe_str(value: object) -> str:
    """``str(value)``, or a note if that itself fails."""
    try:
        return str(value)
    except BaseException as error:
        return f"<{type_name(value)} whose text can't be made: {type_name(error)}>"


def type_name(value: object) -> str:
    """The qualified name of the value's type, or a note if its metaclass refuses that."""
    try:
        return str(type(value).__qualname__)
    except BaseException:
        return "<a type without a name>"


def dumps(value: Any) -> JSONText:
    """Plain JSON text, without loss. Raises Unstorable, saying why."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unstorable(_why(error)) from error
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            text = json.dumps(value, allow_nan=False)
    return JSONText(text)


def loads(text: str) -> Any:
    """The plain value of JSON text."""
    return json.loads(text)


#: One encoder for all: ``json.dumps`` with options builds a new one on every call.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(", ", ": ")).encode


def _why(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if "Out of range float" in safe_str(error):
        return "it holds NaN or an infinite number, which JSON has no form for"
    if isinstance(error, ValueError | TypeError):
        return safe_str(error)
    return f"{type(error).__name__}: {safe_str(error)}"


class Codec:
    """Encodes and decodes values of one type."""

    def __init__(self, type_: Any) -> None:
        self.type = type_
        self.adapter: pydantic.TypeAdapter[Any] | None = None
        if type_ is not UNTYPED and type_ is not object:
            self.adapter = _adapter(type_)

    def encode(self, value: Any) -> tuple[JSONText, Any]:
        """The JSON text of ``value`` and what that text decodes to.

        Raises Unstorable if the value can't be written, or does not come back equal.
        """
        try:
            text = self._encode(value)
            decoded = self.decode(text)
            same = self._same(value, decoded)
        except Unstorable:
            raise
        except Exception as error:  # the type's own code may raise anything
            raise Unstorable(_why(error)) from error
        if not same:
            raise Unstorable(f"it comes back from JSON as {type(decoded).__name__}, not equal")
        return text, decoded

    def decode(self, text: str) -> Any:
        """The value that ``text`` stands for. Raises ValueError if it does not fit the type."""
        if self.adapter is None:
            return json.loads(text)
        try:
            return self.adapter.validate_json(text)
        except ValueError:
            raise
        except Exception as error:  # of the type's own validators
            raise ValueError(_why(error)) from error

    def schema(self, mode: Any = "validation") -> dict[str, Any]:
        """The JSON schema of the type; of anything, for an untyped one."""
        if self.adapter is None:
            return {}
        return self.adapter.json_schema(mode=mode)

    def _encode(self, value: Any) -> JSONText:
        if self.adapter is None:
            return dumps(value)
        raw = self.adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error")
        return JSONText(raw.decode("utf-8"))

    def _same(self, value: Any, decoded: Any) -> bool:
        if value is decoded or bool(value == decoded):
            return True
        if self.adapter is None or type(value) is not type(decoded):
            return False
        # A class without an __eq__ compares by identity: compare what it consists of.
        parts, decoded_parts = map(self.adapter.dump_python, (value, decoded))
        return bool(parts == decoded_parts)


@functools.lru_cache(maxsize=1024)
def _cached_codec(type_: Any) -> Codec:
    return Codec(type_)


def codec_for(type_: Any) -> Codec:
    """The codec of a type, cached. Raises pydantic's errors if it has no schema."""
    try:
        return _cached_codec(type_)
    except TypeError:  # not hashable
        return Codec(type_)


def _adapter(type_: Any) -> pydantic.TypeAdapter[Any]:
    try:
        return _configured_adapter(type_)
    except pydantic.PydanticUserError as error:
        if error.code != "typed-dict-version":
            raise
    return _configured_adapter(replace_typed_dicts(type_))


def _configured_adapter(type_: Any) -> pydantic.TypeAdapter[Any]:
    config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    try:
        return pydantic.TypeAdapter(type_, config=config)
    except pydantic.PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
    return pydantic.TypeAdapter(type_)


_UNTYPED_CODEC = Codec(UNTYPED)
_by_function: weakref.WeakKeyDictionary[Callable[..., Any], Codec] = weakref.WeakKeyDictionary()


def codec_for_result(fn: Callable[..., Any]) -> Codec:
    """The codec for what ``fn`` returns: by its return annotation, else plain JSON.

    An annotation that can't be resolved, or that pydantic knows nothing about, counts
    as none.
    """
    try:
        return _by_function[fn]
    except (KeyError, TypeError):
        pass
    target = unwrap(fn)
    if not annotations_of(target):
        return _UNTYPED_CODEC
    try:
        return _by_function[target]
    except (KeyError, TypeError):
        pass
    try:
        codec = codec_for(resolve_annotation(target, "return"))
    except Exception:  # evaluating an annotation can raise anything
        codec = _UNTYPED_CODEC
    try:
        _by_function[target] = codec
    except TypeError:  # builtins can't be referred to weakly
        pass
    return codec


def validate_input(codec: Codec, value: Any, about: str) -> JSONText:
    """The parsed ``value`` as JSON text: defaults filled in, coercions applied.

    JSON data is judged by the rules for JSON, wherever it comes from, so that the page,
    the API and Python agree. Raises ValidationError that names the path of each field.
    """
    if codec.adapter is None:
        try:
            return dumps(value)
        except Unstorable as error:
            raise ValidationError(f"{about} can't be kept as JSON: {error}") from error
    try:
        try:
            parsed = codec.adapter.validate_json(dumps(value))
        except Unstorable:
            parsed = codec.adapter.validate_python(value)
        text = codec._encode(parsed)
        codec.decode(text)
    except pydantic.ValidationError as error:
        raise ValidationError.from_fields(about, field_errors(error)) from error
    except (PydanticSerializationError, ValueError) as error:
        raise ValidationError(f"{about} can't be kept as JSON: {error}") from error
    return text


def why_unfit(error: Exception) -> str:
    """Why a value does not fit a type, in one line."""
    if isinstance(error, pydantic.ValidationError):
        return cut_text("; ".join(map(str, field_errors(error))), 1000)
    return cut_text(safe_str(error), 1000)


def field_errors(error: pydantic.ValidationError) -> tuple[FieldError, ...]:
    """Pydantic's errors as paths and messages; the path of the whole value is ``input``."""
    found = []
    for item in error.errors(include_url=False, include_context=False):
        path = ""
        for part in item["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
        found.append(FieldError(path.lstrip(".") or "input", clean_text(item["msg"])))
    return tuple(found)


def check_size(text: str, limit: int, about: str) -> None:
    """Raise TooLargeError if ``text`` takes more than ``limit`` bytes as UTF-8."""
    size = byte_size(text)
    if size > limit:
        raise TooLargeError(f"{about} is {size:,} bytes of JSON; the limit is {limit:,}")


codecs.register_error("replace_surrogate", _replace_surrogate)
