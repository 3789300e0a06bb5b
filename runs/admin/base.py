"""What all admin pages share: read-only, bounded, for those who may see runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, ValidationError
from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs import access
from runs.access import actor_of
from runs.errors import NotFoundError, RunsError
from runs.models import Job, Run
from runs.payloads import cut_text

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
    _ModelAdmin = admin.ModelAdmin[Any]
else:  # generic for type checkers only
    _Paginator, _ModelAdmin = Paginator, admin.ModelAdmin

#: Lists end here; what is older is found by a filter or by its id.
LISTED = 5_000
#: Rows that a filter without an index looks at.
SEARCHED = 20_000
#: Most runs that one action takes on, and most errors that it names.
ACTED_ON = 500
NAMED_ERRORS = 10
_PAYLOAD_CHARACTERS = 10_000


class BoundedPaginator(_Paginator):
    """Counts no further than LISTED."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        counted: int = rows.order_by()[:LISTED].count()
        return counted


class ReadOnlyAdmin(_ModelAdmin):
    """Rows to look at, for all who may see runs: those of the runs that there are for them."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count the whole table, once a filter
    sortable_by = ()
    ordering = ("-id",)
    list_per_page = 50
    #: Columns that lists leave unread.
    payloads: tuple[str, ...] = ()
    #: Where a row names its run; empty for rows that belong to none.
    run_field = ""
    #: Whether rows are counted from everybody's runs.
    is_total = False
    #: Fields that may name other runs.
    names_runs: tuple[str, ...] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).defer(*self.payloads)
        return rows if access.sees_all_runs(actor_of(request)) else self.part(request, rows)

    def part(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """The rows for somebody who sees a part of the runs."""
        if self.is_total:
            return rows.none()
        if not self.run_field:
            return rows
        own = Run.objects.filter(pk=OuterRef(self.run_field))
        return rows.filter(Exists(access.scoped(actor_of(request), own)))

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any | None:
        """The row, if there is one for the person and its run may be read."""
        if "\x00" in object_id:
            return None
        found = super().get_object(request, object_id, from_field)
        if not self.run_field:
            return found
        run, actor = (
            object_id if found is None else getattr(found, self.run_field),
            actor_of(request),
        )
        try:
            access.get_run(actor, run)
        except NotFoundError:
            # Of a run that was deleted, what is left is for who sees all.
            is_left = found is not None and not Run.objects.filter(pk=run).exists()
            return found if is_left and access.sees_all_runs(actor) else None
        except RunsError:
            return None
        return found

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list. Refuses what can be no value or key, on which Django would fail."""
        if "\x00" in unquote(request.META.get("QUERY_STRING", "")):
            raise BadRequest("The address has a character that no value has.")
        for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                self.opts.pk.clean(key, None)
            except ValidationError:
                raise BadRequest("A row was selected that can't be there.") from None
        return super().changelist_view(request, extra_context)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if access.sees_all_runs(actor_of(request)):
            return fieldsets
        return [
            (name, {**rest, "fields": [f for f in rest["fields"] if f not in self.names_runs]})
            for name, rest in fieldsets
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return actor_of(request).may(access.VIEW)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="run")
    def run_link(self, row: Any) -> SafeString:
        """The run that a row belongs to, without loading it."""
        return link("runs_run_change", str(row.run_id), row.run_id)


class JobFilter(admin.SimpleListFilter):
    """By job, with the names from the jobs' own table: the runs' would have to be searched."""

    title = "job"
    parameter_name = "job"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in Job.objects.values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(job=self.value()) if self.value() else queryset


class RecentFilter(admin.ChoicesFieldListFilter):
    """By a column without an index: looks at the newest rows only, unless those of one run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = f"{self.title} (newest {SEARCHED:,})"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        found = super().queryset(request, queryset)
        if found is None or not self.used_parameters or "run" in request.GET:
            return found
        newest = queryset.model.objects.order_by("-pk").values_list("pk", flat=True).first()
        return found.filter(pk__gt=(newest or 0) - SEARCHED)


def payload(value: Any) -> SafeString:
    """A JSON value, indented and cut."""
    return preformatted(json.dumps(value, indent=2, ensure_ascii=False))


def preformatted(text: str) -> SafeString:
    """Text as it is, cut."""
    return format_html("<pre>{}</pre>", cut_text(text, _PAYLOAD_CHARACTERS))


def link(view: str, id: str, text: Any) -> SafeString:
    """A link to a row's page."""
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{view}", args=(id,)), text)


def some_runs(count: int) -> str:
    """``1 run``, ``2 runs``."""
    return "1 run" if count == 1 else f"{count} runs"
