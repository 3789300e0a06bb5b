"""What happened to a job, and who did it."""

from __future__ import annotations

from django.db import models

from runs.models.runs import Job


class JobEventKind(models.TextChoices):
    PAUSED = "paused", "Paused"
    RESUMED = "resumed", "Resumed"


class JobEvent(models.Model):
    """A pause or its end: when, by whom, and why."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events", db_index=False)
    kind = models.CharField(max_length=10, choices=JobEventKind.choices)
    actor = models.CharField(max_length=200)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        indexes = (models.Index(fields=("job", "id"), name="event_by_job"),)

    def __str__(self) -> str:
        return f"{self.get_kind_display()} by {self.actor}"
