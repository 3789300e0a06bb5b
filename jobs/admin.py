"""What the example jobs have stored, to look at."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.models import ImportedRow
from runs.admin.base import ReadOnlyAdmin


@admin.register(ImportedRow)
class ImportedRowAdmin(ReadOnlyAdmin):
    """Imported rows, newest first; those of one run by its id."""

    run_field = "run_id"
    list_display = ("run_id", "line_number", "data")
    search_fields = ("run_id",)
    search_help_text = "A run's id."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ImportedRow], search_term: str
    ) -> tuple[QuerySet[ImportedRow], bool]:
        """By the whole id, which is indexed; a part of one would read the whole table."""
        if not search_term.strip():
            return queryset, False
        try:
            found: Any = UUID(search_term.strip())
        except ValueError:
            return queryset.none(), False
        return queryset.filter(run_id=found).order_by("line_number"), False
