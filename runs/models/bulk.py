"""Bulk actions: one operation on many runs."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from runs.fields import JSONTextField
from runs.models.runs import new_id


class BulkStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    ABORTED = "aborted", "Aborted"


class BulkKind(models.TextChoices):
    RETRY = "retry", "Retry"
    RETRIGGER = "retrigger", "Run again"
    CANCEL = "cancel", "Cancel"
    DELETE = "delete", "Delete"


class BulkAction(models.Model):
    """One operation on many runs: of a selection, or of all that match a filter.

    Workers do it run by run, newest first, down from ``bound``; ``cursor`` is the last run
    that was looked at. Runs triggered after it was made are not touched.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=10, choices=BulkKind.choices)
    status = models.CharField(max_length=10, choices=BulkStatus.choices, default=BulkStatus.PENDING)
    filters = models.TextField(blank=True, help_text="The run list's query string.")
    selection = JSONTextField(null=True, blank=True, help_text="Run ids; null means all matching.")
    actor = models.CharField(max_length=200)
    actor_reference = models.CharField(
        max_length=100, null=True, blank=True, help_text="Whose rights it has; null: code's."
    )
    reason = models.TextField(blank=True)
    bound = models.UUIDField(help_text="The newest run there was.")
    cursor = models.UUIDField(null=True, blank=True)
    expected = models.PositiveIntegerField(help_text="How many matched when it was made.")
    expected_is_exact = models.BooleanField(default=True)
    done = models.PositiveIntegerField(default=0, help_text="Runs it was done to.")
    refused = models.PositiveIntegerField(default=0, help_text="Runs whose state forbade it.")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    aborted_by = models.CharField(max_length=200, blank=True)
    lease_owner = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(
                fields=("id",),
                name="bulk_open",
                condition=Q(status__in=("pending", "running")),
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.id}"

    @property
    def is_over(self) -> bool:
        return self.status in (BulkStatus.COMPLETED, BulkStatus.ABORTED)


class BulkItem(models.Model):
    """What a bulk action did to one run."""

    action = models.ForeignKey(
        BulkAction, on_delete=models.CASCADE, related_name="items", db_index=False
    )
    run_id = models.UUIDField()
    job = models.CharField(max_length=200)
    done = models.BooleanField()
    message = models.TextField(blank=True, help_text="Why it was refused.")
    result_id = models.UUIDField(null=True, blank=True, help_text="The new run, of Run again.")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("action", "run_id"), name="one_outcome_per_run"),
        )

    def __str__(self) -> str:
        return f"{self.run_id}: {'done' if self.done else self.message}"
