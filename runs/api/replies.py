"""Answers: what representations say, as JSON; less of it for those who may not see runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import parse_etags

from runs import access
from runs.access import Actor
from runs.models import Run
from runs.representation import run_detail, run_receipt, run_summary


def reply(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """JSON. Written by hand of Python values: payloads may be nested deeper than schemas go."""
    return HttpResponse(
        json.dumps(content), status=status, content_type="application/json", headers=headers
    )


def shown(actor: Actor, run: Run) -> dict[str, Any]:
    """The run after something was done to it: all of it, or what may be said of it."""
    return run_detail(run) if actor.may(access.VIEW) else run_receipt(run)


def shown_trigger(actor: Actor, run: Run) -> dict[str, Any]:
    """The same, with what came of a trigger."""
    return shown(actor, run) | {"disposition": run.disposition}


def location(request: HttpRequest, id: UUID) -> dict[str, str]:
    """The header that says where a new run is."""
    return {"Location": request.build_absolute_uri(reverse("api:read_run", args=[id]))}


def etag(run: Run) -> str:
    """Changes with whatever a run's JSON shows; told without reading its payloads.

    Those change only together with ``seq``, which every checkpoint and event advances.
    """
    text = json.dumps([run_summary(run), run.seq], sort_keys=True)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def has(request: HttpRequest, tag: str) -> bool:
    """Whether the caller says that they have this version already (``If-None-Match``)."""
    wanted = parse_etags(request.headers.get("If-None-Match", ""))
    return wanted == ["*"] or tag in (each.removeprefix("W/") for each in wanted)


def expects_another(request: HttpRequest, tag: str) -> bool:
    """Whether the caller wants to act on another version than this one (``If-Match``)."""
    wanted = parse_etags(request.headers.get("If-Match", ""))
    return bool(wanted) and wanted != ["*"] and tag not in wanted
