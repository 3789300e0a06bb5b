"""The permissions that pages, API, admin and commands go by."""

from __future__ import annotations

from runs.errors import ValidationError

VIEW = "runs.view_run"
TRIGGER = "runs.trigger_run"
OPERATE = "runs.operate_run"
DELETE = "runs.delete_run"

ALL = (VIEW, TRIGGER, OPERATE, DELETE)

#: To make and revoke everybody's tokens.
MANAGE_TOKENS = "runs.manage_tokens"

#: For ``TenantPolicy``.
SEE_ALL_TENANTS = "runs.see_all_tenants"

#: What each lets do, to go on from "may not".
WORDS = {
    VIEW: "see runs",
    TRIGGER: "trigger runs",
    OPERATE: "retry, repeat or cancel runs",
    DELETE: "delete runs",
    MANAGE_TOKENS: "manage API tokens",
    SEE_ALL_TENANTS: "see the runs of all tenants",
}

#: What is done to a run, and the permission that it takes.
OPERATIONS = {
    "read": VIEW,
    "retry": OPERATE,
    "retrigger": OPERATE,
    "cancel": OPERATE,
    "delete": DELETE,
}


def full_name(text: str, known: tuple[str, ...] = ALL) -> str:
    """The permission of that name, or short name: ``view``, ``trigger_run``, ``runs.delete_run``.

    Raises ValidationError.
    """
    wanted = text.strip()
    for name in known:
        codename = name.partition(".")[2]
        if wanted in (name, codename, short_name(name)):
            return name
    names = ", ".join(map(short_name, known))
    raise ValidationError(f"permission {wanted!r} is none of {names}")


def short_name(permission: str) -> str:
    """``view`` for ``runs.view_run``."""
    return permission.partition(".")[2].removesuffix("_run")
