"""What Ninja leaves out of the OpenAPI document: problems, headers, and the health checks."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from runs.api.requests import EventsQuery, LinesQuery, RunEventsQuery, RunQuery, StepsQuery
from runs.api.schemas import Health, Problem

DESCRIPTION = """\
Trigger, watch and operate durable jobs.

Send `Authorization: Bearer <token>` (`manage.py createtoken` makes one), or use the session of a
signed-in browser together with its CSRF token. What a caller may do is up to four permissions:
`runs.view_run`, `runs.trigger_run`, `runs.operate_run` and `runs.delete_run`.

Errors are `application/problem+json`; `code` says what went wrong. Unknown fields and query
parameters are refused. Times are ISO 8601 with an offset.
"""

TAGS = [
    {"name": "runs", "description": "One run is one execution of a job."},
    {"name": "jobs", "description": "A job is a Python function."},
    {"name": "events", "description": "What happens to runs, while it happens."},
    {"name": "health", "description": "For load balancers. They need no credentials."},
]

_EXAMPLES: dict[int, tuple[str, str]] = {
    400: ("invalid-input", "The request is invalid: limit: Input should be less than or equal to"),
    401: ("unauthenticated", "The token is unknown, expired or revoked"),
    403: ("forbidden", "token:ci may not see runs."),
    404: ("not-found", "There is no run 0199f2a4-7c1e-7b52-9d0a-3f6c1e8b7a90"),
    409: ("conflict", "Run 0199f2a4-7c1e-7b52-9d0a-3f6c1e8b7a90 is running and can't be retried"),
    412: ("precondition-failed", "Run 0199f2a4-7c1e-7b52-9d0a-3f6c1e8b7a90 has changed since"),
    413: ("too-large", "The body is larger than this installation takes"),
    415: ("unsupported-media-type", "The body must be application/json, not text/plain"),
    429: ("too-many-attempts", "Too many bad tokens from this address; try again in 60 s"),
    501: ("streaming-unavailable", "A WSGI server can't stream: serve this site with ASGI"),
    503: ("unavailable", "The database can't be reached at the moment"),
}
_MEANINGS = {
    400: "The request makes no sense: `errors` names the fields",
    401: "No valid credentials",
    403: "The caller may not do this",
    404: "There is no such job or run, or the caller may not see it",
    409: "The state of the run, or another run, does not allow this now",
    412: "The run has changed since the caller saw it",
    413: "The body, or the input in it, is too large",
    415: "The body is not JSON",
    429: "Too many bad tokens came from this address",
    501: "This server can't stream",
    503: "The database can't be reached",
}

_HEADERS = {401: ("WWW-Authenticate", "string"), 429: ("Retry-After", "integer")}

_TAG = {"schema": {"type": "string"}, "description": "This version of the run."}


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "in": "header",
        "name": name,
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


_MESSAGE = """\
id: 4
event: log
data: {"run_id": "0199f2a4-7c1e-7b52-9d0a-3f6c1e8b7a90", "id": 17, "step": null, "level": "info", \
"message": "Starting", "data": null, "created_at": "2026-11-22T14:30:00.123456+00:00"}

"""

#: A run that was made.
CREATED: dict[str, Any] = {
    "responses": {
        201: {
            "headers": {
                "Location": {
                    "schema": {"type": "string", "format": "uri"},
                    "description": "The address of the new run.",
                }
            }
        }
    }
}

#: A run that is sent only if the caller doesn't have it yet.
CONDITIONAL: dict[str, Any] = {
    "parameters": [_header("If-None-Match", "The `ETag` of the version that the caller has.")],
    "responses": {
        200: {"headers": {"ETag": _TAG}},
        304: {"description": "The run has not changed", "headers": {"ETag": _TAG}},
    },
}

#: Something that is done only to the version which the caller has seen.
GUARDED: dict[str, Any] = {
    "parameters": [_header("If-Match", "The `ETag` of the version that this is meant for.")]
}

#: Server-sent events.
EVENTS: dict[str, Any] = {
    "parameters": [
        _header(
            "Last-Event-ID", "As `after`, which it goes before: browsers send it by themselves."
        )
    ],
    "responses": {
        200: {
            "description": "Messages without end. `event` is `run`, `step`, `log` or `progress`; "
            "`data` is the JSON of that thing with `run_id`; with its `id` a client goes on after "
            "a break. A comment comes at least every 15 seconds.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _MESSAGE}},
        }
    },
}
#: Those of one run, which come to an end.
RUN_EVENTS = {
    "parameters": EVENTS["parameters"],
    "responses": EVENTS["responses"]
    | {204: {"description": "The run is over, and all of it was told: don't come back"}},
}


def problems(*statuses: int, also: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The part of an operation's description that its errors make up, and what is in ``also``."""
    found = {"responses": {status: problem_response(status) for status in (*statuses, 429, 503)}}
    for key, value in (also or {}).items():
        found[key] = found["responses"] | value if key == "responses" else value
    return found


def problem_response(status: int) -> dict[str, Any]:
    """How an error of that status is described."""
    code, detail = _EXAMPLES[status]
    example = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
    described: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {"application/problem+json": content},
    }
    if status in _HEADERS:
        name, schema = _HEADERS[status]
        described["headers"] = {name: {"schema": {"type": schema}}}
    return described


_PARAMETERS = (RunQuery, EventsQuery, RunEventsQuery, LinesQuery, StepsQuery)


def complete(document: dict[str, Any]) -> None:
    """Add the schema of problems and the two addresses outside of ``/api/``; tidy the rest."""
    schemas = document["components"]["schemas"]
    for methods in document["paths"].values():
        for operation in methods.values():
            _tidy(operation, schemas)
    for parameters in _PARAMETERS:  # not schemas of anything sent
        schemas.pop(parameters.__name__, None)
    for model in (Problem, Health):
        schema = model.model_json_schema(
            ref_template="#/components/schemas/{model}", mode="serialization"
        )
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    document["paths"]["/healthz"] = {
        "get": _health("healthz", "Is the process alive?", "It answers, that is all.")
    }
    what = "Its database can be reached, read and written, and is migrated."
    ready = _health("readyz", "Can it work?", what)
    ready["responses"][503] = problem_response(503)
    document["paths"]["/readyz"] = {"get": ready}


def _tidy(operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    """Refer to schemas by name, and leave out defaults of bodies: generators stumble over both."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "default" in content["schema"]:
            [content["schema"]] = content["schema"]["allOf"]
    for parameter in operation["parameters"]:
        items = parameter["schema"].get("items", {})
        if (name := items.get("title")) in schemas:
            parameter["schema"]["items"] = {"$ref": f"#/components/schemas/{name}"}


def _health(name: str, summary: str, description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}}
    return {
        "operationId": name,
        "summary": summary,
        "description": description,
        "tags": ["health"],
        "security": [],
        "responses": {200: {"description": "Yes", "content": content}},
    }
