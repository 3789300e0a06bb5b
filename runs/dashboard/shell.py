"""What the navigation counts, and counts that stop at a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from runs import access
from runs.access import Actor
from runs.models import FailureGroup, Run, RunStatus, Worker, reports_since

T = TypeVar("T")

#: The statuses that are counted, in the order of ``Counters``.
OPEN = (RunStatus.RUNNING, RunStatus.PENDING, RunStatus.WAITING)

MAX_RUNS = 1000
_MAX_GROUPS = 99
_KEEP_SECONDS = 3.0

#: A worker that has been silent for longer is no longer counted as missing.
LOST_FOR = timedelta(hours=1)


class Kept(Generic[T]):
    """A value that this process computes again when it is older than ``seconds``."""

    _all: ClassVar[list[Any]] = []

    def __init__(self, load: Callable[[], T], seconds: float) -> None:
        self._load = load
        self._seconds = seconds
        self._value: tuple[float, T] | None = None
        self._all.append(self)

    def __call__(self) -> T:
        now = time.monotonic()
        if self._value is None or self._value[0] < now:
            self._value = now + self._seconds, self._load()
        return self._value[1]

    @classmethod
    def forget(cls) -> None:
        """Compute everything again."""
        for each in cls._all:
            each._value = None


def capped_counts(rows: Sequence[QuerySet[Any]], limit: int) -> list[int]:
    """How many rows there are of each, in one query; ``limit + 1`` for more than ``limit``."""
    if not rows:
        return []
    parts: list[str] = []
    params: list[Any] = []
    for number, each in enumerate(rows):
        limited = each.order_by().values("pk")[: limit + 1]
        try:
            text, values = limited.query.sql_with_params()
        except EmptyResultSet:  # as of who belongs to no tenant
            parts.append("0")
            continue
        parts.append(f"(SELECT COUNT(*) FROM ({text}) AS c{number})")  # noqa: S608 (Django's own)
        params += values
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", params)
        return [int(count) for count in cursor.fetchone()]


def count_text(count: int, limit: int = MAX_RUNS) -> str:
    """``12``, ``1,000+``."""
    return f"{limit:,}+" if count > limit else f"{count:,}"


@dataclass(frozen=True)
class Counters:
    """The numbers beside the pages' names, and those of the runs that are not over."""

    running: int
    pending: int
    waiting: int
    failing: int
    reporting: int
    lost: int

    @property
    def running_text(self) -> str:
        return count_text(self.running)

    @property
    def failing_text(self) -> str:
        return count_text(self.failing, _MAX_GROUPS)

    @property
    def known(self) -> int:
        return self.reporting + self.lost


def _load() -> Counters:
    now = timezone.now()
    since = reports_since(now)
    failing = FailureGroup.objects.filter(last_seen__gte=now - timedelta(days=1))
    lost = Q(heartbeat_at__lt=since, heartbeat_at__gte=now - LOST_FOR)
    counts = capped_counts(
        [
            *(Run.objects.filter(status=status) for status in OPEN),
            failing,
            Worker.objects.reporting(now),
            Worker.objects.present().filter(lost),
        ],
        MAX_RUNS,
    )
    return Counters(*counts)


#: The counters, a few seconds old at most.
load_counters = Kept(_load, _KEEP_SECONDS)


def _own(actor: Actor) -> Counters:
    """Those of somebody who sees a part of the runs: no more than how many of these run."""
    running = access.scoped(actor, Run.objects.filter(status=RunStatus.RUNNING))
    [count] = capped_counts([running], MAX_RUNS)
    return replace(load_counters(), running=count, pending=0, waiting=0, failing=0)


def counters(request: HttpRequest) -> dict[str, Any]:
    """For the frame of every page: ``counters``, read only where they are shown, and whether
    the person sees all runs, which some pages are for.
    """

    def load() -> Counters:
        actor = access.actor_of(request)
        if not actor.may(access.VIEW):
            return Counters(0, 0, 0, 0, 0, 0)
        return load_counters() if access.sees_all_runs(actor) else _own(actor)

    def sees_all() -> bool:
        actor = access.actor_of(request)
        return actor.may(access.VIEW) and access.sees_all_runs(actor)

    return {"counters": SimpleLazyObject(load), "sees_all_runs": SimpleLazyObject(sees_all)}
