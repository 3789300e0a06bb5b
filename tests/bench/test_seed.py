"""``manage.py seed``: what it makes looks as if the engine had made it."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import Count, F, Max, Q
from django.utils import timezone

from runs.engine import claims
from runs.engine.failures import Failure
from runs.models import (
    Activity,
    FailureActivity,
    FailureGroup,
    Job,
    Label,
    LogEntry,
    Run,
    RunEvent,
    RunStatus,
    Span,
    Step,
)

RUNS = 1_500

pytestmark = pytest.mark.django_db(transaction=True)


def _seed(*arguments: str) -> str:
    out = io.StringIO()
    call_command("seed", "--runs", str(RUNS), *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_makes_runs_that_hold_together() -> None:
    assert "1,500 runs in" in _seed()
    runs = Run.objects.all()
    assert runs.count() == RUNS + 1  # and one that is big
    counts = dict(runs.order_by().values_list("status").annotate(Count("pk")))
    assert counts[RunStatus.COMPLETED] > RUNS * 0.9
    assert all(counts[s] for s in ("failed", "cancelled", "pending", "running"))
    assert not runs.filter(Q(finished_at__gt=timezone.now()) | Q(started_at__gt=timezone.now()))
    assert Label.objects.count() > 2 * RUNS
    steps = runs.annotate(done=Count("steps", filter=Q(steps__status="completed")))
    assert not steps.exclude(step_count=F("done"))
    lines = LogEntry.objects.values("run").annotate(last=Max("seq"))
    assert not lines.exclude(last__lt=F("run__seq"))
    assert Job.objects.filter(registered=False).exists()


def test_counts_what_happened() -> None:
    _seed()
    month = Activity.objects.filter(span=Span.HOUR)
    totals = {kind: sum(month.values_list(kind, flat=True)) for kind in ("triggered", "failed")}
    assert totals["triggered"] == RUNS + 1
    assert totals["failed"] == RunEvent.objects.filter(kind="failed").count()
    hours = FailureActivity.objects.filter(span=Span.HOUR).values_list("failed", flat=True)
    assert sum(hours) == totals["failed"]
    oldest = Activity.objects.filter(span=Span.MINUTE).order_by("at").values_list("at", flat=True)
    assert oldest[0] > timezone.now() - timedelta(hours=27)


def test_groups_failures_as_the_engine_does() -> None:
    _seed()
    failed = Run.objects.filter(status=RunStatus.FAILED)
    assert set(failed.values_list("error_fingerprint", flat=True)) <= set(
        FailureGroup.objects.values_list("pk", flat=True)
    )
    for run in failed[:20]:
        failure = Failure(run.error_type or "", run.error_message or "", "")
        assert failure.fingerprint(run.job, run.error_step) == run.error_fingerprint
        assert Step.objects.filter(run=run, name=run.error_step, status="failed").exists()


def test_leaves_runs_that_a_worker_can_take() -> None:
    _seed()
    waiting = Run.objects.filter(status=RunStatus.PENDING, run_at=None).order_by("due_at").first()
    assert waiting is not None
    claim = claims.claim_next((waiting.job,), waiting.pk, "test")
    assert claim is not None
    assert claim.run_id == waiting.pk


def test_refuses_a_database_that_holds_runs() -> None:
    _seed()
    with pytest.raises(CommandError, match="holds runs already") as refusal:
        _seed()
    assert refusal.value.returncode == 64
    _seed("--add")
    assert Run.objects.count() == 2 * (RUNS + 1)
