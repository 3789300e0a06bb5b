"""Actors, and policies for them to be told apart by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import Group, Permission, User

from runs.access import ALL, AccessPolicy, Actor, tokens
from runs.models import ApiToken, Run, RunQuerySet

TENANTS = "runs.access.tenants.TenantPolicy"


def person(name: str = "ann", *permissions: str, tenants: tuple[str, ...] = ()) -> Actor:
    """Somebody with these permissions of ``runs`` (of none named: all but the special ones)."""
    names = permissions or ALL
    user = User.objects.create_user(name, password="pass")
    user.user_permissions.set(held(*names))
    for tenant in tenants:
        user.groups.add(Group.objects.get_or_create(name=f"tenant:{tenant}")[0])
    return Actor(name, User.objects.get(pk=user.pk))


def held(*permissions: str) -> Any:
    """The rows of permissions of ``runs``."""
    codenames = [name.removeprefix("runs.") for name in permissions]
    return Permission.objects.filter(content_type__app_label="runs", codename__in=codenames)


def token(name: str = "ci", *permissions: str, **options: Any) -> tuple[ApiToken, str]:
    """A token with these permissions (of none named: all), and its secret."""
    return tokens.create(name, permissions=permissions or ALL, **options)


def program(name: str = "ci", *permissions: str, **options: Any) -> Actor:
    """Who holds such a token."""
    found = tokens.authenticate(token(name, *permissions, **options)[1])
    assert found is not None
    return found


class Odd(AccessPolicy):
    """Answers what a test wants it to, or raises it."""

    answer: Any = True
    scoped: Any = "all"

    def may_trigger(self, actor: Actor, job: str, labels: Mapping[str, str]) -> bool:
        return self._answer()  # type: ignore[no-any-return]

    def may_access(self, actor: Actor, run: Run, operation: str) -> bool:
        return self._answer()  # type: ignore[no-any-return]

    def scope_runs(self, actor: Actor, runs: RunQuerySet) -> RunQuerySet:
        if isinstance(self.scoped, Exception):
            raise self.scoped
        return runs if self.scoped == "all" else self.scoped

    def _answer(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class OwnRuns(AccessPolicy):
    """Everybody sees what they triggered, and may do all but delete."""

    def may_access(self, actor: Actor, run: Run, operation: str) -> bool:
        return operation != "delete"

    def scope_runs(self, actor: Actor, runs: RunQuerySet) -> RunQuerySet:
        return runs.filter(triggered_by=actor.name)
