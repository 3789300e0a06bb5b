"""What a person may do with a run, and doing it. The engine decides; this only asks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from runs import access, conf
from runs.dashboard.access import TRIGGER, actor_of
from runs.dashboard.format import size
from runs.dashboard.usual import NextStep
from runs.errors import ValidationError
from runs.models import Run, RunStatus, Step, StepStatus
from runs.registry import JobDefinition, registry

RETRYABLE = (RunStatus.FAILED, RunStatus.CANCELLED)
_MAX_REASON = 1000
_MAX_PREVIEW = 5
_MAX_COUNTED = 1_000


def allowed(request: HttpRequest, run: Run) -> dict[str, bool]:
    """Which buttons to show, by name."""
    actor = actor_of(request)
    known = run.job in registry.names()

    def may(operation: str) -> bool:
        return not access.refusal(actor, run, operation)

    return {
        "retry": known and run.status in RETRYABLE and may("retry"),
        "retrigger": known and run.is_terminal and may("retrigger"),
        "edit": known and run.is_terminal and actor.may(TRIGGER),
        "cancel": not run.is_terminal and may("cancel"),
        "delete": run.is_terminal and may("delete"),
    }


def perform(request: HttpRequest, run: Run) -> HttpResponse:
    """Do what the form asks for. Raises the engine's errors and PermissionDeniedError."""
    action = request.POST.get("do", "")
    if action not in ("retry", "retrigger", "cancel", "delete"):
        raise ValidationError(f"There is no action {action[:40]!r}.")
    reason = request.POST.get("reason", "").strip()[:_MAX_REASON]
    new = access.operate(actor_of(request), run.pk, action, reason=reason)
    short = f"…{str(run.id)[-4:]}"
    if new is None:
        messages.success(request, f"Run {short} of {run.job} is deleted.")
        return redirect("runs")
    said = {
        "retry": f"Run {short} is pending again, attempt {new.attempt}.",
        "retrigger": f"This is a new run; it repeats {short}.",
        "cancel": f"Run {short} is cancelled.",
    }
    messages.success(request, said[action])
    return redirect("run", new.id)


@dataclass(frozen=True)
class PreviewRow:
    """What a retry does with one step."""

    name: str
    status: str  # of the step now; "pending" if it has never started
    finished_at: datetime | None = None
    size: str = ""
    attempt: int = 1


@dataclass(frozen=True)
class RetryPreview:
    """What a retry would do."""

    kept: int
    kept_rows: list[PreviewRow]  # the last of them
    again: list[PreviewRow]
    more_again: int
    never: list[PreviewRow]
    old_code: str
    new_code: str
    old_release: str
    new_release: str
    input_problem: str

    @property
    def earlier_kept(self) -> int:
        return self.kept - len(self.kept_rows)


def preview_retry(run: Run, missing: Sequence[NextStep] = ()) -> RetryPreview | None:
    """What Retry will do with this run; None if it can't be retried. Three queries.

    ``missing`` are steps that usually come but have not started.
    """
    definition = registry.get(run.job)
    if run.status not in RETRYABLE or definition is None:
        return None
    steps = Step.objects.filter(run_id=run.id)
    kept = steps.filter(status=StepStatus.COMPLETED).order_by("-seq")
    kept_rows = [
        PreviewRow(name, StepStatus.COMPLETED, finished, size(length or 0))
        for name, finished, length in kept.values_list("name", "finished_at", Length("output"))[
            :_MAX_PREVIEW
        ]
    ]
    failed = steps.filter(status=StepStatus.FAILED).order_by("seq")
    again = [
        PreviewRow(name, StepStatus.FAILED, attempt=attempts + 1)
        for name, attempts in failed.values_list("name", "attempts")[:_MAX_COUNTED]
    ]
    names = {row.name for row in again}
    release = conf.release()
    changed = bool(run.code_version) and run.code_version != definition.code_version
    released = bool(run.release) and run.release != release
    return RetryPreview(
        run.step_count,
        kept_rows[::-1],
        again[:_MAX_PREVIEW],
        max(0, len(again) - _MAX_PREVIEW),
        [PreviewRow(step.name, "pending") for step in missing if step.name not in names][
            :_MAX_PREVIEW
        ],
        run.code_version if changed else "",
        definition.code_version if changed else "",
        run.release if released else "",
        release if released else "",
        _input_problem(run, definition),
    )


def _input_problem(run: Run, definition: JobDefinition) -> str:
    """Why today's schema refuses the input of this run; empty if it doesn't."""
    try:
        definition.parse_input(Run.objects.values_list("input", flat=True).get(pk=run.pk))
    except (ValidationError, Run.DoesNotExist) as error:
        return str(error)
    return ""
