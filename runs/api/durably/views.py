"""The client's requests, but for the event streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse

from runs import access
from runs.access import Actor
from runs.api.durably import jobs
from runs.api.durably.arrays import json_array
from runs.api.durably.door import body_of, json_answer, text_answer
from runs.api.durably.listing import find_runs, parse_listing
from runs.api.durably.shapes import indexes, run_shape, step_shape
from runs.engine.triggers import BatchItem
from runs.errors import NotFoundError, ValidationError
from runs.models import Run, Step


def trigger(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Trigger a run. The client's body is ``{"jobName", "input"}``; a program may say more."""
    body = body_of(request)
    name = body.get("jobName")
    if not name or not isinstance(name, str):
        raise ValidationError("jobName is required")
    item = BatchItem(
        input=body.get("input"),
        labels=body.get("labels"),
        idempotency_key=body.get("idempotencyKey"),
        concurrency_key=body.get("concurrencyKey"),
        coalesce=body.get("coalesce"),
    )
    run = access.trigger(actor, jobs.name_of(name), item)
    return json_answer({"runId": str(run.pk), "disposition": run.disposition})


def runs(request: HttpRequest, actor: Actor) -> HttpResponse:
    """The list of runs, a bare array."""
    text = find_runs(actor, parse_listing(request.GET))
    return text_answer(text)


def run(request: HttpRequest, actor: Actor) -> HttpResponse:
    """One run."""
    return json_answer(run_shape(get_run(request, actor)))


def steps(request: HttpRequest, actor: Actor) -> HttpResponse:
    """The steps of a run in order of their end, a bare array."""
    rows = get_run(request, actor).steps.order_by("seq").values_list("pk", "status")
    index = dict(zip((pk for pk, _ in rows), indexes(status for _, status in rows), strict=True))

    def load(keys: Sequence[int], payloads: bool) -> Iterator[dict[str, Any]]:
        found = Step.objects.filter(pk__in=keys).order_by("seq").defer("error_traceback")
        found = found if payloads else found.defer("output")
        return (step_shape(step, index[step.pk], payloads=payloads) for step in found)

    return text_answer(json_array(list(index), load))


def retrigger(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Run a terminal run again, as a new run."""
    copy = access.operate(actor, get_run(request, actor).pk, "retrigger")
    assert copy is not None
    return json_answer({"success": True, "runId": str(copy.pk)})


def cancel(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Cancel a run that isn't over."""
    access.operate(actor, get_run(request, actor).pk, "cancel")
    return json_answer({"success": True})


def delete(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Delete a terminal run."""
    access.operate(actor, get_run(request, actor).pk, "delete")
    return json_answer({"success": True})


def get_run(request: HttpRequest, actor: Actor) -> Run:
    """The run of the query's ``runId``, if the actor may see it.

    Raises ValidationError, NotFoundError, PermissionDeniedError.
    """
    id = request.GET.get("runId")
    if not id:
        raise ValidationError("runId query parameter is required")
    try:
        return access.get_run(actor, id)
    except NotFoundError:
        raise NotFoundError("Run not found") from None
