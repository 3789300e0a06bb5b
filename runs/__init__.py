"""Durable jobs: what job authors import.

Names are imported on first use (PEP 562): job modules import this package while Django
is still loading its apps, when models can't be imported yet.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runs.engine.operations import cancel, delete_run, purge_runs, retrigger, retry
    from runs.engine.step import AsyncStep, Step
    from runs.engine.triggers import BatchItem, trigger
    from runs.engine.waiting import wait_for_run
    from runs.files import InputFile, InputFolder
    from runs.registry import JobDefinition, get_job, job

_HOMES = {
    "AsyncStep": "runs.engine.step",
    "BatchItem": "runs.engine.triggers",
    "InputFile": "runs.files",
    "InputFolder": "runs.files",
    "JobDefinition": "runs.registry",
    "Step": "runs.engine.step",
    "cancel": "runs.engine.operations",
    "delete_run": "runs.engine.operations",
    "get_job": "runs.registry",
    "job": "runs.registry",
    "purge_runs": "runs.engine.operations",
    "retrigger": "runs.engine.operations",
    "retry": "runs.engine.operations",
    "trigger": "runs.engine.triggers",
    "wait_for_run": "runs.engine.waiting",
}

__all__ = [
    "AsyncStep",
    "BatchItem",
    "InputFile",
    "InputFolder",
    "JobDefinition",
    "Step",
    "cancel",
    "delete_run",
    "get_job",
    "job",
    "purge_runs",
    "retrigger",
    "retry",
    "trigger",
    "wait_for_run",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
