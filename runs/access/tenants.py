"""A ready policy: tenants, told apart by a label of their runs, see nothing of each other."""

from __future__ import annotations

from collections.abc import Mapping

from runs import conf
from runs.access.actors import Actor
from runs.access.permissions import SEE_ALL_TENANTS
from runs.access.policy import AccessPolicy
from runs.models import Run, RunQuerySet

#: A person's tenants are the groups ``tenant:<value>`` that they are in.
GROUP_PREFIX = "tenant:"


class TenantPolicy(AccessPolicy):
    """An actor has to do with the runs of their own tenants only.

    A run's tenant is its label ``TENANT_LABEL``. A person's tenants are their groups named
    ``tenant:<value>``, a token's the value of its label; one that has none but a user has the
    user's. Without any, an actor sees nothing. Holders of ``runs.see_all_tenants`` see all runs.
    """

    permissions = (SEE_ALL_TENANTS,)

    def may_trigger(self, actor: Actor, job: str, labels: Mapping[str, str]) -> bool:
        return self._is_own(actor, labels)

    def may_access(self, actor: Actor, run: Run, operation: str) -> bool:
        return self._is_own(actor, run.labels)

    def scope_runs(self, actor: Actor, runs: RunQuerySet) -> RunQuerySet:
        own = tenants_of(actor)
        return runs if own is None else runs.with_any_label(conf.tenant_label(), sorted(own))

    def _is_own(self, actor: Actor, labels: Mapping[str, str]) -> bool:
        own = tenants_of(actor)
        return own is None or labels.get(conf.tenant_label()) in own


def tenants_of(actor: Actor) -> frozenset[str] | None:
    """The actor's tenants; None for all of them. Read once for an ``Actor`` object."""
    if "tenants" not in actor.memory:
        actor.memory["tenants"] = _read_tenants(actor)
    found: frozenset[str] | None = actor.memory["tenants"]
    return found


def _read_tenants(actor: Actor) -> frozenset[str] | None:
    own = _without_label(actor)
    named = actor.labels.get(conf.tenant_label())
    if named is None:
        return own
    # A label narrows what a user's token sees; for a token of its own it is all there is.
    is_theirs = actor.user is None or own is None or named in own
    return frozenset({named} if is_theirs else ())


def _without_label(actor: Actor) -> frozenset[str] | None:
    if actor.may(SEE_ALL_TENANTS):
        return None
    if actor.user is None:
        return frozenset()
    names = actor.user.groups.values_list("name", flat=True)
    found = (n.removeprefix(GROUP_PREFIX) for n in names if n.startswith(GROUP_PREFIX))
    return frozenset(filter(None, found))
