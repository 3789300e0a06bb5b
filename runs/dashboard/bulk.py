"""Bulk actions: asking before one is ordered, watching it, and the list of them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_http_methods

from runs.dashboard.access import DELETE, OPERATE, actor_of, page, require, sees_part
from runs.dashboard.activity import live_workers
from runs.engine import bulk, targets
from runs.errors import ConflictError, PermissionDeniedError, RunsError
from runs.filters import RunFilters, parse_filters
from runs.models import BulkAction, BulkItem, BulkKind, BulkStatus, RunStatus, new_id

PAGE_SIZE = 50
_MAX_REASON = 1000

#: Outcomes that one search for the refused ones looks at.
_ITEM_WINDOW = 20_000

_PERMISSIONS = dict.fromkeys(BulkKind.values, OPERATE) | {BulkKind.DELETE: DELETE}


@dataclass(frozen=True)
class Words:
    """How an operation on many runs is spoken of."""

    verb: str
    suffix: str
    done: str
    effect: str

    def on(self, count: str) -> str:
        """``Retry 3,120 runs``, ``Run 1 run again``."""
        return f"{self.verb} {count} run{'' if count == '1' else 's'}{self.suffix}"


WORDS = {
    BulkKind.RETRY: Words(
        "Retry",
        "",
        "retried",
        "Each becomes pending again, as its next attempt. Its completed steps are kept; the "
        "failed step and later ones run.",
    ),
    BulkKind.RETRIGGER: Words(
        "Run",
        " again",
        "run again",
        "Each gets a copy: a new run from the first step on, with the same input, labels and "
        "concurrency key. The originals stay as they are.",
    ),
    BulkKind.CANCEL: Words(
        "Cancel",
        "",
        "cancelled",
        "Runs that have not started never will; in running ones no further step starts. "
        "Completed steps stay, so a later Retry goes on after them.",
    ),
    BulkKind.DELETE: Words(
        "Delete",
        "",
        "deleted",
        "The runs, their steps, log lines and history go for good. What was deleted stays "
        "listed on the page of this bulk action.",
    ),
}


@dataclass(frozen=True)
class Share:
    """Runs of one status, and whether the operation is possible on them."""

    status: str
    count: int
    possible: bool
    query: str = ""


@dataclass(frozen=True)
class View:
    """A bulk action for show."""

    action: BulkAction

    @property
    def title(self) -> str:
        return WORDS[BulkKind(self.action.kind)].on(self.expected)

    @property
    def done_word(self) -> str:
        return WORDS[BulkKind(self.action.kind)].done

    @property
    def badge(self) -> str:
        """The class of its badge."""
        aborted = self.action.status == BulkStatus.ABORTED
        return "cancelled" if aborted else self.action.status

    @property
    def expected(self) -> str:
        return f"{self.action.expected:,}{'' if self.action.expected_is_exact else '+'}"

    @property
    def looked_at(self) -> int:
        return self.action.done + self.action.refused

    @property
    def maximum(self) -> int | None:
        """Of its progress element; None if nobody knows how many there are."""
        action = self.action
        if action.status == BulkStatus.COMPLETED:
            return max(self.looked_at, 1)
        known = action.expected_is_exact or self.looked_at < action.expected
        return max(action.expected, self.looked_at, 1) if known else None

    @property
    def value(self) -> int:
        over = self.action.status == BulkStatus.COMPLETED
        return max(self.looked_at, 1) if over else self.looked_at

    @property
    def percent(self) -> int | None:
        return None if self.maximum is None else self.value * 100 // self.maximum

    @property
    def progress_class(self) -> str:
        classes = {BulkStatus.COMPLETED: "ok", BulkStatus.ABORTED: "idle"}
        return classes.get(BulkStatus(self.action.status), "")

    @property
    def seconds(self) -> float | None:
        """How long it has taken."""
        if self.action.started_at is None:
            return None
        until = self.action.finished_at or timezone.now()
        return max(0.0, (until - self.action.started_at).total_seconds())

    @property
    def rate(self) -> float | None:
        """Runs a second; None before there is something to tell from."""
        enough = self.seconds and self.seconds >= 1 and self.looked_at
        return self.looked_at / self.seconds if enough and self.seconds else None

    @property
    def left(self) -> float | None:
        """Seconds to its end at that rate; None if it isn't known."""
        if self.action.is_over or not self.rate or not self.action.expected_is_exact:
            return None
        return max(0, self.action.expected - self.looked_at) / self.rate

    @property
    def list_query(self) -> str:
        """The run list that it was ordered from; empty for a selection."""
        return self.action.filters

    @property
    def scope(self) -> list[tuple[str, str]]:
        """Its filters, as kind and value."""
        return describe(parse_filters(QueryDict(self.action.filters)))


def describe(filters: RunFilters) -> list[tuple[str, str]]:
    """The filters in words: what it is about, and the value."""
    found = [("status", RunStatus(value).label) for value in filters.status]
    found += [("job", job) for job in filters.jobs]
    found += [("label", f"{key}:{value}") for key, value in filters.labels]
    found += [("search", filters.q)] if filters.q else []
    found += [("failure", f"…{filters.failure[-4:]}")] if filters.failure else []
    times: tuple[tuple[str, datetime | None], ...] = (
        ("since", filters.since),
        ("until", filters.until),
    )
    for name, moment in times:
        if moment is not None:
            found.append((name, timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z")))
    return found


@page
@require_http_methods(["GET", "HEAD", "POST"])
def bulk_list(request: HttpRequest) -> HttpResponse:
    """The bulk actions there were; a POST asks about a new one, or with ``confirm`` orders it."""
    if request.method == "POST":
        try:
            return _order(request) if request.POST.get("confirm") else _ask(request)
        except PermissionDeniedError:
            raise
        except RunsError as error:
            messages.error(request, f"Nothing was done. {error}")
            return redirect(_back(request))
    actions = _visible(request).defer("selection").order_by("-id")
    before = _uuid(request.GET.get("before", ""))
    if before:
        actions = actions.filter(pk__lt=before)
    found = list(actions[: PAGE_SIZE + 1])
    shown = found[:PAGE_SIZE]
    context = {
        "nav": "runs",
        "views": [View(action) for action in shown],
        "older": shown[-1].pk if len(found) > PAGE_SIZE else None,
        "before": before,
    }
    return render(request, "dashboard/bulk_list.html", context)


def _ask(request: HttpRequest) -> HttpResponse:
    """The page that says what would be done, to how many runs."""
    kind = request.POST.get("do", "")
    if kind in _PERMISSIONS:
        require(request, _PERMISSIONS[kind])
    run_ids, filters = _target(request)
    if run_ids == []:
        messages.warning(request, "Nothing was done: no run is selected.")
        return redirect(_back(request))
    scope = bulk.count(filters=filters, run_ids=run_ids, actor=actor_of(request), kind=kind)
    shares = _shares(scope, kind, filters if run_ids is None else None)
    possible = sum(share.count for share in shares if share.possible)
    count = f"{scope.total:,}{'' if scope.is_exact else '+'}"
    words = WORDS[BulkKind(kind)] if kind in BulkKind.values else None
    context = {
        "nav": "runs",
        "kind": kind if words else "",
        "kinds": [(k, title) for k, title in BulkKind.choices if _may(request, k)],
        "words": words,
        "label": BulkKind(kind).label if words else "",
        "question": f"{words.on(count)}?" if words else f"What to do with {count} runs?",
        "count": count,
        "shares": shares,
        "possible": possible,
        "possible_text": f"{possible:,}" if scope.is_exact else "those",
        "refused": scope.total - possible,
        "is_exact": scope.is_exact,
        "scope": describe(parse_filters(QueryDict(filters))) if run_ids is None else [],
        "run_ids": run_ids,
        "sees_part": sees_part(request),
        "missing": len(run_ids) - scope.total if run_ids is not None else 0,
        "filters": request.POST.get("filters", ""),
        "bound": scope.bound,
        "action_id": new_id(),
        "back": _back(request),
    }
    return render(request, "dashboard/bulk_confirm.html", context)


def _order(request: HttpRequest) -> HttpResponse:
    """Do it: make the bulk action, once however often the form is sent."""
    kind = request.POST.get("do", "")
    require(request, _PERMISSIONS.get(kind, OPERATE))
    run_ids, filters = _target(request)
    action = bulk.create(
        kind,
        filters=filters,
        run_ids=run_ids,
        actor=actor_of(request),
        reason=request.POST.get("reason", "").strip()[:_MAX_REASON],
        bound=_uuid(request.POST.get("bound", "")),
        id=_uuid(request.POST.get("action", "")),
    )
    return redirect("bulk-action", action.pk)


def _target(request: HttpRequest) -> tuple[list[str] | None, str]:
    """The selected runs, or None and the filters that say which."""
    if request.POST.get("all"):
        return None, request.POST.get("filters", "").lstrip("?")
    return [id for id in request.POST.getlist("run") if id], ""


def _back(request: HttpRequest) -> str:
    """The run list that the form was sent from."""
    filters = request.POST.get("filters", "").lstrip("?")
    return reverse("runs") + (f"?{QueryDict(filters).urlencode()}" if filters else "")


def _may(request: HttpRequest, kind: str) -> bool:
    return actor_of(request).may(_PERMISSIONS[kind])


def _shares(scope: targets.Scope, kind: str, filters: str | None) -> list[Share]:
    """The runs by status, those first with which it is possible."""
    statuses = bulk.STATUSES.get(kind, frozenset(RunStatus))
    parsed = None if filters is None else parse_filters(QueryDict(filters))
    shares = [
        Share(
            status,
            scope.by_status[status],
            status in statuses,
            parsed.query(status=(status,)) if parsed else "",
        )
        for status in RunStatus.values
        if scope.by_status.get(status)
    ]
    return sorted(shares, key=lambda share: not share.possible)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def bulk_page(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """One bulk action; a POST aborts it."""
    action = _get(request, id)
    if request.method == "POST":
        require(request, _PERMISSIONS[action.kind])
        try:
            bulk.abort(action, actor=actor_of(request))
            messages.success(request, "Aborted. What is done stays done.")
        except ConflictError as error:
            messages.warning(request, f"{error}.")
        return redirect("bulk-action", action.pk)
    return render(request, "dashboard/bulk_action.html", _context(request, action))


@page
@require_GET
def bulk_live(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """The part of the page that changes while the action goes on."""
    return render(request, "dashboard/bulk_live.html", _context(request, _get(request, id)))


def _visible(request: HttpRequest) -> QuerySet[BulkAction]:
    """The actions that the person may see: who sees a part of the runs, those of their own."""
    every = BulkAction.objects.all()
    if not sees_part(request):
        return every
    return every.filter(actor_reference=actor_of(request).reference)


def _get(request: HttpRequest, id: uuid.UUID) -> BulkAction:
    action = _visible(request).filter(pk=id).first()
    if action is None:
        raise Http404(f"There is no bulk action {id}")
    return action


def _context(request: HttpRequest, action: BulkAction) -> dict[str, Any]:
    items = bulk.outcomes(action)
    refused_only = request.GET.get("only") == "refused"
    after = _uuid(request.GET.get("after", ""))
    if after:
        items = items.filter(run_id__gt=after)
    shown, older = _refused(items) if refused_only else _first(items)
    kept = {"only": "refused"} if refused_only else {}
    return {
        "nav": "runs",
        "view": View(action),
        "action": action,
        "items": shown,
        "older_query": urlencode({**kept, "after": str(older)}) if older else "",
        "is_first": after is None,
        "refused_only": refused_only,
        "live_query": urlencode(kept | ({"after": str(after)} if after else {})),
        "keeps_runs": action.kind != BulkKind.DELETE,
        "may_abort": not action.is_over and _may(request, action.kind),
        "no_worker": not action.is_over and not live_workers(),
    }


def _first(items: QuerySet[BulkItem]) -> tuple[list[BulkItem], uuid.UUID | None]:
    """A page of outcomes, and where the next one starts."""
    found = list(items[: PAGE_SIZE + 1])
    shown = found[:PAGE_SIZE]
    return shown, shown[-1].run_id if len(found) > PAGE_SIZE else None


def _refused(items: QuerySet[BulkItem]) -> tuple[list[BulkItem], uuid.UUID | None]:
    """A page of refusals, and where the next one starts; it looks at so many outcomes only."""
    floor = items.values_list("run_id", flat=True)[_ITEM_WINDOW - 1 : _ITEM_WINDOW].first()
    window = items.filter(run_id__lte=floor) if floor else items
    shown, older = _first(window.filter(done=False))
    return shown, older or floor


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
