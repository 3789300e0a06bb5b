"""Control flow: why an execution stops before its handler is done.

BaseExceptions, so that a job's ``except Exception`` can't swallow them. The execution
records the reason first and decides by the record: hiding or wrapping one of these
changes nothing. (DBOS derives its cancellation from BaseException for the same reason.)
"""

from __future__ import annotations


class ControlFlow(BaseException):
    """Base of the reasons to stop. Not an error: never catch it in a job."""


class Cancelled(ControlFlow):
    """Somebody cancelled the run."""


class LeaseLost(ControlFlow):
    """Another worker owns the run now, or it is gone."""


class HandOver(ControlFlow):
    """The worker stops; the run goes back to the queue."""
