"""Worker processes, and which of them are alive."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q

from runs import conf
from runs.fields import JSONTextField
from runs.models.runs import new_id

_MARGIN = timedelta(seconds=2)


def reports_since(now: datetime) -> datetime:
    """A worker that is alive has reported since then.

    It reports three times in the time of a lease; so one that has not has missed two.
    """
    return now - timedelta(seconds=conf.lease_seconds() * 2 / 3) - _MARGIN


class WorkerQuerySet(models.QuerySet["Worker"]):
    """Questions about workers."""

    def present(self) -> WorkerQuerySet:
        """Those that have neither said good-bye nor been found dead."""
        return self.filter(stopped_at__isnull=True)

    def reporting(self, now: datetime) -> WorkerQuerySet:
        """Those that are alive, as ``Worker.reports`` has it."""
        return self.present().filter(heartbeat_at__gte=reports_since(now))


class Worker(models.Model):
    """A worker process; its id owns leases."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    concurrency = models.PositiveIntegerField()
    jobs = JSONTextField(default=list, help_text="Names of the jobs it knows.")
    release = models.CharField(max_length=100, blank=True)
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, blank=True)

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ("-started_at",)
        indexes = (
            models.Index(
                fields=("heartbeat_at",),
                name="worker_alive",
                condition=Q(stopped_at__isnull=True),
            ),
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"

    def reports(self, now: datetime) -> bool:
        """Whether it is alive, as far as its heartbeat tells."""
        return self.stopped_at is None and self.heartbeat_at >= reports_since(now)
