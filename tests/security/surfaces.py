"""Every address of the site that takes something, and what it takes.

A new form needs an entry in ``FORMS``, a new page or parameter one in ``PAGES``, or tests of
``test_csrf`` and ``test_fuzz`` fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.urls import URLPattern, URLResolver, get_resolver

from runs.models import BulkAction, Run
from tests.pages import factories

FINGERPRINT = "a" * 32

#: Those of the run list.
FILTERS = ("status", "job", "label", "q", "since", "until", "failure", "cursor")
_STEPS = ("step", "steps", "steps_before", "steps_after", "step_seq", "idle", "frames", "seen")
_LOG = ("level", "log", "attempts")

#: Pages and parts of pages, by route, with the query parameters that they read.
PAGES: dict[str, tuple[str, ...]] = {
    "": ("range", "fragment"),
    "runs/": FILTERS,
    "runs/live/": (*FILTERS, "shown", "top"),
    "runs/counts/": FILTERS,
    "runs/<uuid:id>/": (*_STEPS, *_LOG, "log_before"),
    "runs/<uuid:id>/live/": _STEPS,
    "runs/<uuid:id>/log/": (*_LOG, "as", "before", "after"),
    "runs/<uuid:id>/<run_field:field>.json": ("name",),
    "jobs/": (),
    "jobs/<str:name>/": ("as", "from"),
    "jobs/<str:name>/live/": (),
    "failures/": ("seen", "q", "job", "fragment"),
    "failures/<fingerprint:fingerprint>/": ("fragment",),
    "workers/": ("fragment",),
    "bulk/": ("before",),
    "bulk/<uuid:id>/": ("only", "after"),
    "bulk/<uuid:id>/live/": ("only", "after"),
    "storage/": ("days", "of", "fragment"),
    "tokens/": ("before",),
    "password/": (),
    "login/": ("next",),
    "login/once/<str:uidb64>/<str:token>/": (),
    "live/": ("topic", "after"),
    "admin/login/": ("next",),
}

_INPUT = (
    "input", "input.name", "input.count", "input.size", "input.weight", "rows.lines",
    "input.lines[0]", "input.letter", "upload.letter",
)  # fmt: skip

#: Forms, by route, with their fields; those of Django's admin that a superuser gets are below.
FORMS: dict[str, tuple[str, ...]] = {
    "login/": ("username", "password", "next"),
    "logout/": ("next",),
    "password/": ("old_password", "new_password1", "new_password2"),
    "preferences/": ("theme", "zone", "next"),
    "jobs/<str:name>/": (
        "do", "reason", "as", "add", "remove", "source", "labels", "concurrency_key",
        "idempotency_key", "priority", "run_at", "coalesce", *_INPUT,
    ),
    "runs/<uuid:id>/": ("do", "reason"),
    "bulk/": ("do", "confirm", "run", "all", "filters", "reason", "bound", "action"),
    "bulk/<uuid:id>/": ("do",),
    "tokens/": ("name", "permission", "lifetime", "labels", "revoke"),
}  # fmt: skip

_ACTIONS = ("action", "_selected_action", "select_across", "index")


def _lists() -> dict[str, tuple[str, ...]]:
    """The lists of the admin, with what each may be filtered by."""
    found: dict[str, tuple[str, ...]] = {}
    for model in apps.get_app_config("runs").get_models():
        own = ("status__exact", "job", "level__exact", "kind__exact", "run", "registered__exact")
        found[f"admin/runs/{model._meta.model_name}/"] = ("q", "p", "o", "e", "all", *own)
    return found


#: Lists of Django's admin: as pages, and for those with actions as forms.
ADMIN_LISTS = _lists()
ADMIN_FORMS: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("admin/runs/run/", "admin/runs/apitoken/"), _ACTIONS
)

#: Routes that may answer a POST and are no form of a page, and what sees to it that a page of
#: another site can't send one.
OTHER_POSTS = {
    r"api/.*": "its credentials: a session needs the token, a program has no session",
    r"api": "nothing is there",
    r"healthz|readyz": "only read",
    r"admin/.*": "Django's; what has actions is in ADMIN_FORMS, and nothing else is changed there",
}


@dataclass(frozen=True)
class Things:
    """Something of everything that an address can be about."""

    run: Run
    action: BulkAction
    places: dict[str, str] = field(default_factory=dict)

    def path(self, route: str) -> str:
        """The address of a route, about these."""
        here = {
            "<uuid:id>": str(self.action.pk if route.startswith("bulk/") else self.run.pk),
            "<id>": str(self.run.pk),
            "<path:object_id>": str(self.run.pk),
            "<path:content_type_id>": "1",
            "<run_field:field>": "step",
            "<fingerprint:fingerprint>": FINGERPRINT,
            "<str:name>": "parcel",
            "<name>": "parcel",
            "<str:uidb64>": "x",
            "<str:token>": "x",
            "^(?P<app_label>auth|runs|jobs)/$": "runs/",
            "(?P<url>.*)$": "nowhere",
            "^.*$": "nowhere",
            **self.places,
        }
        path = route
        for place, value in here.items():
            path = path.replace(place, value)
        assert not re.search(r"[<>^$]", path), path
        return f"/{path}"


def make_things() -> Things:
    """A failed run with steps, a log and a history, and a bulk action."""
    run = factories.failed_run(
        job="parcel", input={"name": "x"}, error_fingerprint=FINGERPRINT, labels={"tenant": "acme"}
    )
    factories.step(run, "one", output={"a": 1})
    factories.step(run, "pay", None, error_type="CardError", error_message="no funds")
    factories.log(run, "hello", step="one", data={"a": 1})
    factories.event(run, "started")
    action = BulkAction.objects.create(
        kind="retry", actor="ann", bound=run.pk, expected=1, created_at=run.created_at
    )
    return Things(run, action)


def routes(resolver: Any = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every route of the site, and its view."""
    for each in (resolver or get_resolver()).url_patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from routes(each, route)
        else:
            assert isinstance(each, URLPattern)
            yield route, each.callback
