"""Reads that the engine and its callers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from runs.errors import NotFoundError, ValidationError
from runs.models import Run, RunQuerySet, RunStatus


def as_id(run: Run | UUID | str) -> UUID:
    """The id of a run. Raises NotFoundError for a text that isn't one."""
    if isinstance(run, Run):
        return run.pk
    try:
        return run if isinstance(run, UUID) else UUID(str(run))
    except ValueError:
        raise NotFoundError(f"{run!r} is not the id of a run") from None


def get_run(run: Run | UUID | str) -> Run:
    """The run as it is now. Raises NotFoundError."""
    id = as_id(run)
    found = Run.objects.filter(pk=id).first()
    if found is None:
        raise NotFoundError(f"There is no run {id}")
    return found


def find_run(run: Run | UUID | str, *, job: str) -> Run | None:
    """A job's run of that id, or None."""
    try:
        id = as_id(run)
    except NotFoundError:
        return None
    return Run.objects.filter(pk=id, job=job).first()


def find_runs(
    *,
    job: str,
    status: str | Iterable[str] | None = None,
    labels: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> RunQuerySet:
    """A job's runs, newest first; an empty filter is none. Raises ValidationError."""
    runs = Run.objects.filter(job=job).newest_first()
    statuses = [status] if isinstance(status, str) else list(status or ())
    for name in statuses:
        if name not in RunStatus.values:
            known = ", ".join(RunStatus.values)
            raise ValidationError(f"status: {name!r} is none of {known}")
    if statuses:
        runs = runs.filter(status__in=statuses)
    if labels:
        runs = runs.with_labels(dict(labels))
    if limit is not None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise ValidationError(f"limit: {limit!r} is not a whole number of at least 0")
        runs = runs[:limit]
    return runs
