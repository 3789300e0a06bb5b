"""An installation in which everything that can be said was said by somebody hostile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib.auth.models import User
from django.db.models import Model
from django.utils import timezone

from runs.models import (
    Activity,
    BulkAction,
    BulkItem,
    Chore,
    DeniedAttempt,
    FailureActivity,
    FailureGroup,
    Job,
    JobEvent,
    Run,
    Span,
    Worker,
)
from tests.access.people import token
from tests.pages import factories
from tests.security.surfaces import FINGERPRINT, Things


def make_world(text: str) -> Things:
    """Rows of every model, with the text in each place that a job, a person or a program fills.

    Names of jobs are left out: code alone gives them, and they have no odd characters.
    """
    now = timezone.now()
    job = Job.objects.update_or_create(
        name="parcel",
        defaults={
            "title": text, "description": text, "source": text, "code_version": text[:64],
            "tags": [text], "synced_at": now, "paused_at": now, "paused_by": text,
            "pause_reason": text, "input_schema": {"title": text, text: text},
            "output_schema": {"description": text},
        },
    )[0]  # fmt: skip
    JobEvent.objects.create(job=job, kind="paused", actor=text, reason=text, created_at=now)
    worker = factories.worker("parcel")
    Worker.objects.filter(pk=worker.pk).update(host=text, release=text[:100])
    failed = _runs(text, worker)
    _counted(text, failed)
    action = BulkAction.objects.create(
        kind="retry", actor=text, reason=text, filters=f"q={text}&label=a:{text}&job={text}",
        aborted_by=text, bound=failed.pk, expected=1, created_at=now,
    )  # fmt: skip
    BulkItem.objects.create(
        action=action, run_id=failed.pk, job="parcel", done=False, message=text, created_at=now
    )
    DeniedAttempt.objects.create(
        actor=text, operation=text[:50], target=text, detail=text, created_at=now
    )
    token(text[:100], labels={"a": text}, user=User.objects.create_user(text[:150]), actor=text)
    Chore.objects.get_or_create(name=text[:50], defaults={"due_at": now})
    return Things(failed, action)


def _runs(text: str, worker: Worker) -> Run:
    """One in each state; the failed one."""
    about: dict[str, Any] = {
        "job": "parcel", "triggered_by": text, "labels": {"tenant": text},
        "input": {text: [text, {text: text}]}, "release": text[:100], "code_version": text[:64],
        "progress": {"current": 1, "total": 3, "message": text},
    }  # fmt: skip
    failed = factories.failed_run(
        **about, error_type=text, error_message=text, error_step=text, error_traceback=text,
        error_fingerprint=FINGERPRINT, idempotency_key=f"{text} 1", concurrency_key=text,
    )  # fmt: skip
    factories.run("completed", **about, output={text: text}, idempotency_key=f"{text} 2")
    factories.run("cancelled", **about)
    holder = factories.run(
        "running", **about, current_step=text, concurrency_key=text, held_key=text,
        lease_owner=worker.pk,
    )  # fmt: skip
    factories.run("pending", **about, concurrency_key=text)
    for run in (failed, holder):
        factories.step(run, text, output={text: text})
        factories.step(
            run, f"{text} 2", None, error_type=text, error_message=text, error_traceback=text
        )
        for level in ("info", "warn", "error"):
            factories.log(run, text, step=text, level=level, data={text: text})
        for kind in ("triggered", "started", "taken_over", "cancelled", "failed"):
            data = {"step": text, "type": text, "from": text, "message": text}
            factories.event(run, kind, actor=text, reason=text, data=data)
    return failed


def _counted(text: str, failed: Run) -> None:
    """What the workers count."""
    now = timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    group = FailureGroup.objects.create(
        fingerprint=FINGERPRINT, job="parcel", step=text, error_type=text, message=text,
        first_seen=now - timedelta(hours=1), last_seen=now, last_run_id=failed.pk,
    )  # fmt: skip
    for span in Span:
        FailureActivity.objects.create(group=group, span=span, at=hour, failed=7)
        Activity.objects.create(job="parcel", span=span, at=hour, completed=7, failed=7)


def rows() -> Iterator[tuple[str, Model]]:
    """Of each model of ``runs`` a row, and the beginning of its addresses in the admin."""
    for model in apps.get_app_config("runs").get_models():
        row = model._default_manager.order_by("pk").first()
        assert row is not None, model
        yield f"/admin/runs/{model._meta.model_name}/", row
