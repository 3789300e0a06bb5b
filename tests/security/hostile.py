"""Text that people send to break things, and how to see that it became markup."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote_plus

from hypothesis import strategies as st

#: So many inputs get a page, form, stream and operation in the long forms of the tests.
LONG = int(os.environ.get("FUZZ_INPUTS", "10000"))

#: Becomes an element, or an attribute of one, wherever it is not escaped.
MARK = "'\"><zq onzq=1><!--"

#: What has broken programs before.
NASTY = (
    "", " ", "\x00", "a\x00b", "\ud800", "%", "%_\\", "'", '"', "';--", "-1", "0", "1", "9" * 18,
    "9" * 19, "9" * 5000, "1e999", "nan", "-inf", "1_0", "٣", "²", "0x10", "NULL", "true", "[]",
    "{}", "null", '"\\ud800"', '{"name": "\\u0000"}', "[" * 20_000, '{"a":' * 5_000, "1" * 5_000,
    "../../etc/passwd", "/etc/passwd", "..\\..", "file:///etc/passwd", "x" * 300, "x" * 70_000,
    "//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)",
    "\r\nX-Evil: 1", "\u202e\u2066", "\u2028", "\U0001d4b3", "ﬁ", "İ", "a\tb\nc", "key:value",
    "tenant:acme", ":", "a:", ":b", "0001-01-01", "9999-12-31T23:59:59.999999-23:59", "24h",
    "99999999999999d", "2026-02-30", "2026-03-29 02:30", "older-", "newer-x", "1~1,2~2",
    "{{ 7*7 }}", "{% load x %}", "${7*7}", "%(x)s", "{0.__class__}", MARK, MARK + "\x00",
    "javascript:" + MARK, "/" + MARK, "\n" + MARK, '{"name": ' + json.dumps(MARK) + "}",
)  # fmt: skip


def values(*known: str) -> st.SearchStrategy[str]:
    """What a parameter may say: something known, something nasty, or anything."""
    anything = st.text(st.characters(exclude_categories=()), max_size=30)
    around = anything.map(lambda text: f"{text}{MARK}{text}")
    return st.one_of(st.sampled_from(known), st.sampled_from(NASTY), anything, around)


def encoded(pairs: list[tuple[str, str]]) -> str:
    """As a query or a form; also what no browser would send."""
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs)


def _quoted(text: str) -> str:
    return quote_plus(text.encode("utf-8", "surrogatepass"))


def multipart(pairs: list[tuple[str, str]], file: str, name: str) -> tuple[bytes, str]:
    """A form with a file in the field ``file``, under any name, and its content type."""
    parts = [f'name="{key}"\r\n\r\n{value}' for key, value in pairs]
    parts.append(f'name="{file}"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\ntext')
    text = "".join(f"--b0undary\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
    body = f"{text}--b0undary--\r\n".encode("utf-8", "surrogatepass")
    return body, "multipart/form-data; boundary=b0undary"


class _Elements(HTMLParser):
    """What is wrong with the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "zq" or any(name.startswith("on") or name == "style" for name in given):
            self.wrong.append(f"<{tag} {given}>")
        if tag == "script" and "src" not in given and given.get("type") != "application/json":
            self.wrong.append(f"<{tag} {given}>")
        for name in ("href", "src", "action", "formaction"):
            if re.match(r"\s*(javascript|data|vbscript):", given.get(name, ""), re.IGNORECASE):
                self.wrong.append(f"{name}={given[name]}")


#: Pieces of pages, from one "<" to the next, in which nothing was found: most come again and again.
_harmless: set[str] = set()
_MOST_HARMLESS = 50_000


def markup_in(page: str) -> list[str]:
    """Elements and attributes of a page that only somebody's text can have made."""
    _, *pieces = page.split("<")
    for piece in set(pieces) - _harmless:
        found = _Elements()
        found.feed(f"<{piece}")
        if found.wrong or found.rawdata.startswith("<"):  # perhaps: its tag ends in another piece
            return _markup_in_all(page)
        if len(_harmless) == _MOST_HARMLESS:
            _harmless.clear()
        _harmless.add(piece)
    return []


def _markup_in_all(page: str) -> list[str]:
    found = _Elements()
    found.feed(page)
    return found.wrong


def what_is_wrong(answer: Any) -> list[str]:
    """With an answer, whatever was asked."""
    wrong = [f"status {answer.status_code}"] if answer.status_code >= 500 else []
    kind = answer.headers.get("Content-Type", "")
    if answer.headers.get("X-Content-Type-Options") != "nosniff":
        wrong.append("a browser may take it for something else")
    if "X-Evil" in answer.headers:
        wrong.append("a header of the visitor's")
    if kind.startswith("text/html"):
        policy = answer.headers.get("Content-Security-Policy", "")
        if "default-src 'self'" not in policy or "unsafe" in policy:
            wrong.append(f"policy {policy}")
        wrong += markup_in(answer.content.decode())
    there = answer.headers.get("Location", "")
    if re.match(r"[\x00-\x20]*([/\\]{2}|[a-zA-Z][\w+.-]*:)", there):
        wrong.append(f"leads to {there}")
    return wrong


def report(what: str, statuses: Counter[int]) -> None:
    """Say which statuses came, of so many inputs as there had to be."""
    print(f"{what}: {statuses.total():,} inputs, {dict(sorted(statuses.items()))}")  # noqa: T201
    assert statuses.total() == LONG
