"""The questions that pages, API, admin and commands ask before they show or do anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn
from uuid import UUID

from runs.access import denied
from runs.access.actors import Actor
from runs.access.permissions import OPERATIONS, VIEW, WORDS
from runs.access.policy import allows_access, allows_trigger, scope
from runs.engine.lookups import as_id
from runs.errors import NotFoundError, PermissionDeniedError
from runs.models import Run, RunQuerySet


def require(actor: Actor, permission: str, *, target: str = "") -> None:
    """Raise PermissionDeniedError, and record it, if the actor lacks the permission."""
    if not actor.may(permission):
        deny(actor, permission, target, _lacks(actor, permission))


def require_for_all(actor: Actor, permission: str, *, target: str = "") -> None:
    """The same for what concerns everybody's runs, such as a pause of a job: the actor has to
    see them all.
    """
    require(actor, permission, target=target)
    if not sees_all_runs(actor):
        deny(actor, permission, target, f"{actor.name} may not do this for everybody's runs.")


def deny(actor: Actor, operation: str, target: str, problem: str) -> NoReturn:
    """Record a refused attempt, and raise PermissionDeniedError."""
    denied.record(actor, operation, target, problem)
    raise PermissionDeniedError(problem)


def visible_runs(actor: Actor) -> RunQuerySet:
    """The runs that the actor may see: none without the permission."""
    return scoped(actor, Run.objects.all()) if actor.may(VIEW) else Run.objects.none()


def scoped(actor: Actor, runs: RunQuerySet) -> RunQuerySet:
    """What the policy leaves of the runs, whatever the permissions. Before it is sliced."""
    return scope(actor, runs)


def sees_all_runs(actor: Actor) -> bool:
    """Whether the policy hides no run from the actor, so that total figures may be shown."""
    every = Run.objects.all()
    return scope(actor, every) is every


def visible_ids(actor: Actor, ids: Iterable[UUID]) -> set[UUID]:
    """Those of the runs that the policy shows; one query, none for who sees all runs.

    For who does, ids of runs that are gone stay among them.
    """
    wanted = set(ids)
    if not wanted or sees_all_runs(actor):
        return wanted
    return set(scoped(actor, Run.objects.filter(pk__in=wanted)).values_list("pk", flat=True))


def is_visible(actor: Actor, run: Run) -> bool:
    """Whether the policy shows the run, whatever the permissions."""
    return bool(visible_ids(actor, [run.pk])) and allows_access(actor, run, "read")


def may(actor: Actor, run: Run, operation: str) -> bool:
    """Whether the actor may do this to this run: read, retry, retrigger, cancel, delete."""
    return is_visible(actor, run) and not refusal(actor, run, operation)


def refusal(actor: Actor, run: Run, operation: str) -> str:
    """Why the actor may not do this to a run that isn't hidden from them; empty if they may."""
    if not actor.may(OPERATIONS[operation]):
        return _lacks(actor, OPERATIONS[operation])
    if not allows_access(actor, run, operation):
        return f"{actor.name} may not {operation} run {run.pk}."
    if operation == "retrigger" and not allows_trigger(actor, run.job, run.labels):
        return f"{actor.name} may not trigger {run.job} with the labels of run {run.pk}."
    return ""


def get_run(
    actor: Actor, run: UUID | str, operation: str = "read", *, runs: RunQuerySet | None = None
) -> Run:
    """The run, if the actor may do this to it. ``runs`` are those to look in.

    Raises NotFoundError for one that the policy hides, as if it didn't exist, and
    PermissionDeniedError without the permission, whether or not the run exists, and for
    one that may be seen but not operated on.
    """
    require(actor, OPERATIONS[operation], target=str(run))
    id = as_id(run)
    found = scoped(actor, Run.objects.all() if runs is None else runs).filter(pk=id).first()
    if found is None or not allows_access(actor, found, "read"):
        if found is not None or Run.objects.filter(pk=id).exists():
            denied.record(actor, operation, str(id), "The access policy hides this run.")
        raise NotFoundError(f"There is no run {id}")
    if operation != "read" and (problem := refusal(actor, found, operation)):
        deny(actor, operation, str(id), problem)
    return found


def _lacks(actor: Actor, permission: str) -> str:
    return f"{actor.name} may not {WORDS.get(permission, permission)}."
