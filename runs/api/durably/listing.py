"""The list of runs, by the client's query: bounded in rows, bytes and time."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict

from runs import access
from runs.access import Actor
from runs.api.durably.arrays import json_array
from runs.api.durably.jobs import names_of
from runs.api.durably.shapes import STATUS_WORDS, run_shape
from runs.api.problems import UnavailableError
from runs.engine.triggers import check_labels
from runs.errors import ValidationError
from runs.filters import RunFilters
from runs.models import Run
from runs.payloads import clean_text
from runs.scan import walk

#: The client asks for a page and one more.
MAX_LIMIT = 1001
DEFAULT_LIMIT = 100
MAX_OFFSET = 10_000
MAX_JOBS = 100

#: Seconds to look for runs.
BUDGET = 10.0

_NUMBER = re.compile(r"[0-9]{1,9}")
_LABEL = "label."


@dataclass(frozen=True)
class Listing:
    """What a query asks for."""

    filters: RunFilters
    limit: int
    offset: int


def parse_listing(query: QueryDict) -> Listing:
    """Read the query. Raises ValidationError."""
    filters = RunFilters(
        status=_statuses(query.getlist("status")),
        jobs=parse_jobs(query),
        labels=parse_labels(query),
    )
    limit = _number(query, "limit", DEFAULT_LIMIT, MAX_LIMIT)
    return Listing(filters, limit, _number(query, "offset", 0, MAX_OFFSET))


def parse_jobs(query: QueryDict) -> tuple[str, ...]:
    """The jobs of every ``jobName``, which is a name or a key. Raises ValidationError."""
    texts = query.getlist("jobName")
    if len(texts) > MAX_JOBS:
        raise ValidationError(f"jobName: at most {MAX_JOBS}, not {len(texts)}")
    if any(clean_text(text) != text for text in texts):
        raise ValidationError("jobName must be storable text")
    return tuple(dict.fromkeys(name for text in texts for name in names_of(text)))


def parse_labels(query: QueryDict) -> tuple[tuple[str, str], ...]:
    """Every ``label.KEY=VALUE``. Raises ValidationError."""
    found = []
    for name, values in query.lists():
        if name.startswith(_LABEL):
            key = name.removeprefix(_LABEL)
            for value in values:
                check_labels({key: value})
                found.append((key, value))
    return tuple(dict.fromkeys(found))


def find_runs(actor: Actor, listing: Listing) -> str:
    """The runs as a JSON array, newest first.

    Raises PermissionDeniedError; UnavailableError if they are too sparse to be found in time.
    """
    access.require(actor, access.VIEW)
    return json_array(_find_ids(actor, listing)[listing.offset :], _load)


def _load(ids: Sequence[uuid.UUID], payloads: bool) -> Iterator[dict[str, Any]]:
    runs = Run.objects.filter(pk__in=ids).newest_first()
    runs = runs.defer("error_traceback") if payloads else runs.summaries()
    return (run_shape(run, payloads=payloads) for run in runs)


def _find_ids(actor: Actor, listing: Listing) -> list[uuid.UUID]:
    """The ids of the runs up to the end of the page."""
    wanted = listing.offset + listing.limit
    ids: list[uuid.UUID] = []
    if not listing.limit:
        return ids
    runs = access.visible_runs(actor)
    whole = True
    for part in walk(listing.filters, None, older=True, budget=BUDGET, within=runs):
        ids += part.runs.newest_first().values_list("id", flat=True)[: wanted - len(ids)]
        whole = part.is_last
        if len(ids) >= wanted:
            return ids
    if not whole:
        raise UnavailableError(f"Looking for these runs takes more than {BUDGET:g} s")
    return ids


def _statuses(words: list[str]) -> tuple[str, ...]:
    """The statuses that the client's words stand for."""
    for word in words:
        if word not in STATUS_WORDS.values():
            known = ", ".join(dict.fromkeys(STATUS_WORDS.values()))
            raise ValidationError(f"status {word[:40]!r} is none of {known}")
    return tuple(str(status) for status, word in STATUS_WORDS.items() if word in words)


def _number(query: QueryDict, name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise ValidationError(f"{name} must be a whole number from 0 to {most:,}")
    return int(text)
