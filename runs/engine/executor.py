"""One claimed run to its outcome. Nothing leaves here but a log line."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pydantic
from asgiref.sync import async_to_sync

from runs import conf, payloads, signals
from runs.engine import control, database, forks, leases
from runs.engine.claims import Claim, Claimer
from runs.engine.endings import Ending
from runs.engine.execution import Execution, current_step
from runs.engine.failures import Failure
from runs.engine.runwrites import FenceRefused
from runs.engine.step import AsyncStep, Step
from runs.errors import (
    InvalidOutputError,
    OpenTransactionError,
    TooManyRecoveriesError,
    ValidationError,
)
from runs.payloads import JSONText, Unstorable
from runs.registry import JobDefinition, get_job

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Successor:
    """What comes after a run: who may claim the next one at its end, and who begins that."""

    claimer: Callable[[], Claimer | None]
    begin: Callable[[Claim], None]


def execute(execution: Execution, successor: Successor | None = None) -> None:
    """Run the handler and store what came of it; never raises.

    The execution's recorded reason to stop decides, not what the handler raised or
    returned: a handler that swallows a cancellation is cancelled all the same. It runs in a
    context of its own: a time zone or language that it activates is not the next run's.
    """
    contextvars.copy_context().run(_execute, execution, successor)


def _execute(execution: Execution, successor: Successor | None) -> None:
    current_step.set(None)
    forks.executing.set(True)
    try:
        ending = _outcome(execution)
        if execution.is_in_child:
            forks.end_child()
        _settle(execution, ending, successor)
    except BaseException:
        logger.exception("Run %s could not be brought to an end", execution.run_id)
        _give_up(execution)
    finally:
        execution.closed = True
        _flush_rest(execution)
        execution.connections.close()


def _outcome(execution: Execution) -> Ending | None:
    """What the handler's return or exception means; None if it was stopped."""
    claim = execution.claim
    try:
        if claim.recoveries and claim.recoveries >= conf.max_recoveries():
            raise TooManyRecoveriesError(_died_too_often(claim))
        definition = get_job(claim.job)
        execution.announce(signals.run_started, attempt=claim.attempt)
        value = _call(definition, execution)
        if database.reset_connection():
            raise OpenTransactionError(
                f"Job {claim.job} ended with a transaction open; what it wrote was rolled back. "
                "Use `with transaction.atomic():`."
            )
        return Ending(output=_encode_output(definition, value, execution.max_result))
    except BaseException as error:
        database.reset_connection()
        if execution.stop is not None:
            return None
        return Ending(failure=Failure.of(error), step=execution.step_behind(error))


def _call(definition: JobDefinition, execution: Execution) -> Any:
    try:
        payload = definition.input_codec.decode(execution.claim.input)
    except pydantic.ValidationError as error:
        about = f"The stored input of {definition.name}, by today's schema,"
        raise ValidationError.from_fields(about, payloads.field_errors(error)) from error
    if definition.is_async:
        arguments: tuple[Any, ...] = (AsyncStep(execution), payload)
        handler = async_to_sync(definition.handler)
    else:
        arguments = (Step(execution), payload)
        handler = definition.handler
    return handler(*arguments[: 2 if definition.takes_input else 1])


def _encode_output(definition: JobDefinition, value: Any, limit: int) -> JSONText:
    codec = definition.output_codec
    try:
        if codec.adapter is not None:
            value = codec.adapter.validate_python(value)
        text, _ = codec.encode(value)
    except (Unstorable, ValueError) as error:
        raise InvalidOutputError(
            f"Invalid output of {definition.name}: {payloads.why_unfit(error)}"
        ) from error
    size = payloads.byte_size(text)
    if size > limit:
        raise InvalidOutputError(
            f"Invalid output of {definition.name}: it is {size:,} bytes; MAX_RESULT_BYTES "
            f"allows {limit:,}"
        )
    return text


def _settle(execution: Execution, ending: Ending | None, successor: Successor | None) -> None:
    if ending is not None and execution.stop is None:
        try:
            following = execution.finish(ending, successor.claimer() if successor else None)
        except FenceRefused:
            execution.halt(execution.why_refused())
        except control.ControlFlow:
            pass  # recorded
        else:
            if successor is not None and following is not None:
                successor.begin(following)  # first of all: its lease has to be renewed from now on
            _announce_end(execution, ending)
            return
    # The last log lines first: once the run is free, another generation closes its log to us.
    execution.persist(lambda: execution.buffer.flush(with_state=False))
    lease = execution.claim.lease
    handed_over = isinstance(execution.stop, control.HandOver) and execution.persist(
        lambda: leases.hand_over(*lease, execution.owner_name)
    )
    if not handed_over:  # also if it was cancelled meanwhile: the body has stopped
        execution.persist(lambda: leases.release(*lease))


def _give_up(execution: Execution) -> None:
    """Let the run be taken over at once, as after the death of a worker."""
    lease = execution.claim.lease
    try:
        database.reset_connection()
        execution.persist(lambda: leases.give_up(*lease))
        leases.release(*lease)
    except BaseException:
        logger.exception("Run %s waits until its lease runs out", execution.run_id)


def _announce_end(execution: Execution, ending: Ending) -> None:
    failure, output = ending.failure, ending.output
    if failure is None:
        if signals.run_completed.receivers and output is not None:
            execution.announce(signals.run_completed, output=payloads.loads(output))
        return
    logger.warning("Run %s of %s failed: %s", execution.run_id, execution.claim.job, failure)
    execution.announce(signals.run_failed, error=str(failure), step=ending.step)


def _flush_rest(execution: Execution) -> None:
    try:
        execution.flush()
    except Exception:
        logger.exception("The last log lines of run %s are lost", execution.run_id)


def _died_too_often(claim: Claim) -> str:
    return (
        f"The worker died {claim.recoveries} times in a row while executing this run, without "
        "completing a step in between (MAX_RECOVERIES). Look at what the step after the last "
        "completed one does: it may run out of memory or crash the interpreter."
    )
