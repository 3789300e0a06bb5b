"""Jobs: which there are, triggering them, pausing them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from runs import access
from runs.access.guard import deny
from runs.api import auth
from runs.api.openapi import CREATED, problems
from runs.api.problems import under
from runs.api.replies import location, reply, shown_trigger
from runs.api.requests import BatchBody, EmptyBody, JobName, ReasonBody, TriggerBody
from runs.api.schemas import BatchResult, Job, JobList, TriggeredRun, TriggerReceipt
from runs.engine import pauses
from runs.engine.triggers import MAX_KEY, BatchItem
from runs.errors import FieldError, NotFoundError, ValidationError
from runs.job_stats import stats_of
from runs.job_views import JobView, all_jobs, find_job
from runs.registry import get_job
from runs.representation import job_detail

router = Router(tags=["jobs"])

_KEY_HEADER = "Idempotency-Key"

#: What a body that is left out means.
_PLAIN, _NO_REASON, _NOTHING = TriggerBody(), ReasonBody(), EmptyBody()

#: What a key is made of: characters that a header can hold.
_KEY = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY}}}")
_KEYED: dict[str, Any] = CREATED | {
    "parameters": [
        {
            "in": "header",
            "name": _KEY_HEADER,
            "required": False,
            "description": "The same as `idempotency_key` in the body.",
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_KEY,
                "pattern": r"^[\x21-\x7e]+$",
            },
        }
    ]
}


@router.get(
    "/jobs",
    response=JobList,
    operation_id="list_jobs",
    summary="List jobs",
    openapi_extra=problems(400, 401, 403),
)
def list_jobs(request: HttpRequest) -> HttpResponse:
    """All jobs: those in the code, then those of which only runs are left."""
    actor = auth.actor(request)
    access.require(actor, access.VIEW)
    told = _may_see_numbers(actor)
    return reply({"items": [job_detail(job, job.stats if told else None) for job in all_jobs()]})


@router.get(
    "/jobs/{name}",
    response=Job,
    operation_id="get_job",
    summary="Get a job",
    openapi_extra=problems(400, 401, 403, 404),
)
def read_job(request: HttpRequest, name: JobName) -> HttpResponse:
    """One job with its schemas and statistics."""
    access.require(auth.actor(request), access.VIEW, target=name)
    return reply(_job(request, name))


@router.post(
    "/jobs/{name}/trigger",
    response={201: TriggeredRun | TriggerReceipt, 200: TriggeredRun | TriggerReceipt},
    operation_id="trigger_job",
    summary="Trigger a run",
    openapi_extra=problems(400, 401, 403, 404, 409, 413, 415, also=_KEYED),
)
def trigger_job(request: HttpRequest, name: JobName, body: TriggerBody = _PLAIN) -> HttpResponse:
    """Store a pending run and return at once: 201 if it is new, 200 if one was there already.

    Callers who may not see runs get a few of its fields only.
    """
    actor = auth.actor(request)
    access.require(actor, access.TRIGGER, target=name)
    item = _with_header(request, body).item()
    try:
        run = access.trigger(actor, name, item)
    except ValidationError as error:
        raise under("input", error) from error
    made = run.disposition == "created"
    return reply(
        shown_trigger(actor, run),
        status=201 if made else 200,
        headers=location(request, run.pk) if made else None,
    )


@router.post(
    "/jobs/{name}/trigger-batch",
    response={201: BatchResult},
    operation_id="trigger_job_batch",
    summary="Trigger many runs",
    openapi_extra=problems(400, 401, 403, 404, 409, 413, 415),
)
def trigger_job_batch(request: HttpRequest, name: JobName, body: BatchBody) -> HttpResponse:
    """Store many pending runs, all or nothing; the answers are in the order of the items."""
    actor = auth.actor(request)
    access.require(actor, access.TRIGGER, target=name)
    if _KEY_HEADER in request.headers:
        raise ValidationError(f"{_KEY_HEADER} is for one run; give each item an idempotency_key")
    items = [each.item() for each in body.items]
    try:
        runs = access.batch_trigger(actor, name, items)
    except ValidationError as error:
        if found := tuple(_wrong(name, items)):
            raise ValidationError.from_fields("The batch", found) from error
        raise
    return reply({"items": [shown_trigger(actor, run) for run in runs]}, status=201)


@router.post(
    "/jobs/{name}/pause",
    response=Job,
    operation_id="pause_job",
    summary="Pause a job",
    openapi_extra=problems(400, 401, 403, 404, 409, 413, 415),
)
def pause_job(request: HttpRequest, name: JobName, body: ReasonBody = _NO_REASON) -> HttpResponse:
    """Keep the job's runs pending until it is resumed. Running ones go on."""
    actor = _who_may_pause(request, name)
    pauses.pause_job(name, actor=actor, reason=body.reason)
    return reply(_job(request, name))


@router.post(
    "/jobs/{name}/resume",
    response=Job,
    operation_id="resume_job",
    summary="Resume a job",
    openapi_extra=problems(400, 401, 403, 404, 409, 413, 415),
)
def resume_job(
    request: HttpRequest,
    name: JobName,
    body: EmptyBody = _NOTHING,  # noqa: ARG001 (only refused if something is in it)
) -> HttpResponse:
    """Let the job's pending runs be started again, each at its old place in the queue."""
    actor = _who_may_pause(request, name)
    pauses.resume_job(name, actor=actor)
    return reply(_job(request, name))


def _who_may_pause(request: HttpRequest, name: str) -> access.Actor:
    actor = auth.actor(request)
    access.require(actor, access.OPERATE, target=name)
    if not access.sees_all_runs(actor):
        deny(actor, access.OPERATE, name, f"{actor.name} may not pause {name} for everybody.")
    _find(name)
    return actor


def _job(request: HttpRequest, name: str) -> dict[str, Any]:
    job = _find(name)
    told = _may_see_numbers(auth.actor(request))
    return job_detail(job, stats_of([name])[name] if told else None)


def _find(name: str) -> JobView:
    job = find_job(name)
    if job is None:
        raise NotFoundError(f"There is no job named {name!r}")
    return job


def _may_see_numbers(actor: access.Actor) -> bool:
    """They are about all runs."""
    return actor.may(access.VIEW) and access.sees_all_runs(actor)


def _with_header(request: HttpRequest, body: TriggerBody) -> TriggerBody:
    """The body with the key of the header, which must be one and not contradict it."""
    key = request.headers.get(_KEY_HEADER)
    if key is None:
        return body
    wrong = None
    if not _KEY.fullmatch(key):
        wrong = FieldError(_KEY_HEADER, f"must be 1 to {MAX_KEY} visible ASCII characters")
    elif body.idempotency_key not in (None, key):
        wrong = FieldError("idempotency_key", f"differs from the header {_KEY_HEADER}")
    if wrong is not None:
        raise ValidationError.from_fields("The request", (wrong,))
    return body.model_copy(update={"idempotency_key": key})


def _wrong(name: str, items: list[BatchItem]) -> Iterator[FieldError]:
    """What is wrong with the inputs of a batch that was refused."""
    definition = get_job(name)
    for number, item in enumerate(items):
        try:
            definition.parse_input(item.input)
        except ValidationError as error:
            yield from under(f"items[{number}].input", error).errors
