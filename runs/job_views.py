"""Jobs as pages and programs see them: from the code, or as they were last known."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runs.job_stats import JobStats, Sampled, stats_of
from runs.models import Job, Run, RunQuerySet
from runs.registry import JobDefinition, registry


@dataclass
class JobView:
    """A job for show, from the code if it is there, else as it was last known."""

    name: str
    title: str = ""
    description: str = ""
    source: str = ""
    tags: list[str] = field(default_factory=list)
    priority: int = 0
    input_schema: Any = None
    output_schema: Any = None
    registered: bool = False
    paused_at: datetime | None = None
    paused_by: str = ""
    pause_reason: str = ""
    stats: JobStats = field(default_factory=JobStats)

    @property
    def paragraphs(self) -> list[str]:
        """The description without the line breaks of its source."""
        return [" ".join(part.split()) for part in self.description.split("\n\n")]

    @property
    def summary(self) -> str:
        return self.paragraphs[0]

    @property
    def last(self) -> Sampled | None:
        """Its newest run."""
        return self.stats.runs[0] if self.stats.runs else None

    @classmethod
    def of(cls, job: JobDefinition | Job, row: Job | None) -> JobView:
        """From the definition or, of a job that is gone, its row, with the pause of that."""
        return cls(
            job.name,
            job.title,
            job.description,
            job.source,
            list(job.tags),
            job.priority,
            job.input_schema,
            job.output_schema,
            isinstance(job, JobDefinition),
            row.paused_at if row else None,
            row.paused_by if row else "",
            row.pause_reason if row else "",
        )


def all_jobs(*, with_stats: bool = True) -> list[JobView]:
    """Jobs of the code first, then jobs that were; with their numbers, of all runs there are."""
    rows = {row.name: row for row in Job.objects.all()}
    views = {job.name: JobView.of(job, rows.get(job.name)) for job in registry.all()}
    for name, row in rows.items():
        views.setdefault(name, JobView.of(row, row))
    if with_stats:
        for name, stats in stats_of(list(views)).items():
            views[name].stats = stats
    return sorted(views.values(), key=lambda view: (not view.registered, view.name))


def find_job(name: str, within: RunQuerySet | None = None) -> JobView | None:
    """One job, without its numbers; also one of which only runs are left, ``within`` if given.

    None if there is none.
    """
    definition = registry.get(name)
    row = Job.objects.filter(name=name).first() if "\x00" not in name else None
    if definition is not None or row is not None:
        return JobView.of(definition or row, row)  # type: ignore[arg-type]
    runs = Run.objects.all() if within is None else within
    if "\x00" not in name and runs.filter(job=name).exists():
        return JobView(name, name)
    return None
