"""Waiting for a run's end, in whatever process it comes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from runs.engine import database, lookups
from runs.errors import (
    NotFoundError,
    OpenTransactionError,
    RunCancelledError,
    RunFailedError,
    ValidationError,
    WaitTimeoutError,
)
from runs.models import LogEntry, Run, RunStatus

logger = logging.getLogger(__name__)

#: Pauses between looks at the database, in seconds: from, to, and growth.
_PAUSES = (0.01, 0.25, 1.3)


def refuse_inside_transaction(what: str) -> None:
    """Raise OpenTransactionError if the caller has a transaction open."""
    if database.in_callers_transaction():
        raise OpenTransactionError(
            f"{what} can't wait inside a transaction: workers don't see what it holds before it "
            "ends. Trigger inside, wait after."
        )


def wait_for_run(
    run: Run | UUID | str,
    *,
    timeout: float | None = None,
    on_progress: Callable[[dict[str, Any]], object] | None = None,
    on_log: Callable[[LogEntry], object] | None = None,
) -> Run:
    """Wait until a run is over and return it completed.

    ``timeout`` is in seconds; the run goes on after it. ``on_progress`` gets the progress
    as a dict whenever it changed, ``on_log`` each log line; what they raise is logged. A run
    that is over already is returned, or raised for, without a call of either.

    Raises RunFailedError, RunCancelledError, WaitTimeoutError, NotFoundError (also when the
    run is deleted meanwhile), and OpenTransactionError inside ``atomic()``.
    """
    _refuse_timeout(timeout)
    refuse_inside_transaction("wait_for_run")
    found = lookups.get_run(run)
    if found.is_terminal:
        return _completed(found)
    return _wait(found.pk, timeout, on_progress, on_log)


def wait_for_triggered(
    run: Run,
    *,
    timeout: float | None = None,
    on_progress: Callable[[dict[str, Any]], object] | None = None,
    on_log: Callable[[LogEntry], object] | None = None,
) -> Run:
    """The same for a run that the caller has just triggered; its disposition is kept.

    A run that is over before the first look is heard from its beginning, too.
    """
    if run.is_terminal:  # the trigger met an old one
        found = wait_for_run(run)
    else:
        _refuse_timeout(timeout)
        refuse_inside_transaction("wait_for_run")
        found = _wait(run.pk, timeout, on_progress, on_log)
    found.disposition = run.disposition
    return found


def _refuse_timeout(timeout: object) -> None:
    if timeout is not None and (not isinstance(timeout, int | float) or not timeout >= 0):
        raise ValidationError(f"timeout must be a number of seconds of at least 0, not {timeout!r}")


def _wait(
    run_id: UUID,
    timeout: float | None,
    on_progress: Callable[[dict[str, Any]], object] | None,
    on_log: Callable[[LogEntry], object] | None,
) -> Run:
    deadline = None if timeout is None else time.monotonic() + timeout
    watch = _Watch(run_id, on_progress, on_log)
    pause, longest, growth = _PAUSES
    while True:
        current = watch.look()
        if current.is_terminal:
            return _completed(lookups.get_run(current))
        if deadline is not None and time.monotonic() >= deadline:
            raise WaitTimeoutError(
                f"Run {current.pk} of {current.job} is still {current.status} after "
                f"{timeout:g} s; it goes on."
            )
        left = longest if deadline is None else max(deadline - time.monotonic(), 0)
        time.sleep(min(pause, left))
        pause = min(pause * growth, longest)


class _Watch:
    """Looks at a run and passes on what is new."""

    def __init__(
        self,
        run_id: UUID,
        on_progress: Callable[[dict[str, Any]], object] | None,
        on_log: Callable[[LogEntry], object] | None,
    ) -> None:
        self._id = run_id
        self._on_progress = on_progress
        self._on_log = on_log
        self._progress: Any = None
        self._last_line = 0

    def look(self) -> Run:
        current = Run.objects.summaries().filter(pk=self._id).first()
        if current is None:
            raise NotFoundError(f"There is no run {self._id}")
        if self._on_progress is not None and current.progress not in (None, self._progress):
            self._progress = current.progress
            _call(self._on_progress, current.progress)
        if self._on_log is not None:
            for line in LogEntry.objects.filter(run=self._id, id__gt=self._last_line):
                self._last_line = line.pk
                _call(self._on_log, line)
        return current


def _call(callback: Callable[[Any], object], value: Any) -> None:
    try:
        callback(value)
    except Exception:
        logger.exception("A callback of wait_for_run raised; waiting goes on")


def _completed(run: Run) -> Run:
    if run.status == RunStatus.FAILED:
        raise RunFailedError(f"Run {run.pk} of {run.job} failed: {run.error}")
    if run.status == RunStatus.CANCELLED:
        raise RunCancelledError(f"Run {run.pk} of {run.job} was cancelled")
    return run
