"""Runs and what hangs on them, with the operations as actions."""

from __future__ import annotations

import json
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs import access
from runs.access import actor_of
from runs.admin.base import (
    ACTED_ON,
    LISTED,
    NAMED_ERRORS,
    JobFilter,
    ReadOnlyAdmin,
    RecentFilter,
    payload,
    preformatted,
    some_runs,
)
from runs.errors import RunsError
from runs.models import Label, LogEntry, Run, RunEvent, Step
from runs.payloads import cut_text


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs, with the operations as actions."""

    run_field = "pk"
    names_runs = ("source_id", "parent_id")
    actions = ("retry", "run_again", "cancel", "delete")
    payloads = ("input", "output", "error_traceback")
    list_display = (
        "id", "job", "status", "attempt", "current_step", "created_at", "started_at",
        "finished_at", "triggered_by",
    )  # fmt: skip
    list_filter = ("status", JobFilter)
    search_fields = ("id",)
    search_help_text = "A run's id, a label as key:value, or a job's name."
    fieldsets = (
        (None, {"fields": (
            "id", "job", "status", "attempt", "shown_error", "shown_progress", "current_step",
            "step_count", "shown_labels", "shown_input", "shown_output", "shown_traceback",
            "belongings",
        )}),
        ("When and by whom", {"fields": (
            "triggered_by", "created_at", "run_at", "started_at", "finished_at", "source_id",
            "parent_id", "code_version", "release",
        )}),
        ("Queue", {"fields": (
            "priority", "idempotency_key", "concurrency_key", "held_key", "queued_at", "due_at",
            "lease_owner", "lease_expires_at", "lease_generation", "recoveries",
        )}),
    )  # fmt: skip

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who gets Retry, Run again and Cancel."""
        return actor_of(request).may(access.OPERATE)

    def has_remove_permission(self, request: HttpRequest) -> bool:
        """Who gets Delete."""
        return actor_of(request).may(access.DELETE)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        term = search_term.strip()
        key, separator, value = term.partition(":")
        if not term:
            return queryset, False
        if separator:
            newest = Label.objects.filter(key=key, value=value).order_by("-run_id")
            return queryset.filter(pk__in=newest.values("run_id")[:LISTED]), False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            return queryset.filter(job=term), False

    @admin.action(description="Retry", permissions=["operate"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Run failed or cancelled runs on, after their last completed step."""
        self._to_each(request, queryset, "retry", "Queued again")

    @admin.action(description="Run again", permissions=["operate"])
    def run_again(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Start new runs like these."""
        self._to_each(request, queryset, "retrigger", "Repeated")

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Cancel runs that are not over."""
        self._to_each(request, queryset, "cancel", "Cancelled")

    @admin.action(description="Delete", permissions=["remove"])
    def delete(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Delete runs that are over, with everything that hangs on them."""
        self._to_each(request, queryset, "delete", "Deleted")

    @admin.display(description="error")
    def shown_error(self, run: Run) -> str:
        """Type, message and step of the error."""
        return run.error or "-"

    @admin.display(description="progress")
    def shown_progress(self, run: Run) -> str:
        """The last progress."""
        return json.dumps(run.progress, ensure_ascii=False) if run.progress else "-"

    @admin.display(description="labels")
    def shown_labels(self, run: Run) -> str:
        """The labels, as the search takes them."""
        return ", ".join(f"{key}:{value}" for key, value in run.labels.items()) or "-"

    @admin.display(description="input")
    def shown_input(self, run: Run) -> SafeString:
        """The input, cut."""
        return payload(run.input)

    @admin.display(description="output")
    def shown_output(self, run: Run) -> SafeString:
        """The output, cut."""
        return payload(run.output)

    @admin.display(description="traceback")
    def shown_traceback(self, run: Run) -> SafeString:
        """The traceback, cut."""
        return preformatted(run.error_traceback or "")

    @admin.display(description="steps, log, history")
    def belongings(self, run: Run) -> SafeString:
        """Links to the lists of what belongs to the run."""
        lists = ("step", "logentry", "runevent")
        links = [reverse(f"admin:runs_{name}_changelist") for name in lists]
        return format_html(
            '<a href="{}?run={id}">Steps</a> · <a href="{}?run={id}">Log</a> · '
            '<a href="{}?run={id}">History</a>',
            *links,
            id=run.pk,
        )

    def _to_each(
        self,
        request: HttpRequest,
        queryset: QuerySet[Run],
        operation: str,
        done: str,
    ) -> None:
        """Apply an operation; what one run refuses leaves the others alone."""
        ids = list(queryset.values_list("pk", flat=True)[: ACTED_ON + 1])
        errors = []
        for id in ids[:ACTED_ON]:
            try:
                access.operate(actor_of(request), id, operation)
            except RunsError as error:
                errors.append(str(error))
        succeeded = len(ids[:ACTED_ON]) - len(errors)
        if succeeded:
            self.message_user(request, f"{done}: {some_runs(succeeded)}.", messages.SUCCESS)
        for text in errors[:NAMED_ERRORS]:
            self.message_user(request, text, messages.ERROR)
        if (more := len(errors) - NAMED_ERRORS) > 0:
            self.message_user(request, f"Refused as well: {some_runs(more)}.", messages.ERROR)
        if len(ids) > ACTED_ON:
            text = f"These were the first {ACTED_ON}; select and repeat for the rest."
            self.message_user(request, text, messages.WARNING)


@admin.register(Step)
class StepAdmin(ReadOnlyAdmin):
    """Checkpoints."""

    run_field = "run_id"
    payloads = ("output", "error_traceback")
    list_display = ("name", "run_link", "index", "status", "attempts", "started_at", "finished_at")
    list_filter = (("status", RecentFilter),)
    fields = (
        "run_link", "name", "index", "status", "attempts", "started_at", "finished_at", "error",
        "shown_output", "shown_traceback",
    )  # fmt: skip

    @admin.display(description="output")
    def shown_output(self, step: Step) -> SafeString:
        """The result, cut."""
        return payload(step.output)

    @admin.display(description="traceback")
    def shown_traceback(self, step: Step) -> SafeString:
        """The traceback, cut."""
        return preformatted(step.error_traceback or "")


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """Log lines."""

    run_field = "run_id"
    payloads = ("data",)
    list_display = ("created_at", "level", "message_start", "step", "run_link")
    list_filter = (("level", RecentFilter),)
    fields = ("run_link", "step", "level", "message", "shown_data", "created_at")

    @admin.display(description="message")
    def message_start(self, entry: LogEntry) -> str:
        """The message, cut to a line."""
        return cut_text(entry.message, 120)

    @admin.display(description="data")
    def shown_data(self, entry: LogEntry) -> SafeString:
        """The data, cut."""
        return payload(entry.data)


@admin.register(RunEvent)
class RunEventAdmin(ReadOnlyAdmin):
    """What happened to runs, and who did it."""

    run_field = "run_id"
    names_runs = ("shown_data",)
    list_display = ("created_at", "kind", "actor", "reason", "run_link")
    list_filter = (("kind", RecentFilter),)
    fields = ("run_link", "kind", "actor", "reason", "shown_data", "created_at")

    @admin.display(description="data")
    def shown_data(self, event: RunEvent) -> SafeString:
        """What else is known about it."""
        return payload(event.data)


@admin.register(Label)
class LabelAdmin(ReadOnlyAdmin):
    """Labels of runs."""

    run_field = "run_id"
    list_display = ("__str__", "run_link")
    fields = ("run_link", "key", "value")
