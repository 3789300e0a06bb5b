"""API tokens, and what was refused."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from runs import access
from runs.access import actor_of, tokens
from runs.admin.base import ReadOnlyAdmin
from runs.errors import ConflictError
from runs.models import ApiToken, DeniedAttempt


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Tokens of programs. What they are looked up by is shown nowhere."""

    actions = ("revoke",)
    payloads = ("digest",)
    list_display = ("name", "user", "shown_permissions", "last_used_at", "expires_at", "revoked_at")
    fields = (
        "name", "hint", "user", "shown_permissions", "labels", "created_at", "created_by",
        "expires_at", "last_used_at", "revoked_at", "revoked_by",
    )  # fmt: skip
    list_select_related = ("user",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return tokens.tokens_of(actor_of(request)).defer(*self.payloads).order_by(*self.ordering)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        actor = actor_of(request)
        return actor.may("runs.view_apitoken") or actor.may(access.MANAGE_TOKENS)

    @admin.display(description="permissions")
    def shown_permissions(self, token: ApiToken) -> str:
        """What it lets do."""
        return ", ".join(token.permissions)

    @admin.action(description="Revoke")
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """End tokens for good."""
        revoked = 0
        for token in queryset:
            try:
                tokens.revoke(token, actor=actor_of(request))
                revoked += 1
            except ConflictError as error:
                self.message_user(request, f"{error}.", messages.WARNING)
        if revoked:
            many = "1 token" if revoked == 1 else f"{revoked} tokens"
            self.message_user(request, f"Revoked: {many}.", messages.SUCCESS)


@admin.register(DeniedAttempt)
class DeniedAttemptAdmin(ReadOnlyAdmin):
    """What somebody tried and was not allowed to do."""

    is_total = True
    list_display = ("created_at", "actor", "operation", "target", "address", "count")
    fields = (*list_display, "detail")
    search_fields = ("actor", "target", "address")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return actor_of(request).may("runs.view_deniedattempt")
