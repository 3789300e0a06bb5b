"""Counts for the dashboard, and the periodic work that makes them."""

from __future__ import annotations

from django.db import models


class Chore(models.Model):
    """Periodic work, done by one worker at a time, which holds its lease meanwhile."""

    name = models.CharField(max_length=50, primary_key=True)
    due_at = models.DateTimeField()
    position = models.DateTimeField(null=True, blank=True, help_text="How far it has got.")
    lease_owner = models.UUIDField(null=True, blank=True, help_text="The worker that is at it.")
    lease_expires_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Span(models.IntegerChoices):
    """The length of a statistics bucket, in seconds."""

    MINUTE = 60, "minute"
    HOUR = 3600, "hour"


class Activity(models.Model):
    """How much a job did in one minute or hour, counted from the runs' events."""

    job = models.CharField(max_length=200)
    span = models.PositiveIntegerField(choices=Span.choices)
    at = models.DateTimeField(help_text="When the minute or hour begins.")
    triggered = models.PositiveIntegerField(default=0)
    started = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    cancelled = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "activity"
        constraints = (
            models.UniqueConstraint(fields=("span", "at", "job"), name="one_activity_per_bucket"),
        )

    def __str__(self) -> str:
        return f"{self.job} {self.at}"


class FailureGroup(models.Model):
    """Failures that look alike: same job, step, error type and message but for numbers."""

    fingerprint = models.CharField(max_length=32, primary_key=True)
    job = models.CharField(max_length=200)
    step = models.TextField(null=True, blank=True)
    error_type = models.CharField(max_length=200)
    message = models.TextField()
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField(db_index=True)
    last_run_id = models.UUIDField()

    def __str__(self) -> str:
        return f"{self.job}: {self.error_type}: {self.message[:80]}"


class FailureActivity(models.Model):
    """How often a group's failure happened in one minute or hour."""

    group = models.ForeignKey(
        FailureGroup, on_delete=models.CASCADE, related_name="activity", db_index=False
    )
    span = models.PositiveIntegerField(choices=Span.choices)
    at = models.DateTimeField()
    failed = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "failure activity"
        constraints = (
            models.UniqueConstraint(
                fields=("span", "at", "group"), name="one_failure_count_per_bucket"
            ),
        )

    def __str__(self) -> str:
        return f"{self.group_id} {self.at}"
