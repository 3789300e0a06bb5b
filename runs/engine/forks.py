"""Processes that a job forks off: they are no workers, and can't do the work of their parent.

Such a child has a copy of everything: the run's step object, and the socket or file of the
database connection, which two processes must not share. So here it forgets the connection, and
gets a new one when it asks. What else a child must not do is refused by comparing ``depth``;
see ``Execution``.
"""

from __future__ import annotations

import logging
import os
from contextvars import ContextVar

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

#: Whether the calling thread executes a run.
executing: ContextVar[bool] = ContextVar("executing", default=False)

#: How many forks lie between the worker and this process.
depth = 0

#: Connections of the parent. To let them be collected would close them.
_inherited: list[BaseDatabaseWrapper] = []


def _after_fork() -> None:
    global depth
    depth += 1
    if not executing.get():
        return
    for wrapper in connections.all(initialized_only=True):
        _inherited.append(wrapper)
        del connections[wrapper.alias]


def end_child() -> None:
    """End this process, a job's child that has come back to the worker's own code."""
    logger.warning("Process %s, which a job has forked off, is ended", os.getpid())
    os._exit(1)


os.register_at_fork(after_in_child=_after_fork)
