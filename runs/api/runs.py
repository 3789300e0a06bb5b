"""Runs: finding them, reading them, and what is done to them."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from runs import access
from runs.api import auth
from runs.api.openapi import CONDITIONAL, CREATED, GUARDED, problems
from runs.api.paging import fitting
from runs.api.problems import PreconditionError, under
from runs.api.replies import etag, expects_another, has, location, reply, shown
from runs.api.requests import (
    LinesQuery,
    ReasonBody,
    RunId,
    RunQuery,
    StepsQuery,
    filters_of,
)
from runs.api.schemas import HistoryPage, LogPage, Receipt, StepPage
from runs.api.schemas import Run as RunSchema
from runs.api.schemas import RunPage as RunPageSchema
from runs.errors import ValidationError
from runs.filters import Cursor
from runs.listing import load_page
from runs.models import LogEntry, Run, RunEvent, Step
from runs.representation import event_detail, log_detail, run_detail, step_detail

router = Router(tags=["runs"])

#: What a body that is left out means.
_NO_REASON = ReasonBody()


@router.get(
    "/runs",
    response=RunPageSchema,
    operation_id="list_runs",
    summary="List runs",
    openapi_extra=problems(400, 401, 403),
)
def list_runs(request: HttpRequest, query: Query[RunQuery]) -> HttpResponse:
    """The runs that pass all filters, newest first.

    Follow `next_cursor` to the end, and no run is given twice or left out, whatever is made or
    deleted meanwhile.
    """
    actor = auth.actor(request)
    access.require(actor, access.VIEW)
    filters = filters_of(request)
    visible = access.visible_runs(actor)
    page = load_page(filters, query.limit, within=visible)
    ids = [run.pk for run in page.runs]
    fit = fitting(visible, ids, "input", "output", "error_traceback")
    # Once more, and whole: a run may have changed, and no longer be one that was asked for.
    whole = filters.apply(visible.filter(pk__in=fit)).newest_first()
    cursor = page.older if len(fit) == len(ids) else Cursor(older=True, id=fit[-1])
    return reply(
        {
            "items": [run_detail(run) for run in whole],
            "next_cursor": None if cursor is None else str(cursor),
        }
    )


@router.get(
    "/runs/{id}",
    response=RunSchema,
    operation_id="get_run",
    summary="Get a run",
    openapi_extra=problems(400, 401, 403, 404, also=CONDITIONAL),
)
def read_run(request: HttpRequest, id: RunId) -> HttpResponse:
    """One run, with its `ETag`; with `If-None-Match`, only if it has changed."""
    actor = auth.actor(request)
    if "If-None-Match" in request.headers:
        tag = etag(access.get_run(actor, id, runs=Run.objects.summaries()))
        if has(request, tag):
            return HttpResponse(status=304, headers={"ETag": tag})
    run = access.get_run(actor, id)
    return reply(run_detail(run), headers={"ETag": etag(run)})


@router.get(
    "/runs/{id}/steps",
    response=StepPage,
    operation_id="list_steps",
    summary="List a run's steps",
    openapi_extra=problems(400, 401, 403, 404),
)
def list_steps(request: HttpRequest, id: RunId, query: Query[StepsQuery]) -> HttpResponse:
    """The steps that have ended, with their results, in that order."""
    steps = Step.objects.filter(run=_visible(request, id), seq__gt=query.cursor).order_by("seq")
    places = dict(steps.values_list("pk", "seq")[: query.limit + 1])
    fit = fitting(steps, list(places)[: query.limit], "output", "error_traceback")
    more = len(fit) < len(places)
    return reply(
        {
            "items": [step_detail(step) for step in steps.filter(pk__in=fit)],
            "next_cursor": places[fit[-1]] if more else None,
        }
    )


@router.get(
    "/runs/{id}/logs",
    response=LogPage,
    operation_id="list_logs",
    summary="List a run's log lines",
    openapi_extra=problems(400, 401, 403, 404),
)
def list_logs(request: HttpRequest, id: RunId, query: Query[LinesQuery]) -> HttpResponse:
    """The lines of the log, oldest first. Ask again with the last `id` for what came since."""
    lines = LogEntry.objects.filter(run=_visible(request, id))
    found, more = _lines(lines, query)
    return reply(
        {
            "items": [log_detail(line) for line in found],
            "next_after": found[-1].pk if more else None,
        }
    )


@router.get(
    "/runs/{id}/history",
    response=HistoryPage,
    operation_id="list_history",
    summary="List what happened to a run",
    openapi_extra=problems(400, 401, 403, 404),
)
def list_history(request: HttpRequest, id: RunId, query: Query[LinesQuery]) -> HttpResponse:
    """Who did what to the run, and what became of it, oldest first."""
    events = RunEvent.objects.filter(run=_visible(request, id))
    found, more = _lines(events, query)
    return reply(
        {
            "items": [event_detail(event) for event in found],
            "next_after": found[-1].pk if more else None,
        }
    )


@router.post(
    "/runs/{id}/retry",
    response=RunSchema | Receipt,
    operation_id="retry_run",
    summary="Retry a run",
    openapi_extra=problems(400, 401, 403, 404, 409, 412, 413, 415, also=GUARDED),
)
def retry_run(request: HttpRequest, id: RunId, body: ReasonBody = _NO_REASON) -> HttpResponse:
    """Make a failed or cancelled run pending again. Its completed steps don't run again."""
    return reply(shown(auth.actor(request), _operate(request, id, "retry", body)))


@router.post(
    "/runs/{id}/retrigger",
    response={201: RunSchema | Receipt},
    operation_id="retrigger_run",
    summary="Run again",
    openapi_extra=problems(400, 401, 403, 404, 409, 412, 413, 415, also=CREATED | GUARDED),
)
def retrigger_run(request: HttpRequest, id: RunId, body: ReasonBody = _NO_REASON) -> HttpResponse:
    """Make a new run with the job, input, labels and concurrency key of one that is over."""
    run = _operate(request, id, "retrigger", body)
    content = shown(auth.actor(request), run)
    return reply(content, status=201, headers=location(request, run.pk))


@router.post(
    "/runs/{id}/cancel",
    response=RunSchema | Receipt,
    operation_id="cancel_run",
    summary="Cancel a run",
    openapi_extra=problems(400, 401, 403, 404, 409, 412, 413, 415, also=GUARDED),
)
def cancel_run(request: HttpRequest, id: RunId, body: ReasonBody = _NO_REASON) -> HttpResponse:
    """Cancel a run that is not over, at once. A step that is being executed may end."""
    return reply(shown(auth.actor(request), _operate(request, id, "cancel", body)))


@router.delete(
    "/runs/{id}",
    response={204: None},
    operation_id="delete_run",
    summary="Delete a run",
    openapi_extra=problems(400, 401, 403, 404, 409, 412, also=GUARDED),
)
def delete_run(request: HttpRequest, id: RunId) -> HttpResponse:
    """Delete a run that is over, with its steps, log and history."""
    _refuse_another(request, id, "delete")
    access.operate(auth.actor(request), id, "delete")
    return HttpResponse(status=204)


def _visible(request: HttpRequest, id: str) -> Run:
    return access.get_run(auth.actor(request), id, runs=Run.objects.summaries())


def _lines(rows: QuerySet[Any], query: LinesQuery) -> tuple[list[Any], bool]:
    """The rows by id, and whether there are more."""
    found = list(rows.filter(id__gt=query.after).order_by("id")[: query.limit + 1])
    return found[: query.limit], len(found) > query.limit


def _operate(request: HttpRequest, id: str, operation: str, body: ReasonBody) -> Run:
    _refuse_another(request, id, operation)
    try:
        run = access.operate(auth.actor(request), id, operation, reason=body.reason)
    except ValidationError as error:  # the run's input no longer fits its job
        raise under("input", error) from error
    assert run is not None
    return run


def _refuse_another(request: HttpRequest, id: str, operation: str) -> None:
    """Raise PreconditionError if the run is not as the caller last saw it."""
    if "If-Match" not in request.headers:
        return
    run = access.get_run(auth.actor(request), id, operation, runs=Run.objects.summaries())
    if expects_another(request, etag(run)):
        raise PreconditionError(f"Run {run.pk} has changed since: it is {run.status}")
