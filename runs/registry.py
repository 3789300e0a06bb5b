"""Jobs: the ``@job`` decorator, what it makes, and how it is found again by name."""

from __future__ import annotations

import hashlib
import inspect
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload
from uuid import UUID

import pydantic
from asgiref.sync import async_to_sync
from django.conf import settings

from runs import conf
from runs.annotations import UNTYPED, positional_parameters, resolve_annotation
from runs.errors import JobDefinitionError, NotFoundError
from runs.payloads import Codec, JSONText, check_size, codec_for, validate_input

if TYPE_CHECKING:
    from runs.engine.triggers import BatchItem
    from runs.models import LogEntry, Run, RunQuerySet

Handler = Callable[..., Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_UNSET: Any = object()


@dataclass(eq=False)
class JobDefinition:
    """A job: a named handler with its schemas and options. Made by ``@job``."""

    handler: Handler
    name: str
    title: str
    description: str
    tags: tuple[str, ...]
    priority: int
    input_type: Any = field(repr=False)
    output_type: Any = field(repr=False)

    def __post_init__(self) -> None:
        self.__doc__ = self.handler.__doc__
        self.__name__ = self.handler.__name__
        self.__module__ = self.handler.__module__
        self.is_async = inspect.iscoroutinefunction(self.handler)
        self.takes_input = len(positional_parameters(self.handler)) > 1

    @cached_property
    def input_codec(self) -> Codec:
        """How inputs are validated, stored and read."""
        return self._codec(self.input_type, _second_parameter(self.handler))

    @cached_property
    def output_codec(self) -> Codec:
        """How the handler's return value is validated and stored."""
        return self._codec(self.output_type, "return")

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        """JSON schema of the input; empty if any JSON will do."""
        return self.input_codec.schema()

    @cached_property
    def output_schema(self) -> dict[str, Any]:
        """JSON schema of the output; empty if any JSON will do."""
        return self.output_codec.schema("serialization")

    @cached_property
    def source(self) -> str:
        """Where the handler is written, as ``file:line``."""
        code = inspect.unwrap(self.handler).__code__
        path = Path(code.co_filename)
        base = Path(settings.BASE_DIR) if hasattr(settings, "BASE_DIR") else Path.cwd()
        shown = path.relative_to(base) if path.is_relative_to(base) else path
        return f"{shown}:{code.co_firstlineno}"

    @cached_property
    def code_version(self) -> str:
        """A short hash of the handler's source, to tell whether the code of a job changed."""
        try:
            text = inspect.getsource(self.handler)
        except (OSError, TypeError):
            text = self.handler.__code__.co_code.hex()
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def parse_input(self, value: Any) -> JSONText:
        """The validated input as it is stored. Raises ValidationError with field paths."""
        text = validate_input(self.input_codec, value, f"Input of {self.name}")
        check_size(text, conf.max_input_bytes(), f"Input of {self.name}")
        return text

    def trigger(
        self,
        input: Any = None,
        *,
        labels: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        concurrency_key: str | None = None,
        coalesce: str | None = None,
        priority: int | None = None,
        run_at: datetime | None = None,
        actor: Any = None,
    ) -> Run:
        """Store a pending run and return at once; see ``runs.engine.triggers.trigger``."""
        from runs.engine import triggers

        return triggers.trigger(
            self,
            input,
            labels=labels,
            idempotency_key=idempotency_key,
            concurrency_key=concurrency_key,
            coalesce=coalesce,
            priority=priority,
            run_at=run_at,
            actor=actor,
        )

    def trigger_and_wait(
        self,
        input: Any = None,
        *,
        timeout: float | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
        on_log: Callable[[LogEntry], object] | None = None,
        **options: Any,
    ) -> Run:
        """Trigger, and wait for the end in whatever process it comes.

        ``timeout`` is in seconds. Returns the completed run. Raises RunFailedError,
        RunCancelledError, WaitTimeoutError; OpenTransactionError inside ``atomic()``,
        where the run could never start.
        """
        from runs.engine import waiting

        waiting.refuse_inside_transaction(f"trigger_and_wait of {self.name}")
        run = self.trigger(input, **options)
        return waiting.wait_for_triggered(
            run, timeout=timeout, on_progress=on_progress, on_log=on_log
        )

    def batch_trigger(self, items: Iterable[Any | BatchItem], *, actor: Any = None) -> list[Run]:
        """Trigger many, all or nothing; each item is an input or a ``BatchItem``."""
        from runs.engine import triggers

        return triggers.batch_trigger(self, items, actor=actor)

    def get_run(self, id: UUID | str) -> Run | None:
        """This job's run of that id, or None; also None for another job's run."""
        from runs.engine import lookups

        return lookups.find_run(id, job=self.name)

    def get_runs(
        self,
        *,
        status: str | Iterable[str] | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> RunQuerySet:
        """This job's runs, newest first."""
        from runs.engine import lookups

        return lookups.find_runs(job=self.name, status=status, labels=labels, limit=limit)

    def call(self, step: Any, input: Any = None) -> Any:
        """Run the bare handler with a validated input, for unit tests. Stores nothing."""
        arguments = (step, self.input_codec.decode(self.parse_input(input)))
        handler = async_to_sync(self.handler) if self.is_async else self.handler
        return handler(*arguments[: 2 if self.takes_input else 1])

    def _codec(self, given: Any, parameter: str | None) -> Codec:
        try:
            type_ = given
            if given is _UNSET:
                handler = inspect.unwrap(self.handler)  # a decorator knows other names
                type_ = resolve_annotation(handler, parameter) if parameter else UNTYPED
            return codec_for(type_)
        except (NameError, AttributeError, pydantic.errors.PydanticUserError) as error:
            what = "output" if parameter == "return" else "input"
            raise JobDefinitionError(
                f"Job {self.name} ({self.source}): the {what} type is not usable: {error}. "
                f"Annotate it with a type that pydantic understands, or pass {what}=."
            ) from error


class Registry:
    """The jobs of this process, by name."""

    def __init__(self) -> None:
        self._jobs: dict[str, JobDefinition] = {}
        self._lock = threading.Lock()

    def add(self, definition: JobDefinition) -> None:
        """Register a job. Raises JobDefinitionError if its name is another function's."""
        with self._lock:
            known = self._jobs.get(definition.name)
            if known is not None and not _same_function(known.handler, definition.handler):
                raise JobDefinitionError(
                    f"Two jobs are named {definition.name!r}: {known.source} and "
                    f"{definition.source}. Give one of them another name=."
                )
            self._jobs[definition.name] = definition

    def get(self, name: str) -> JobDefinition | None:
        return self._jobs.get(name)

    def names(self) -> list[str]:
        return sorted(self._jobs)

    def all(self) -> list[JobDefinition]:
        return [self._jobs[name] for name in self.names()]

    def remove(self, name: str) -> None:
        """Forget a job, as tests need it."""
        with self._lock:
            self._jobs.pop(name, None)


registry = Registry()


def get_job(name: str) -> JobDefinition:
    """The job of that name. Raises NotFoundError, naming the ones there are."""
    definition = registry.get(name)
    if definition is None:
        known = ", ".join(registry.names()) or "none"
        raise NotFoundError(f"There is no job named {name!r}. Known jobs: {known}.")
    return definition


@overload
def job(handler: Handler, /) -> JobDefinition: ...
@overload
def job(
    *,
    name: str | None = None,
    title: str | None = None,
    input: Any = ...,
    output: Any = ...,
    tags: Iterable[str] = (),
    priority: int = 0,
) -> Callable[[Handler], JobDefinition]: ...
def job(
    handler: Handler | None = None,
    /,
    *,
    name: str | None = None,
    title: str | None = None,
    input: Any = _UNSET,
    output: Any = _UNSET,
    tags: Iterable[str] = (),
    priority: int = 0,
) -> JobDefinition | Callable[[Handler], JobDefinition]:
    """Make a function a job, bare or with options.

    ``name`` defaults to the function's name in kebab-case, ``title`` to the name in
    words, ``input`` and ``output`` to the annotations of the second parameter and of the
    return value. ``priority`` is that of its runs, higher first.

    Raises JobDefinitionError for a name that is taken or an option that is unusable.
    """

    if isinstance(tags, str):
        raise JobDefinitionError(f"tags must be a list of texts, not the text {tags!r}.")

    def define(fn: Handler) -> JobDefinition:
        job_name = _kebab_case(fn.__name__) if name is None else name
        definition = JobDefinition(
            handler=fn,
            name=job_name,
            title=title or job_name.replace("-", " ").capitalize(),
            description=inspect.getdoc(fn) or "",
            tags=tuple(tags),
            priority=priority,
            input_type=input,
            output_type=output,
        )
        _check(definition)
        registry.add(definition)
        return definition

    return define if handler is None else define(handler)


def check_priority(value: Any) -> int:
    """``value`` if it is a small whole number. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not -32768 <= value <= 32767:
        raise ValueError(f"priority must be a whole number from -32768 to 32767, not {value!r}")
    return value


def _check(definition: JobDefinition) -> None:
    where = f"Job {definition.name!r} ({definition.source})"
    if len(definition.name) > 200 or not _NAME.fullmatch(definition.name):
        raise JobDefinitionError(
            f"{where}: a name is at most 200 letters, digits, '-', '_' and '.', "
            "and starts with a letter or digit."
        )
    if not positional_parameters(definition.handler):
        raise JobDefinitionError(f"{where}: the handler must take the step as its first parameter.")
    if not all(isinstance(tag, str) for tag in definition.tags):
        raise JobDefinitionError(f"{where}: tags must be a list of texts.")
    try:
        check_priority(definition.priority)
    except ValueError as error:
        raise JobDefinitionError(f"{where}: {error}") from error


def _kebab_case(name: str) -> str:
    """``process_order`` and ``processOrder`` become ``process-order``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return words.strip("_").replace("_", "-").lower()


def _second_parameter(fn: Handler) -> str | None:
    parameters = positional_parameters(fn)
    return parameters[1] if len(parameters) > 1 else None


def _same_function(one: Handler, other: Handler) -> bool:
    """Whether both are one piece of source, perhaps imported twice under two module names."""

    def place(fn: Handler) -> tuple[str, int, str]:
        code = inspect.unwrap(fn).__code__
        return code.co_filename, code.co_firstlineno, fn.__qualname__

    return place(one) == place(other)
