"""The step object: what a handler gets to make its work durable."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, ParamSpec, TypeVar, overload
from uuid import UUID

from asgiref.sync import async_to_sync, sync_to_async

from runs import signals
from runs.engine import control, database
from runs.engine.execution import Execution, current_step
from runs.errors import JobDefinitionError

P = ParamSpec("P")
T = TypeVar("T")


class _Base:
    """What the step objects of plain and of async handlers share."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    @property
    def run_id(self) -> UUID:
        """The id of the run."""
        return self._execution.run_id

    @property
    def attempt(self) -> int:
        """Starts at 1 and counts retries; a recovery or hand-over doesn't count."""
        return self._execution.claim.attempt

    @property
    def job_name(self) -> str:
        """The name of the job."""
        return self._execution.claim.job

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the run, as they were fixed at its trigger."""
        return dict(self._execution.labels)

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled; known within two seconds."""
        return isinstance(self._execution.stop, control.Cancelled)


class Log:
    """Structured log lines. Inside a step they carry the step's name."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def info(self, message: str, data: Mapping[str, Any] | None = None) -> None:
        """What happened, in the normal course of things."""
        self._execution.log("info", message, data)

    def warn(self, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Something that somebody may want to look at."""
        self._execution.log("warn", message, data)

    def error(self, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Something that went wrong."""
        self._execution.log("error", message, data)

    warning = warn


class Step(_Base):
    """Passed to handlers: runs steps once, logs, and reports progress."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        self.log = Log(execution)

    @overload
    def run(
        self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    def run(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def run(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``fn(*args, **kwargs)`` once, store its result and return it.

        On resume the stored result is returned without calling ``fn``. The value is what
        the checkpoint decodes to, the first time too; with a return annotation on ``fn``
        it keeps its type. ``fn`` may be async.

        Raises what ``fn`` raises; DuplicateStepError for a name used before in this
        attempt; StepResultError for a result that can't be stored; OpenTransactionError
        inside a transaction of the handler's own; JobDefinitionError inside async code.
        """
        if database.in_event_loop():
            raise JobDefinitionError(
                f"Step {name!r} was started in async code, where it would block the event loop. "
                "Make the handler async: it gets an AsyncStep, whose run is awaited."
            )
        execution = self._execution
        step = execution.open_step(name, fn)
        if step.replayed:
            return execution.replay(step)
        execution.announce(signals.step_started, step=name)
        token = current_step.set(name)
        try:
            if execution.hold.may_be_over:
                execution.be_sure()
            value = fn(*args, **kwargs)
            if inspect.isawaitable(value):
                value = async_to_sync(_await)(value)
        except BaseException as error:
            execution.fail_step(step, error)
            raise
        finally:
            current_step.reset(token)
        return execution.complete_step(step, value)

    def progress(
        self, current: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Report the run's progress. The last value wins; cheap enough for a tight loop."""
        self._execution.report(current, total, message)

    def raise_if_cancelled(self) -> None:
        """Stop here if the run was cancelled or isn't this worker's any more."""
        if self._execution.stop is not None:
            self._execution.check()


class AsyncLog(Log):
    """The same for async handlers; awaiting a call waits while the buffer is full."""

    def info(self, message: str, data: Mapping[str, Any] | None = None) -> Done:  # type: ignore[override]
        super().info(message, data)
        return Done(self._execution)

    def warn(self, message: str, data: Mapping[str, Any] | None = None) -> Done:  # type: ignore[override]
        super().warn(message, data)
        return Done(self._execution)

    def error(self, message: str, data: Mapping[str, Any] | None = None) -> Done:  # type: ignore[override]
        super().error(message, data)
        return Done(self._execution)

    warning = warn  # type: ignore[assignment]


class AsyncStep(_Base):
    """The step object of ``async def`` handlers: the same, with awaitable methods."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        self.log = AsyncLog(execution)

    @overload
    async def run(
        self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def run(
        self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    async def run(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``fn(*args, **kwargs)`` once, store its result and return it; see ``Step.run``.

        A plain ``fn`` runs on the worker's thread, where the ORM works.
        """
        execution = self._execution
        step = execution.open_step(name, fn)
        if step.replayed:
            return execution.replay(step)
        if signals.step_started.receivers:  # which may use the ORM
            await sync_to_async(execution.announce)(signals.step_started, step=name)
        token = current_step.set(name)
        try:
            if execution.hold.may_be_over:
                await sync_to_async(execution.be_sure)()
            if inspect.iscoroutinefunction(fn):
                value = await fn(*args, **kwargs)
            else:
                value, raised = await sync_to_async(_attempt)(fn, args, kwargs)
                if raised is not None:
                    raise raised
                if inspect.isawaitable(value):
                    value = await value
        except BaseException as error:
            await sync_to_async(execution.fail_step)(step, error)
            raise
        finally:
            current_step.reset(token)
        return await sync_to_async(execution.complete_step)(step, value)

    def progress(
        self, current: float, total: float | None = None, message: str | None = None
    ) -> Done:
        """Report the run's progress. The last value wins."""
        self._execution.report(current, total, message)
        return Done(self._execution)

    def raise_if_cancelled(self) -> Done:
        """Stop here if the run was cancelled or isn't this worker's any more."""
        if self._execution.stop is not None:
            self._execution.check()
        return Done(self._execution)


class Done:
    """The call has had its effect; awaiting it makes room in a buffer that has grown full."""

    __slots__ = ("_execution",)

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        if self._execution.buffer.is_full:
            await sync_to_async(self._execution.make_room)()


async def _await(value: Awaitable[T]) -> T:
    return await value


def _attempt(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, BaseException | None]:
    """What ``fn`` returns or raises, since a future takes no StopIteration or GeneratorExit."""
    try:
        return fn(*args, **kwargs), None
    except BaseException as error:
        return None, error
