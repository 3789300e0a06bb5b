"""Which runs somebody follows."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import EmptyResultSet

from runs.models import Run, RunQuerySet


@dataclass(frozen=True)
class Selection:
    """The runs that a query finds. Equal selections are evaluated once for all who follow.

    ``hides_none`` says that nobody is kept from any run, so that also the ids of runs that
    are gone may be told.
    """

    query: Any
    runs: RunQuerySet = field(compare=False)
    hides_none: bool = False

    @classmethod
    def of(cls, runs: RunQuerySet, *, hides_none: bool = False) -> Selection:
        """The runs that this query finds whenever it is asked."""
        try:
            sql, parameters = runs.order_by().query.sql_with_params()
        except EmptyResultSet:
            return nothing()
        return cls((sql, repr(parameters)), runs.order_by(), hides_none)

    def passing(self, ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
        """Those of these runs that are in it. Asks the database, unless all of them are."""
        wanted = set(ids)
        if not wanted or self == everything():
            return wanted
        return set(self.runs.filter(pk__in=wanted).values_list("pk", flat=True))


@functools.cache
def everything() -> Selection:
    """All runs."""
    return Selection.of(Run.objects.all(), hides_none=True)


@functools.cache
def nothing() -> Selection:
    """No runs."""
    return Selection(None, Run.objects.none())
