"""Jobs, workers, bulk actions and statistics."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from runs.access import actor_of
from runs.admin.base import ReadOnlyAdmin, payload
from runs.models import (
    Activity,
    BulkAction,
    BulkItem,
    Chore,
    FailureActivity,
    FailureGroup,
    Job,
    JobEvent,
    Worker,
)


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Jobs, as the code defines them."""

    ordering = ("name",)
    payloads = ("description", "input_schema", "output_schema")
    list_display = (
        "name", "title", "registered", "paused_at", "priority", "source", "synced_at",
    )  # fmt: skip
    list_filter = ("registered",)
    fields = (
        "name", "title", "description", "registered", "tags", "priority", "source",
        "paused_at", "paused_by", "pause_reason", "code_version", "shown_input_schema",
        "shown_output_schema", "synced_at",
    )  # fmt: skip

    @admin.display(description="input schema")
    def shown_input_schema(self, job: Job) -> SafeString:
        """What inputs are valid."""
        return payload(job.input_schema)

    @admin.display(description="output schema")
    def shown_output_schema(self, job: Job) -> SafeString:
        """What outputs look like."""
        return payload(job.output_schema)


@admin.register(JobEvent)
class JobEventAdmin(ReadOnlyAdmin):
    """When jobs were paused and resumed, by whom and why."""

    list_display = ("id", "job_id", "kind", "actor", "reason", "created_at")
    list_filter = ("kind",)
    fields = ("job", "kind", "actor", "reason", "created_at")


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Worker processes, past and present."""

    ordering = ("-started_at",)
    payloads = ("jobs",)
    list_display = ("__str__", "concurrency", "started_at", "heartbeat_at", "stopped_at", "release")
    fields = (
        "id", "host", "pid", "concurrency", "jobs", "release", "started_at", "heartbeat_at",
        "stopped_at",
    )  # fmt: skip


@admin.register(BulkAction)
class BulkActionAdmin(ReadOnlyAdmin):
    """Operations on many runs."""

    payloads = ("selection",)
    list_display = ("id", "kind", "status", "actor", "done", "refused", "created_at")
    fields = (
        "id", "kind", "status", "filters", "actor", "reason", "expected", "done", "refused",
        "created_at", "started_at", "finished_at", "aborted_by",
    )  # fmt: skip

    def part(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Those that the person ordered."""
        return rows.filter(actor_reference=actor_of(request).reference)


@admin.register(BulkItem)
class BulkItemAdmin(ReadOnlyAdmin):
    """What bulk actions did to each run."""

    list_display = ("id", "action_id", "run_id", "job", "done", "message", "created_at")
    fields = ("action", "run_id", "job", "done", "message", "result_id", "created_at")

    def part(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Of the actions that the person ordered."""
        return rows.filter(action__actor_reference=actor_of(request).reference)


@admin.register(Activity)
class ActivityAdmin(ReadOnlyAdmin):
    """Counts by job and minute or hour."""

    is_total = True
    list_display = (
        "at", "span", "job", "triggered", "started", "completed", "failed", "cancelled",
    )  # fmt: skip
    fields = list_display


@admin.register(FailureGroup)
class FailureGroupAdmin(ReadOnlyAdmin):
    """Failures that look alike."""

    is_total = True
    ordering = ("-last_seen",)
    list_display = ("fingerprint", "job", "step", "error_type", "first_seen", "last_seen")
    fields = (*list_display, "message", "last_run_id")


@admin.register(FailureActivity)
class FailureActivityAdmin(ReadOnlyAdmin):
    """Counts of failures by group and minute or hour."""

    is_total = True
    list_display = ("at", "span", "group_id", "failed")
    fields = ("at", "span", "group", "failed")


@admin.register(Chore)
class ChoreAdmin(ReadOnlyAdmin):
    """Periodic work of the workers."""

    ordering = ("name",)
    list_display = ("name", "due_at", "position", "lease_owner", "lease_expires_at")
    fields = list_display
