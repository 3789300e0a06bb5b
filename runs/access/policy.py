"""Who may do what to which runs, beyond permissions: a class that an installation may replace."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from runs import conf
from runs.access.actors import Actor
from runs.models import Run, RunQuerySet

logger = logging.getLogger(__name__)


class AccessPolicy:
    """Everybody may do with every run what their permissions say.

    Subclass it, override hooks, and name the subclass in the setting ``ACCESS_POLICY``.
    Permissions are asked first. A hook that raises, or returns anything but ``True`` (or,
    for ``scope_runs``, runs), denies.
    """

    #: Permissions of the policy's own, which tokens can be given too.
    permissions: tuple[str, ...] = ()

    def may_trigger(self, actor: Actor, job: str, labels: Mapping[str, str]) -> bool:
        """Whether the actor may trigger this job with these labels."""
        return True

    def may_access(self, actor: Actor, run: Run, operation: str) -> bool:
        """Whether the actor may do this to this run: read, retry, retrigger, cancel, delete.

        Asked only about runs that ``scope_runs`` leaves.
        """
        return True

    def scope_runs(self, actor: Actor, runs: RunQuerySet) -> RunQuerySet:
        """The part of ``runs`` that there is for the actor, on pages, in figures and streams.

        Return ``runs`` itself, the same object, if the actor may see all of them: pages
        then show figures that cover everything.
        """
        return runs


@functools.cache
def current_policy() -> AccessPolicy:
    """The policy that ``ACCESS_POLICY`` names."""
    policy: AccessPolicy = import_string(conf.access_policy())()
    return policy


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "ACCESS_POLICY":
        current_policy.cache_clear()


setting_changed.connect(_forget)


def asks_about_each_run() -> bool:
    """Whether the policy may refuse what it shows: then only asking it about a run tells."""
    policy, base = type(current_policy()), AccessPolicy
    return policy.may_access != base.may_access or policy.may_trigger != base.may_trigger


def allows_trigger(actor: Actor, job: str, labels: Mapping[str, str]) -> bool:
    """What the policy says, closed on failure."""
    return _is_true("may_trigger", actor, job, labels)


def allows_access(actor: Actor, run: Run, operation: str) -> bool:
    """What the policy says, closed on failure."""
    return _is_true("may_access", actor, run, operation)


def scope(actor: Actor, runs: RunQuerySet) -> RunQuerySet:
    """What the policy leaves of the runs, closed on failure."""
    try:
        left = current_policy().scope_runs(actor, runs)
    except Exception:
        logger.exception("The access policy failed in scope_runs: no run is shown")
        return runs.none()
    if not isinstance(left, RunQuerySet):
        logger.error("The access policy's scope_runs returned %r: no run is shown", left)
        return runs.none()
    return left


def _is_true(hook: str, *arguments: Any) -> bool:
    try:
        answer = getattr(current_policy(), hook)(*arguments)
    except Exception:
        logger.exception("The access policy failed in %s: denied", hook)
        return False
    return answer is True
