"""Who may see and do what: one answer for pages, API, admin and commands.

``permissions`` names what may be granted, ``actors`` who asks, ``policy`` the class that an
installation may replace, ``tenants`` a ready one; ``guard`` answers questions, ``doing`` acts in
an actor's name, ``tokens`` lets programs in, ``attempts`` limits guessing, ``denied`` records
what was refused.
"""

from __future__ import annotations

from runs.access.actors import Actor, actor_by_reference, actor_of, as_actor
from runs.access.doing import batch_trigger, naming_no_hidden_run, operate, trigger
from runs.access.guard import (
    get_run,
    is_visible,
    may,
    refusal,
    require,
    require_for_all,
    scoped,
    sees_all_runs,
    visible_ids,
    visible_runs,
)
from runs.access.permissions import (
    ALL,
    DELETE,
    MANAGE_TOKENS,
    OPERATE,
    OPERATIONS,
    TRIGGER,
    VIEW,
)
from runs.access.policy import AccessPolicy, asks_about_each_run

__all__ = [
    "ALL",
    "DELETE",
    "MANAGE_TOKENS",
    "OPERATE",
    "OPERATIONS",
    "TRIGGER",
    "VIEW",
    "AccessPolicy",
    "Actor",
    "actor_by_reference",
    "actor_of",
    "as_actor",
    "asks_about_each_run",
    "batch_trigger",
    "get_run",
    "is_visible",
    "may",
    "naming_no_hidden_run",
    "operate",
    "refusal",
    "require",
    "require_for_all",
    "scoped",
    "sees_all_runs",
    "trigger",
    "visible_ids",
    "visible_runs",
]
