"""Every address of the site, and what each of them takes: the table of ``test_matrix``.

A new route needs a ``Row`` here, or ``test_every_route_is_in_the_table`` fails.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps

from runs.access import DELETE, OPERATE, TRIGGER, VIEW
from runs.models import BulkAction, Run

#: Nobody has it: what nobody may do who sees a part of the runs.
NEVER = "never"


@dataclass
class Case:
    """What a request is about: something of the actor's tenant, or of another's."""

    run: Run
    action: BulkAction
    labels: dict[str, str]


Fill = Callable[[Case], Any]


@dataclass(frozen=True)
class Row:
    """A route and a method, what they take, and the answer to who may and who may not."""

    route: str
    method: str = "GET"
    needs: tuple[str, ...] = (VIEW,)
    ok: int = 200
    #: The answer about what is another tenant's; None if the request is about nothing of anybody.
    foreign: int | None = None
    query: str | Fill = ""
    data: Mapping[str, Any] | Fill = field(default_factory=dict)
    #: In which state the run is.
    status: str = "failed"
    #: For routes that go by no permission: by the kind of actor, ``anonymous`` or ``other``.
    always: Mapping[str, int] | None = None

    def path(self, case: Case) -> str:
        """The address, about this case."""
        places = {
            "<uuid:id>": str(case.action.pk if self.route.startswith("bulk/") else case.run.pk),
            "<id>": str(case.run.pk),
            "{id}": str(case.run.pk),
            "<run_field:field>": "input",
            "<fingerprint:fingerprint>": str(case.run.error_fingerprint),
            "<str:name>": "example",
            "{name}": "example",
            "<str:uidb64>": "x",
            "<str:token>": "x",
        }
        path = self.route
        for place, value in places.items():
            path = path.replace(place, value)
        query = self.query(case) if callable(self.query) else self.query
        return f"/{path}{query}"

    def body(self, case: Case) -> Any:
        """What is posted."""
        return self.data(case) if callable(self.data) else dict(self.data)


def anybody(route: str, method: str = "GET", ok: int = 200, signed_in: int | None = None) -> Row:
    """A route that asks for no permission."""
    other = ok if signed_in is None else signed_in
    return Row(route, method, (), always={"anonymous": ok, "other": other})


def labels_of(case: Case) -> str:
    return "\n".join(f"{key}:{value}" for key, value in case.labels.items())


def operate(action: str, needs: str = OPERATE, status: str = "failed") -> Row:
    """A button of a run's page."""
    return Row(
        "runs/<uuid:id>/", "POST", (VIEW, needs), 302, 404, data={"do": action}, status=status
    )


PAGES = [
    Row(""),
    Row("runs/"),
    Row("runs/live/", query=lambda case: f"?shown={case.run.pk}", foreign=200),
    Row("runs/counts/"),
    Row("runs/<uuid:id>/", foreign=404),
    operate("retry"),
    operate("retrigger"),
    operate("cancel", status="pending"),
    operate("delete", DELETE),
    Row("runs/<uuid:id>/live/", foreign=404),
    Row("runs/<uuid:id>/log/", foreign=404),
    Row("runs/<uuid:id>/log/", foreign=404, query="?as=txt"),
    Row("runs/<uuid:id>/<run_field:field>.json", foreign=404),
    Row("jobs/"),
    Row("jobs/<str:name>/"),
    Row(
        "jobs/<str:name>/", "POST", (VIEW, TRIGGER), 302, 403,
        data=lambda case: {"input": "{}", "labels": labels_of(case)},
    ),
    Row("jobs/<str:name>/", "POST", (VIEW, NEVER), data={"do": "pause"}),
    Row("jobs/<str:name>/live/"),
    Row("failures/"),
    Row("failures/<fingerprint:fingerprint>/", foreign=404),
    Row("workers/"),
    Row("storage/", needs=(VIEW, NEVER)),
    Row("bulk/"),
    Row(
        "bulk/", "POST", (VIEW, OPERATE), 200, 200,
        data=lambda case: {"do": "retry", "run": str(case.run.pk)},
    ),
    Row(
        "bulk/", "POST", (VIEW, DELETE), 302, 302,
        data=lambda case: {"do": "delete", "confirm": "1", "run": str(case.run.pk)},
    ),
    Row("bulk/<uuid:id>/", foreign=404),
    Row("bulk/<uuid:id>/", "POST", (VIEW, OPERATE), 302, 404, data={"do": "abort"}),
    Row("bulk/<uuid:id>/live/", foreign=404),
    Row("tokens/", needs=()),
    Row(
        "tokens/", "POST",
        data=lambda _: {"name": uuid.uuid4().hex, "permission": VIEW, "lifetime": "30"},
    ),
    Row("password/", needs=()),
    anybody("login/", signed_in=302),
    anybody("login/once/<str:uidb64>/<str:token>/", ok=302),
    anybody("logout/", "POST", 302),
    anybody("preferences/", "POST", 302),
    anybody("healthz"),
    anybody("readyz"),
]  # fmt: skip

_TRIGGER: Fill = lambda case: {"input": {}, "labels": case.labels}  # noqa: E731 (one line of a table)
_BATCH: Fill = lambda case: {"items": [{"input": {}, "labels": case.labels}]}  # noqa: E731

#: Paths as the OpenAPI description has them; streams are in STREAMS.
API = [
    anybody("api/openapi.json"),
    anybody("api/docs"),
    Row("api/jobs"),
    Row("api/jobs/{name}"),
    Row("api/jobs/{name}/trigger", "POST", (TRIGGER,), 201, 403, data=_TRIGGER),
    Row("api/jobs/{name}/trigger-batch", "POST", (TRIGGER,), 201, 403, data=_BATCH),
    Row("api/jobs/{name}/pause", "POST", (NEVER,)),
    Row("api/jobs/{name}/resume", "POST", (NEVER,)),
    Row("api/runs"),
    Row("api/runs/{id}", foreign=404),
    Row("api/runs/{id}", "DELETE", (DELETE,), 204, 404),
    Row("api/runs/{id}/steps", foreign=404),
    Row("api/runs/{id}/logs", foreign=404),
    Row("api/runs/{id}/history", foreign=404),
    Row("api/runs/{id}/retry", "POST", (OPERATE,), 200, 404),
    Row("api/runs/{id}/retrigger", "POST", (OPERATE,), 201, 404),
    Row("api/runs/{id}/cancel", "POST", (OPERATE,), 200, 404, status="pending"),
]

_ID: Fill = lambda case: f"?runId={case.run.pk}"  # noqa: E731

DURABLY = [
    Row(
        "api/durably/trigger", "POST", (TRIGGER,), 200, 403,
        data=lambda case: {"jobName": "example", "input": {}, "labels": case.labels},
    ),
    Row("api/durably/retrigger", "POST", (VIEW, OPERATE), 200, 404, query=_ID),
    Row("api/durably/cancel", "POST", (VIEW, OPERATE), 200, 404, query=_ID, status="pending"),
    Row("api/durably/run", foreign=404, query=_ID),
    Row("api/durably/run", "DELETE", (VIEW, DELETE), 200, 404, query=_ID),
    Row("api/durably/runs"),
    Row("api/durably/steps", foreign=404, query=_ID),
]  # fmt: skip

#: Only over ASGI, and only until the answer begins.
STREAMS = [
    Row("live/", query="?topic=runs"),
    Row("api/events"),
    Row("api/runs/{id}/events", foreign=404),
    Row("api/durably/subscribe", foreign=404, query=_ID),
    Row("api/durably/runs/subscribe"),
]

#: Of models whose rows are not for all who may see runs.
_ADMIN_NEEDS = {"apitoken": "runs.view_apitoken", "deniedattempt": "runs.view_deniedattempt"}
#: Of models whose rows belong to a run: the related name.
_BELONGINGS = {"step": "steps", "logentry": "logs", "runevent": "events", "label": "label_rows"}


def admin_rows() -> Iterator[Row]:
    """Each model's list and pages; nothing can be added, changed or deleted there."""
    for model in apps.get_app_config("runs").get_models():
        name = str(model._meta.model_name)
        needs = (_ADMIN_NEEDS.get(name, VIEW),)
        base = f"admin/runs/{name}/"
        yield Row(base, needs=needs)
        yield Row(f"{base}add/", needs=(NEVER,))
        about = _about(name)
        for page in ("change", "history"):
            route = f"{base}<path:object_id>/{page}/"
            if about:
                yield Row(route, needs=needs, foreign=302)
            else:  # which row isn't there; for its history Django says so before anything else
                yield anybody(route, ok=302) if page == "history" else Row(route, "GET", needs, 302)
        yield Row(f"{base}<path:object_id>/delete/", needs=(NEVER,))
        # A redirect to the page above, for who is let into the admin or not.
        yield anybody(f"{base}<path:object_id>/", ok=302)


def _about(model: str) -> Fill | None:
    """What a page of the admin is about, by model; None if it is nobody's."""
    if model == "run":
        return lambda case: case.run.pk
    if model == "bulkaction":
        return lambda case: case.action.pk
    if model in _BELONGINGS:
        return lambda case: getattr(case.run, _BELONGINGS[model]).first().pk
    return None


def admin_path(row: Row, case: Case) -> str:
    """The address of a page of the admin; of a row that isn't there if it is nobody's."""
    model = row.route.split("/")[2]
    about = _about(model)
    key = str(about(case)) if about else "999999"
    return "/" + row.route.replace("<path:object_id>", key)


#: Django's own pages of the admin, and its other models: for none of the groups but as they say.
_OTHER_MODELS = ("auth/group", "auth/user")
DJANGO = [
    Row("admin/", needs=()),
    anybody("admin/login/", ok=302, signed_in=302),
    Row("admin/password_change/", needs=(), ok=302),
    Row("admin/password_change/done/", needs=()),
    Row("admin/autocomplete/", needs=(NEVER,)),
    Row("admin/jsi18n/", needs=()),
    Row("admin/jobs/importedrow/"),
    Row("admin/jobs/importedrow/add/", needs=(NEVER,)),
    *(Row(f"admin/{name}/", needs=(NEVER,)) for name in _OTHER_MODELS),
    *(Row(f"admin/{name}/add/", needs=(NEVER,)) for name in _OTHER_MODELS),
]

#: Routes that answer nothing of their own, or what the rows above cover: why they need none.
COVERED = {
    r"admin/r/<path:content_type_id>/<path:object_id>/": "leads on; no model here has such a link",
    r"admin/logout/": "like logout/",
    r"admin/^(?P<app_label>auth|runs|jobs)/$": "the part of admin/ of one app",
    r"admin/(?P<url>.*)$": "nothing is there",
    "api/": "Ninja's own entry, for its names",
    r"api/^.*$": "nothing is there",
    "api": "nothing is there",
    "api/durably/": "nothing is there",
}


def encoded(row: Row, case: Case) -> dict[str, Any]:
    """The body of a request to the API."""
    if row.method in ("GET", "DELETE"):
        return {}
    return {"data": json.dumps(row.body(case)), "content_type": "application/json"}
