"""What is slow may be tried again; what is lost may not."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db.models import QuerySet

from runs.models import Run

#: A failure with these words gets no second try in CI; see .ci/run.
BROKEN = "Broken promises"

#: A lease and a sweep may pass before a run goes on, and so many seconds more.
PATIENCE = 10.0

_PAUSE = 0.02


def await_end(
    runs: QuerySet[Run], timeout: float, *, lease: float, about: Callable[[], str]
) -> None:
    """Wait until none of these is left to do; else fail with ``about``.

    If nothing at all happens to any that is left, for longer than a lease and a sweep take, they
    are lost. It is looks that are counted: a machine that stands still for a while makes none.
    """
    left = runs.filter(finished_at=None)
    deadline, late = time.monotonic() + timeout, False
    before, looks = None, 0
    while found := set(left.values_list("pk", "status", "seq", "attempt")):
        late = time.monotonic() > deadline
        looks = looks + 1 if found == before else 0
        before = found
        if late and looks * _PAUSE > lease + PATIENCE:
            raise AssertionError(f"{BROKEN}: lost, nothing happens to {found}\n{about()}")
        time.sleep(_PAUSE)
    assert not late, f"Not within {timeout:g} s, but later: all runs ended\n{about()}"
