"""Every exception that this package raises on purpose.

Each class carries the HTTP status and the machine-readable code under which an
interface reports it. ``str(error)`` names the field, step or run it is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


class RunsError(Exception):
    """Base of all errors of this package."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "error"


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with an input: where, and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ValidationError(RunsError):
    """What the caller gave is not acceptable; nothing was stored."""

    status = 400
    code = "invalid-input"

    def __init__(self, message: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors

    @classmethod
    def from_fields(cls, about: str, errors: tuple[FieldError, ...]) -> ValidationError:
        """An error about several fields; ``about`` says of what, such as a job's input."""
        return cls(f"{about} is invalid: " + "; ".join(map(str, errors)), errors)


class TooLargeError(ValidationError):
    """What the caller gave is larger than this installation takes; nothing was stored."""

    status = 413
    code = "too-large"


class PermissionDeniedError(RunsError):
    """The actor may not do this."""

    status = 403
    code = "forbidden"


class NotFoundError(RunsError):
    """There is no such job or run."""

    status = 404
    code = "not-found"


class ConflictError(RunsError):
    """The state of the run, or another run, does not allow this now.

    ``run_id`` is that other run, if the message names it.
    """

    status = 409
    code = "conflict"

    def __init__(self, message: str, *, run_id: UUID | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunFailedError(RunsError):
    """The run that was waited for failed."""

    status = 409
    code = "run-failed"


class RunCancelledError(RunsError):
    """The run that was waited for was cancelled."""

    status = 409
    code = "run-cancelled"


class WaitTimeoutError(RunsError):
    """The run that was waited for is not over yet; it goes on."""

    status = 504
    code = "wait-timeout"


class DuplicateStepError(RunsError):
    """A step name was used twice in one attempt."""

    status = 500
    code = "duplicate-step"


class StepResultError(RunsError):
    """A step's result can't be stored, or a stored one no longer fits its type."""

    status = 500
    code = "step-result"


class OpenTransactionError(RunsError):
    """A step or a wait was started inside the caller's own open transaction."""

    status = 500
    code = "open-transaction"


class InvalidOutputError(RunsError):
    """What a handler returned does not fit the job's output schema."""

    status = 500
    code = "invalid-output"


class TooManyRecoveriesError(RunsError):
    """A run's workers died too often in a row without completing a step."""

    status = 500
    code = "too-many-recoveries"


class JobDefinitionError(RunsError):
    """A job is defined wrongly: a duplicate name, an unusable signature or option."""

    status = 500
    code = "job-definition"
