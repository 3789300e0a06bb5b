"""The Job table, synced from the code."""

from __future__ import annotations

from runs.engine import database
from runs.models import Job
from runs.registry import JobDefinition, registry

#: What the code says; whether a job is paused is for people to say.
_FROM_CODE = (
    "title",
    "description",
    "input_schema",
    "output_schema",
    "tags",
    "priority",
    "source",
    "code_version",
    "registered",
    "synced_at",
)


def sync_jobs() -> None:
    """Make the Job table say what this process's code defines.

    Jobs that have disappeared stay, marked as no longer registered: their runs refer to
    them by name.
    """
    definitions = registry.all()
    with database.write():
        Job.objects.bulk_create(
            [_row(definition) for definition in definitions],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=_FROM_CODE,
        )
        Job.objects.exclude(name__in=registry.names()).update(registered=False)


def _row(definition: JobDefinition) -> Job:
    return Job(
        name=definition.name,
        title=definition.title,
        description=definition.description,
        input_schema=definition.input_schema,
        output_schema=definition.output_schema,
        tags=list(definition.tags),
        priority=definition.priority,
        source=definition.source,
        code_version=definition.code_version,
        registered=True,
        synced_at=database.utc_now(),
    )
