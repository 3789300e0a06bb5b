"""The run list's filters, as they stand in an address: for pages, bulk actions and programs."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from django.db.models import Q, TextField
from django.db.models.functions import Cast
from django.db.models.lookups import IContains
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.http import urlencode

from runs.conf import parse_duration
from runs.models import RunQuerySet, RunStatus
from runs.payloads import dumps

_MAX_TEXT = 200
_DAY = timedelta(days=1)
_HEX = re.compile(r"[0-9a-f-]{4,36}")
_RANDOM = 2**32 - 1
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Cursor:
    """Where a page starts: runs ``older`` (or newer) than the one named."""

    older: bool
    id: uuid.UUID

    def __str__(self) -> str:
        return f"{'older' if self.older else 'newer'}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises ValueError if the text is not a cursor."""
        way, _, name = text.partition("-")
        if way not in ("older", "newer") or len(name) != 36:
            raise ValueError(text)
        return cls(way == "older", uuid.UUID(name))


@dataclass(frozen=True)
class RunFilters:
    """What to show. ``problems`` says, one sentence each, what in the query made no sense."""

    status: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    q: str = ""
    since: datetime | None = None
    until: datetime | None = None
    failure: str = ""
    cursor: Cursor | None = None
    texts: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def narrowed(self) -> bool:
        """Whether anything but the status limits the list."""
        return bool(self.jobs or self.labels or self.q or self.since or self.until or self.failure)

    def apply(self, runs: RunQuerySet) -> RunQuerySet:
        """The runs that pass, but for the cursor."""
        if self.failure:
            runs = runs.filter(error_fingerprint=self.failure)
        # Only failed runs have a fingerprint, and asking twice may lead to the wrong index.
        if self.status and not (self.failure and "failed" in self.status):
            runs = runs.filter(_one_of("status", self.status))
        if self.jobs:
            runs = runs.filter(_one_of("job", self.jobs))
        for key, value in self.labels:
            runs = runs.with_labels({key: value})
        runs = self.within_time(runs)
        return runs.filter(_search(self.q)) if self.q else runs

    def within_time(self, runs: RunQuerySet) -> RunQuerySet:
        """The runs that pass ``since`` and ``until``."""
        if self.since:
            runs = runs.filter(created_at__gte=self.since)
        if self.until:
            runs = runs.filter(created_at__lte=self.until)
        return runs.filter(**self.id_bounds("id"))

    def id_bounds(self, field: str) -> dict[str, uuid.UUID]:
        """Bounds of ``since`` and ``until`` on ids, whose order is that of creation.

        A day off, whatever the clocks did: they only tell an index where to begin and to end.
        """
        bounds = {}
        if self.since:
            bounds[f"{field}__gte"] = _id_at(self.since, -_DAY)
        if self.until:
            bounds[f"{field}__lt"] = _id_at(self.until, _DAY)
        return bounds

    @property
    def exact_id(self) -> uuid.UUID | None:
        """The id, if a whole one is searched for."""
        head = self.q.lower().replace("-", "")
        return uuid.UUID(head) if len(head) == 32 and _HEX.fullmatch(head) else None

    def query(self, **changes: object) -> str:
        """The query string of these filters, ``changes`` made and no cursor unless given."""
        return replace(self, **{"cursor": None, **changes}).to_query()  # type: ignore[arg-type]

    def to_query(self) -> str:
        """The query string of these filters."""
        pairs = [("status", value) for value in self.status]
        pairs += [("job", value) for value in self.jobs]
        pairs += [("label", f"{key}:{value}") for key, value in self.labels]
        pairs += [("q", self.q)] if self.q else []
        pairs += [("since", self.texts["since"])] if self.since else []
        pairs += [("until", self.texts["until"])] if self.until else []
        pairs += [("failure", self.failure)] if self.failure else []
        pairs += [("cursor", str(self.cursor))] if self.cursor else []
        return urlencode(pairs)


def parse_filters(query: QueryDict) -> RunFilters:
    """Read a query string. Never raises: what makes no sense is left out and reported."""
    problems: list[str] = []
    status = tuple(dict.fromkeys(s for s in query.getlist("status") if s))
    for value in status:
        if value not in RunStatus.values:
            known = ", ".join(RunStatus.values)
            problems.append(f"There is no status “{value[:40]}”. Known: {known}.")
    cursor = None
    if query.get("cursor"):
        try:
            cursor = Cursor.parse(query.get("cursor", ""))
        except ValueError:
            problems.append("The cursor in the address is none that this list has given.")
    q = query.get("q", "").strip()
    if len(q) > _MAX_TEXT or "\x00" in q:
        problems.append(f"The search text must be at most {_MAX_TEXT} plain characters.")
        q = ""
    failure = query.get("failure", "")
    if failure and not _FINGERPRINT.fullmatch(failure):
        problems.append("The failure in the address is none that the Failures page has given.")
        failure = ""
    return RunFilters(
        status=tuple(value for value in status if value in RunStatus.values),
        jobs=tuple(dict.fromkeys(_plain(j) for j in query.getlist("job") if j)),
        labels=_labels(query.getlist("label"), problems),
        q=q,
        since=_time("since", query.get("since", ""), problems),
        until=_time("until", query.get("until", ""), problems),
        failure=failure,
        cursor=cursor,
        texts={name: query.get(name, "") for name in ("since", "until")},
        problems=tuple(problems),
    )


def beside(id: uuid.UUID, *, above: bool) -> uuid.UUID:
    """A bound just above or below a run's id that doesn't give away the id itself.

    No other run lies between: the bits that differ are random in ids that are otherwise equal.
    """
    return uuid.UUID(int=id.int | _RANDOM if above else id.int & ~_RANDOM)


def parse_time(text: str) -> datetime:
    """A date, a time, or an age such as ``24h``; without offset in the active zone.

    Raises ValueError if it is none of these.
    """
    text = text.strip()
    try:
        return timezone.now() - parse_duration(text)
    except (ValueError, OverflowError):
        pass
    if (found := parse_datetime(text)) is None:
        if (date := parse_date(text)) is None:
            raise ValueError(text)
        found = datetime(date.year, date.month, date.day)  # noqa: DTZ001 (made aware below)
    return timezone.make_aware(found) if timezone.is_naive(found) else found


def _time(name: str, text: str, problems: list[str]) -> datetime | None:
    if not text:
        return None
    try:
        return parse_time(text).astimezone(UTC)
    except (ValueError, OverflowError):
        problems.append(
            f"“{text[:40]}” is no time for {name}. Try 2026-11-22, 2026-11-22 14:30 or 24h."
        )
        return None


def _one_of(field: str, values: tuple[str, ...]) -> Q:
    """Of a single value it is plain equality, or SQLite would leave partial indexes aside."""
    return Q(**{field: values[0]}) if len(values) == 1 else Q(**{f"{field}__in": values})


def _plain(text: str) -> str:
    return text[:200].replace("\x00", "")


def _labels(texts: list[str], problems: list[str]) -> tuple[tuple[str, str], ...]:
    labels = []
    for text in filter(None, texts):
        key, colon, value = text.partition(":")
        if not key or not colon or "\x00" in text:
            problems.append(f"A label filter is key:value, which “{text[:40]}” is not.")
        else:
            labels.append((key, value))
    return tuple(dict.fromkeys(labels))


def _id_at(moment: datetime, shift: timedelta) -> uuid.UUID:
    """The lowest id of the millisecond that is so far from a moment."""
    millis = int((moment.timestamp() + shift.total_seconds()) * 1000)
    return uuid.UUID(int=min(max(millis, 0), 2**48 - 1) << 80)


def _search(text: str) -> Q:
    """Runs with the text in their id, keys, labels, error, input or output."""
    low = text.lower().lstrip("…")
    head = low.replace("-", "")
    found = Q()
    if _HEX.fullmatch(low) and len(head) <= 32:
        first, last = head.ljust(32, "0"), head.ljust(32, "f")
        found |= Q(id__gte=uuid.UUID(first), id__lte=uuid.UUID(last)) | Q(id__endswith=head)
    for name in ("idempotency_key", "concurrency_key", "error_type", "error_message"):
        found |= Q(**{f"{name}__icontains": text})
    # These are JSON: text in them is escaped as JSON is.
    escaped = dumps(text)[1:-1]
    for name in ("labels", "input", "output"):
        found |= Q(IContains(Cast(name, TextField()), escaped))
    return found
