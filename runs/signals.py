"""Events, as Django signals, in the process where they happen.

Every signal is sent with ``sender=Run`` and at least ``run_id``, ``job`` and ``labels``.
A receiver that raises is logged and harms nothing. Receivers run in the thread of the
worker or caller, so keep them short.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

logger = logging.getLogger(__name__)

run_triggered = Signal()  # + input, actor
run_coalesced = Signal()  # + skipped_input, skipped_labels, actor
run_started = Signal()  # + attempt
run_progressed = Signal()  # + progress
run_completed = Signal()  # + output
run_failed = Signal()  # + error, step
run_cancelled = Signal()  # + actor
run_retried = Signal()  # + attempt, actor
run_deleted = Signal()  # + actor
step_started = Signal()  # + step
step_completed = Signal()  # + step, index, output
step_failed = Signal()  # + step, error
step_cancelled = Signal()  # + step
log_written = Signal()  # + step, level, message, data
lease_lost = Signal()  # + worker


def send(signal: Signal, **kwargs: Any) -> None:
    """Tell every receiver; log those that raise."""
    if not signal.receivers:
        return
    from runs.models import Run

    try:
        signal.send_robust(sender=Run, **kwargs)
    except BaseException:  # send_robust lets SystemExit and its kind pass
        logger.exception("A signal receiver raised; the run goes on")
