"""One run: what it does, what it did, and the buttons that steer it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_http_methods

from runs import access, conf
from runs.access import Actor
from runs.dashboard import actions
from runs.dashboard.access import actor_of, find_run, page
from runs.dashboard.activity import copies_of, failed_alike
from runs.dashboard.eta import Samples, estimate, find_start
from runs.dashboard.logs import download_log, load_log, measure_log, read_filter
from runs.dashboard.payload import load_payload
from runs.dashboard.progress import Progress, read_progress
from runs.dashboard.query import whole_of
from runs.dashboard.stalled import allowed_silence, find_silence
from runs.dashboard.steps import (
    StepDetail,
    StepList,
    StepView,
    load_step,
    load_steps,
    with_usual,
)
from runs.dashboard.traceback import read_traceback
from runs.dashboard.usual import (
    AtStep,
    History,
    NextStep,
    Spread,
    compare,
    is_slow,
    load_history,
    missing_steps,
    reached,
    steps_took,
)
from runs.dashboard.waiting import Facts, Reason, gather, queue_of, why_waiting
from runs.errors import PermissionDeniedError, RunsError
from runs.models import EventKind, LogEntry, Run, RunEvent, RunQuerySet, RunStatus, Step

_MAX_EVENTS = 100
_WORKER_KINDS = (
    EventKind.STARTED,
    EventKind.TAKEN_OVER,
    EventKind.HANDED_BACK,
    EventKind.COMPLETED,
    EventKind.FAILED,
)
_LIVE_PARAMETERS = ("step", "steps", "idle", "frames", "steps_before", "steps_after", "step_seq")


@page
@require_http_methods(["GET", "HEAD", "POST"])
def run_page(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """Show the run; a POST with ``do`` steers it."""
    run = find_run(request, id)
    refused = ""
    status = 200
    if request.method == "POST":
        try:
            return actions.perform(request, run)
        except PermissionDeniedError:
            raise
        except RunsError as error:
            refused, status = str(error), error.status
            run = find_run(request, id)
    only = read_filter(run, request.GET)
    before = whole_of(request.GET, "log_before")
    context = _live_context(request, run)
    size = context.get("delete_size") if only.first_seq is None else None
    context |= {
        "refused": refused,
        "input": load_payload(_rows(id), "input"),
        "log": load_log(run, before=before, only=only),
        "log_before": before,
        "log_filter": only,
        "log_size": size or measure_log(run, only),
    }
    return render(request, "dashboard/run.html", context, status=status)


@page
@require_GET
def run_live(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """The parts of an open run page that change."""
    run = find_run(request, id)
    context = {**_live_context(request, run, refresh=True), "oob": True}
    return render(request, "dashboard/run_live.html", context)


@page
@require_GET
def run_log(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """Lines of the log after (or before) the one named, or ``as`` a file of all of it."""
    run = find_run(request, id)
    kind = request.GET.get("as", "")
    if kind in ("txt", "jsonl"):
        return cast("HttpResponse", download_log(request, run, kind))
    before, after = whole_of(request.GET, "before"), whole_of(request.GET, "after")
    only = read_filter(run, request.GET)
    asked = None if before else after or 0
    log = load_log(run, before=before, after=asked, only=only)
    if before is None and log.last == asked and _is_live(run):
        return HttpResponse(status=204)
    context = {
        "run": run,
        "log": log,
        "log_filter": only,
        "live": _is_live(run),
        "earlier_lines": before is not None,
    }
    return render(request, "dashboard/run_log.html", context)


def _rows(id: uuid.UUID) -> RunQuerySet:
    return Run.objects.filter(pk=id)


def _is_live(run: Run) -> bool:
    """Whether the page may still change by itself: also while a cancelled body winds down."""
    return not run.is_terminal or _is_winding_down(run)


def _is_winding_down(run: Run) -> bool:
    ends = run.lease_expires_at
    return (
        run.is_terminal
        and run.lease_owner is not None
        and ends is not None
        and (ends > timezone.now())
    )


def _live_context(request: HttpRequest, run: Run, *, refresh: bool = False) -> dict[str, Any]:
    """What the refreshed parts of the page show."""
    actor = actor_of(request)
    events = list(RunEvent.objects.filter(run_id=run.id).order_by("-id")[:_MAX_EVENTS])
    view = StepView.of(request.GET)
    progress = read_progress(run.progress)
    history = load_history(run, actor)
    facts = gather([run], actor)
    steps = load_steps(run, view, events)
    missing = [] if run.status == RunStatus.COMPLETED else missing_steps(run, history)
    usual = _usual_steps(run, view, steps, history)
    if run.status == RunStatus.RUNNING and steps.later is None:
        steps.next.extend(missing)
    samples = Samples.parse(request.GET.get("seen", ""), timezone.now())
    samples.see(timezone.now(), progress.value if progress and not run.is_terminal else None)
    step_context = _step_context(request, run, view, events, usual, refresh=refresh)
    waiting = _waiting_context(run, facts, history, actor)
    return {
        "run": run,
        "live": _is_live(run),
        "view": view,
        "winding_down": _is_winding_down(run),
        "lease_left": _lease_left(run),
        "owner": facts.owners.get(run.lease_owner) if run.lease_owner else None,
        "progress": progress,
        "steps": with_usual(steps, usual),
        "events": events,
        "allowed": actions.allowed(request, run),
        "took": _took(run),
        "worker_kinds": _WORKER_KINDS,
        "nav": "runs",
        "live_query": _live_query(request, step_context["step"], samples),
        **_links(run, events, actor),
        **step_context,
        **waiting,
        **_running_context(
            run, events, history, progress, samples, usual, waits=waiting["why"] is not None
        ),
        **_ending_context(request, run, events, history, missing),
    }


def _usual_steps(run: Run, view: StepView, steps: StepList, history: History) -> dict[str, Spread]:
    """How long those steps usually take of which the page says so."""
    names = {row.name for row in steps.shown} if view.as_table else set()
    names |= {name for name in (run.current_step, view.selected) if name}
    return steps_took(history, names) if names else {}


def _links(run: Run, events: Sequence[RunEvent], actor: Actor) -> dict[str, Any]:
    """The runs that this one comes from; takes those hidden from the actor out of its history."""
    named = [
        (event.data, key, uuid.UUID(event.data[key]))
        for event in events
        for key in ("run", "source")
        if isinstance(event.data, dict) and event.data.get(key)
    ]
    origins = {"source_id": run.source_id, "parent_id": run.parent_id}
    ids = {*(id for id in origins.values() if id), *(id for _, _, id in named)}
    seen = access.visible_ids(actor, ids)
    for data, key, id in named:
        if id not in seen:
            del data[key]
    return {name: id if id in seen else None for name, id in origins.items()}


def _waiting_context(run: Run, facts: Facts, history: History, actor: Actor) -> dict[str, Any]:
    """Why it waits, for a run that does."""
    why = why_waiting(run, facts)
    if why is None:
        return {"why": None}
    waits_in_queue = run.status == RunStatus.PENDING or why.handed_back
    # A place in the queue tells how many runs there are that one may not see.
    tells_place = waits_in_queue and facts.workers and access.sees_all_runs(actor)
    return {
        "why": why,
        "queue": queue_of(run, facts) if tells_place else None,
        "holder": _holder_context(why, facts, actor) if why.run else None,
        "waited": max(timedelta(0), facts.now - max(run.created_at, run.queued_at)),
        "checked_at": facts.now,
        "usual_wait": history.waited
        if run.started_at is None and run.queued_at <= facts.now
        else None,
        "long_wait": _is_long_wait(run, facts, history.waited),
    }


def _is_long_wait(run: Run, facts: Facts, usual: Spread | None) -> bool:
    waited = (facts.now - max(run.created_at, run.queued_at)).total_seconds()
    return usual is not None and is_slow(waited, usual)


def _holder_context(why: Reason, facts: Facts, actor: Actor) -> dict[str, Any] | None:
    """The run that holds the key: since when, how far it is and how long it will take."""
    holder = why.run
    if holder is None:
        return None
    events = list(RunEvent.objects.filter(run_id=holder.id).order_by("-id")[:_MAX_EVENTS])
    start = find_start(holder, events)
    progress, history = read_progress(holder.progress), load_history(holder, actor)
    waits = why_waiting(holder, gather([holder], actor))
    eta = None
    if start and waits is None and holder.status == RunStatus.RUNNING:
        eta = estimate(progress, history, start, Samples(), facts.now)
    return {
        "run": holder,
        "why": waits,
        "since": facts.now - holder.started_at if holder.started_at else None,
        "progress": progress,
        "eta": eta,
        "took": history.took,
        "lease": conf.lease_seconds(),
    }


def _running_context(
    run: Run,
    events: Sequence[RunEvent],
    history: History,
    progress: Progress | None,
    samples: Samples,
    usual: dict[str, Spread],
    *,
    waits: bool,
) -> dict[str, Any]:
    """Time left, whether it is slower than usual, and whether anything comes from it."""
    now = timezone.now()
    start = find_start(run, events)
    if run.status != RunStatus.RUNNING or run.lease_owner is None or start is None:
        return {}
    last = Step.objects.filter(run_id=run.id).order_by("-seq").values_list("name", "finished_at")
    step, step_end = last.first() or (None, None)
    at_step = None
    if step and step_end and start.fresh and (spread := reached(history, step)):
        at_step = AtStep(step, (step_end - start.at).total_seconds(), spread)
    lines = LogEntry.objects.filter(run_id=run.id).order_by("-id")
    line_at = lines.values_list("created_at", flat=True).first()
    signs = (start.at, samples.changed_at, step_end, line_at)
    here = usual.get(run.current_step or "")
    elapsed = (now - start.at).total_seconds()
    return {
        "eta": None if waits else estimate(progress, history, start, samples, now),
        "silence": find_silence(
            signs, allowed_silence(run.job, here.median if here else None), now
        ),
        "comparison": compare(run, history, elapsed, at_step) if start.fresh else None,
        "history": history,
        "slow_step": here
        and is_slow((now - max(step_end or start.at, start.at)).total_seconds(), here),
        "usual_step": here,
    }


def _ending_context(
    request: HttpRequest,
    run: Run,
    events: Sequence[RunEvent],
    history: History,
    missing: Sequence[NextStep],
) -> dict[str, Any]:
    """For a run that is over: output, error, what Retry does, and what came of it."""
    if not run.is_terminal:
        return {}
    context: dict[str, Any] = {
        "preview": actions.preview_retry(run, missing),
        "delete_size": measure_log(run),
        "delete_steps": Step.objects.filter(run_id=run.id).count(),
        "copies": copies_of(run, actor_of(request)),
        "history": history,
    }
    if run.status == RunStatus.CANCELLED:
        ends = (event for event in events if event.kind == EventKind.CANCELLED)
        context["cancelled"] = next(ends, None)
    if run.status == RunStatus.COMPLETED:
        context["output"] = load_payload(_rows(run.id), "output")
        took = _took(run)
        if run.attempt == 1 and took is not None:
            context["comparison"] = compare(run, history, took.total_seconds(), None)
    if run.error_traceback:
        every = request.GET.get("frames") == "all"
        context["trace"] = read_traceback(run.error_traceback, all_frames=every)
    if run.error_fingerprint:
        context["alike"] = failed_alike(run, actor_of(request))
    return context


def _lease_left(run: Run) -> float | None:
    if run.lease_owner is None or run.lease_expires_at is None:
        return None
    return max(0.0, (run.lease_expires_at - timezone.now()).total_seconds())


def _took(run: Run) -> timedelta | None:
    if run.started_at is None:
        return None
    return (run.finished_at or timezone.now()) - run.started_at


def _step_context(
    request: HttpRequest,
    run: Run,
    view: StepView,
    events: Sequence[RunEvent],
    usual: dict[str, Spread],
    *,
    refresh: bool,
) -> dict[str, Any]:
    """The selected step; left out of a refresh if the page has it."""
    name = view.selected
    if not name or (refresh and _step_is_shown(request, run, name)):
        return {"step": None, "asked_step": None}
    href = reverse("run-payload", args=(run.id, "step")) + "?" + urlencode({"name": name})
    step = load_step(run, name, events, usual.get(name))
    trace = None
    if step and step.step and step.step.error_traceback:
        every = request.GET.get("frames") == "all"
        trace = read_traceback(step.step.error_traceback, all_frames=every)
    return {"step": step, "asked_step": name, "step_file": href, "step_trace": trace}


def _live_query(request: HttpRequest, step: StepDetail | None, samples: Samples) -> str:
    """What the page asks for again: its view, the step that it has, and what it has seen."""
    kept = {name: request.GET[name] for name in _LIVE_PARAMETERS if request.GET.get(name)}
    if step and step.step and not step.running:
        kept["step_seq"] = str(step.step.seq)
    if samples.found:
        kept["seen"] = samples.text
    return urlencode(kept)


def _step_is_shown(request: HttpRequest, run: Run, step: str) -> bool:
    """Whether the page has the step's result already: stored, and not stored again since."""
    shown = whole_of(request.GET, "step_seq")
    if shown is None:
        return False
    return Step.objects.filter(run_id=run.id, name=step, seq=shown).exists()
