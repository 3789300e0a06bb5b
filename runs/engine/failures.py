"""What is kept of an exception: type, message, traceback, step and fingerprint."""

from __future__ import annotations

import hashlib
import re
import traceback
from dataclasses import dataclass

from runs.payloads import cut_text, safe_str, type_name

#: Characters kept of a message, and of a traceback.
MAX_MESSAGE = 10_000
MAX_TRACEBACK = 50_000

_VARIABLE_PARTS = re.compile(
    r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+|'[^']*'|\"[^\"]*\""
)


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as it is stored."""

    type: str
    message: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        return cls(
            type=cut_text(type_name(error), 200)[:200],
            message=cut_text(safe_str(error), MAX_MESSAGE),
            traceback=_format(error),
        )

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"

    def fingerprint(self, job: str, step: str | None) -> str:
        """Equal for failures that look alike: numbers, ids and quoted parts don't count."""
        normal = _VARIABLE_PARTS.sub("*", self.message[:1000])
        text = "\x1f".join((job, _VARIABLE_PARTS.sub("*", step or ""), self.type, normal))
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def _format(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error, limit=50))
    except BaseException as problem:
        return f"The traceback can't be made: {type(problem).__name__}"
    if len(text) <= MAX_TRACEBACK:
        return cut_text(text, MAX_TRACEBACK)
    half = MAX_TRACEBACK // 2
    return cut_text(text[:half] + "\n… cut …\n" + text[-half:], MAX_TRACEBACK + 20)


def causes_of(error: BaseException) -> set[int]:
    """The ids of an exception and of all that it was raised because of, or holds."""
    seen: set[int] = set()
    chain: list[BaseException] = [error]
    while chain:
        link = chain.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        chain += _links(link)
    return seen


def _links(error: BaseException) -> list[BaseException]:
    try:
        found = [error.__cause__, error.__context__]
        if isinstance(error, BaseExceptionGroup):
            found += error.exceptions
    except BaseException:  # properties of a class of the job's
        return []
    return [link for link in found if isinstance(link, BaseException)]
