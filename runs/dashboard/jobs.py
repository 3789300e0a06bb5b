"""The jobs, and one job with its trigger form."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_safe

from runs.dashboard import part
from runs.dashboard.access import (
    OPERATE,
    TRIGGER,
    actor_of,
    page,
    require,
    require_for_all,
    sees_part,
    shown_runs,
)
from runs.dashboard.activity import rows_of
from runs.dashboard.dot_plot import draw
from runs.dashboard.json_tree import Node, json_tree
from runs.dashboard.trigger_form import TriggerForm
from runs.engine import pauses
from runs.errors import ConflictError
from runs.filters import RunFilters
from runs.job_stats import stats_of
from runs.job_views import JobView, all_jobs, find_job
from runs.models import JobEvent, Run
from runs.registry import registry

_RECENT = 8
_EVENTS = 5
_MAX_REASON = 1000


@page
@require_safe
def job_list(request: HttpRequest) -> HttpResponse:
    """All jobs."""
    is_part = sees_part(request)
    jobs = all_jobs(with_stats=not is_part)
    if is_part:
        found = part.stats_of([job.name for job in jobs], shown_runs(request))
        for job in jobs:
            job.stats = found[job.name]
    context = {"jobs": jobs, "nav": "jobs", "is_part": is_part}
    return render(request, "dashboard/jobs.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def job_page(request: HttpRequest, name: str) -> HttpResponse:
    """One job; a POST triggers a run of it, pauses it or resumes it."""
    definition = registry.get(name)
    job = _find(request, name)
    if request.POST.get("do") in ("pause", "resume"):
        return _pause_or_resume(request, job)
    form = None
    if definition is not None:
        source = _source(request, name)
        as_json = request.GET.get("as") == "json"
        form = TriggerForm(definition, actor_of(request), as_json=as_json, source=source)
        if source is not None and request.GET.get("from") != "last":
            form.repeats = str(source.pk)
    if request.method == "POST":
        require(request, TRIGGER, name)
        if form is None:
            raise Http404(f"The job {name} is no longer in the code, so it can't be triggered.")
        run = form.handle(request)
        if run is not None:
            _say(request, run)
            return redirect("run", run.id)
    context = _context(request, job) | {
        "input_schema": _schema_tree(job.input_schema),
        "output_schema": _schema_tree(job.output_schema),
        "events": JobEvent.objects.filter(job=name).order_by("-id")[:_EVENTS],
        "form": form if actor_of(request).may(TRIGGER) else None,
    }
    return render(request, "dashboard/job.html", context, status=form.status if form else 200)


@page
@require_GET
def job_live(request: HttpRequest, name: str) -> HttpResponse:
    """The parts of the page that runs of the job change."""
    job = _find(request, name)
    return render(request, "dashboard/job_live.html", _context(request, job) | {"oob": True})


def _context(request: HttpRequest, job: JobView) -> dict[str, Any]:
    actor, visible, is_part = actor_of(request), shown_runs(request), sees_part(request)
    found = part.stats_of([job.name], visible) if is_part else stats_of([job.name])
    job.stats = found[job.name]
    recent = part.newest_runs(RunFilters(jobs=(job.name,)), visible, _RECENT)
    may_pause = actor.may(OPERATE) and not is_part
    return {
        "nav": "jobs",
        "job": job,
        "stats": job.stats,
        "is_part": is_part,
        "plot": draw(job.stats.runs),
        "rows": rows_of(recent, actor),
        "may_pause": may_pause and job.registered and not job.paused_at,
        "may_resume": may_pause and job.paused_at,
    }


def _pause_or_resume(request: HttpRequest, job: JobView) -> HttpResponse:
    require_for_all(request, OPERATE, job.name)
    reason = request.POST.get("reason", "").strip()[:_MAX_REASON]
    try:
        if request.POST["do"] == "pause":
            pauses.pause_job(job.name, actor=actor_of(request), reason=reason)
            messages.success(request, "Paused. Running runs go on; new ones stay pending.")
        else:
            pauses.resume_job(job.name, actor=actor_of(request))
            messages.success(request, "Resumed. Its pending runs are taken again.")
    except ConflictError as error:
        messages.warning(request, f"{error}.")
    return redirect("job", job.name)


def _source(request: HttpRequest, name: str) -> Run | None:
    """The run that ``?from=`` names, or with ``last`` the newest one; None if it is not there."""
    asked = request.GET.get("from", "")
    if asked == "last":
        filters, unread = RunFilters(jobs=(name,)), ("output", "error_traceback")
        newest = part.newest_runs(filters, shown_runs(request), 1, unread)
        return newest[0] if newest else None
    runs = shown_runs(request).filter(job=name).defer("output", "error_traceback")
    try:
        found = runs.filter(pk=uuid.UUID(asked)).first() if asked else None
    except ValueError:
        found = None
    if asked and found is None:
        messages.warning(request, "The run to start from is not there, or is not of this job.")
    return found


def _find(request: HttpRequest, name: str) -> JobView:
    job = find_job(name, shown_runs(request))
    if job is None:
        raise Http404(f"There is no job named {name}.")
    return job


def _schema_tree(schema: Any) -> Node | None:
    return json_tree(schema)[0] if schema else None


def _say(request: HttpRequest, run: Run) -> None:
    short = f"…{str(run.id)[-4:]}"
    said = {
        "idempotent": f"Run {short} has this idempotency key already; no new one was made.",
        "coalesced": f"Run {short} of this key is pending already; no new one was made.",
    }
    messages.success(request, said.get(run.disposition or "", f"Run {short} is triggered."))
