"""Writes that must come to pass, whatever the database or its connection goes through."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error

from runs.engine import database

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: Waits between tries while the database is away, in seconds: from, to.
_RETRY_DELAYS = (0.05, 2.0)


def persist(write: Callable[[], T], about: object, before_waiting: Callable[[], None]) -> T:
    """Do a write; while the database is away, again and again, with growing pauses.

    After any other error once more on a new connection: a job's code may have spoilt this one,
    closed it underneath or hidden the tables. ``before_waiting`` may raise to end the waiting.
    ``about`` names the run in the log.
    """
    delay, longest = _RETRY_DELAYS
    is_fresh = False
    while True:
        try:
            return write()
        except database.UNAVAILABLE as error:
            database.drop_broken_connection()
            logger.warning("Run %s waits for the database: %s", about, error)
            before_waiting()
            time.sleep(delay)
            delay = min(delay * 2, longest)
        except Error:
            if is_fresh:
                raise
            is_fresh = True
            database.drop_broken_connection()
