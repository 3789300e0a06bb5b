"""What somebody asks for in an address, where they can type anything."""

from __future__ import annotations

from django.http import QueryDict

#: Longer than anything that is looked for by its name.
_MAX_TEXT = 1_000


def text_of(query: QueryDict, name: str, limit: int = _MAX_TEXT) -> str:
    """The text of a parameter, or "". Of what no database takes, nothing is left."""
    return plain(query.get(name, ""), limit)


def texts_of(query: QueryDict, name: str, limit: int = _MAX_TEXT) -> list[str]:
    """The same of all parameters of that name, each once and none empty."""
    texts = (plain(text, limit) for text in query.getlist(name))
    return list(dict.fromkeys(filter(None, texts)))


def whole_of(query: QueryDict, name: str) -> int | None:
    """The whole number of a parameter, or None."""
    return whole(query.get(name, ""))


def whole(text: str) -> int | None:
    """A whole number from such a text that every database takes, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def plain(text: str, limit: int = _MAX_TEXT) -> str:
    """Text without NUL, which PostgreSQL refuses, cut off at the limit."""
    return text.replace("\x00", "")[:limit]
