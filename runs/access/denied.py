"""The record of what was refused."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from django.db import Error, connections

from runs.access.actors import Actor
from runs.engine import database
from runs.models import DeniedAttempt
from runs.payloads import clean_text

logger = logging.getLogger(__name__)

#: Attempts are kept so long, and so many of them.
KEPT = timedelta(days=90)
MAX_KEPT = 100_000

#: So many rows a minute come from one address for one operation; the rest share one more.
MAX_ROWS = 60
OTHERS = "(others)"

_WINDOW_SECONDS = 60.0
_MAX_REMEMBERED = 2_000
_BATCH = 1_000
_MAX_BATCHES = 20

_Key = tuple[str, ...]

#: Writes what is refused inside a transaction, which may be rolled back, or in an event loop.
_apart = ThreadPoolExecutor(max_workers=1, thread_name_prefix="denied")


@dataclass
class _Seen:
    """A row of this minute, and how often its attempt was made."""

    until: float
    pk: int
    count: int = 1


class _Memory:
    """The rows that this process has written in the last minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[_Key, _Seen] = {}

    def again(self, key: _Key) -> _Seen | None:
        """Count the attempt, and return its row; None if it is new in this minute."""
        with self._lock:
            self._forget_old()
            found = self._rows.get(key)
            if found is not None:
                found.count += 1
            return found

    def is_full(self, operation: str, address: str) -> bool:
        """Whether an address has as many rows of an operation as it may."""
        with self._lock:
            rows = sum(1 for key in self._rows if key[:2] == (operation, address))
            return rows >= MAX_ROWS or len(self._rows) >= _MAX_REMEMBERED

    def keep(self, key: _Key, pk: int) -> None:
        """Remember a row that was written."""
        with self._lock:
            self._rows[key] = _Seen(time.monotonic() + _WINDOW_SECONDS, pk)

    def forget(self, key: _Key | None = None) -> None:
        """Forget one row, or all."""
        with self._lock:
            if key is None:
                self._rows.clear()
            else:
                self._rows.pop(key, None)

    def _forget_old(self) -> None:
        now = time.monotonic()
        for old in [key for key, seen in self._rows.items() if seen.until < now]:
            del self._rows[old]


memory = _Memory()


def record(actor: Actor, operation: str, target: str = "", detail: str = "") -> None:
    """Store a refused attempt, also if the caller's transaction is rolled back. Never raises.

    The same attempt within a minute only counts up: one by one to ten, then in coarser steps,
    so that a flood is not written down.
    """
    attempt = DeniedAttempt(
        actor=clean_text(actor.name)[:200],
        operation=clean_text(operation)[:50],
        target=clean_text(target)[:300],
        detail=clean_text(detail)[:1000],
        address=actor.address,
        created_at=database.utc_now(),
    )
    who = f"{attempt.actor} ({attempt.address or '-'})"
    logger.warning("Denied: %s, %s %s", who, attempt.operation, attempt.target)
    if database.in_event_loop() or database.in_callers_transaction():
        _apart.submit(_store_apart, attempt)
    else:
        _store(attempt)


def _store_apart(attempt: DeniedAttempt) -> None:
    try:
        _store(attempt)
    finally:
        connections.close_all()


def _store(attempt: DeniedAttempt) -> None:
    key = _key(attempt)
    try:
        seen = memory.again(key)
        if seen is None and memory.is_full(*key[:2]):
            attempt.actor = attempt.target = OTHERS
            attempt.detail = f"More than {MAX_ROWS} kinds of attempts in a minute."
            key = _key(attempt)
            seen = memory.again(key)
        if seen is not None and _count_up(seen):
            return
        with database.write():
            attempt.save(force_insert=True)
        memory.keep(key, attempt.pk)
    except Error:
        logger.exception("A denied attempt could not be stored")


def _key(attempt: DeniedAttempt) -> _Key:
    return (attempt.operation, attempt.address or "", attempt.actor, attempt.target)


def _count_up(seen: _Seen) -> bool:
    """Whether the row still stands for the attempt; its count is written at round numbers."""
    step = 10 ** (len(str(seen.count)) - 1) if seen.count > 10 else 1
    if seen.count % step:
        return True
    with database.write():
        return bool(DeniedAttempt.objects.filter(pk=seen.pk).update(count=seen.count))


def prune() -> int:
    """Delete attempts that are too old or too many, a bounded number; how many were."""
    total = 0
    for _ in range(_MAX_BATCHES):
        doomed = _doomed()
        if not doomed:
            break
        with database.write():
            total += DeniedAttempt.objects.filter(id__in=doomed).delete()[0]
    return total


def _doomed() -> set[int]:
    bound = database.utc_now() - KEPT
    old = DeniedAttempt.objects.filter(created_at__lt=bound).order_by("created_at")
    found = set(old.values_list("id", flat=True)[:_BATCH])
    ids = DeniedAttempt.objects.order_by("-id").values_list("id", flat=True)
    if beyond := ids[MAX_KEPT : MAX_KEPT + 1].first():
        excess = DeniedAttempt.objects.filter(id__lte=beyond).order_by("id")
        found.update(excess.values_list("id", flat=True)[:_BATCH])
    return found
