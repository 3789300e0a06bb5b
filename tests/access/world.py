"""Two tenants on one installation, and what must not pass from the one to the other."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from runs.engine import bulk
from runs.models import (
    Activity,
    BulkAction,
    BulkItem,
    DeniedAttempt,
    FailureActivity,
    FailureGroup,
    Job,
    Run,
    Span,
    Worker,
)
from tests.pages import factories

#: In all that the other tenant's people and programs have written.
CANARY = "canary"

OWN, OTHER = {"tenant": "acme"}, {"tenant": f"{CANARY}-co"}
FINGERPRINT, OTHER_FINGERPRINT = "a" * 32, "c" * 32
KEY = "shared-key"


class World:
    """Runs in every state of acme and, many more of them, of the other tenant.

    All are of the job ``example``, which anybody may know.
    """

    def __init__(self) -> None:
        now = timezone.now()
        Job.objects.create(
            name="example", title="Example", source="x.py:1", code_version="1", synced_at=now
        )
        self.worker = factories.worker("example")
        lost = factories.worker("example")
        Worker.objects.filter(pk=lost.pk).update(heartbeat_at=now - timedelta(minutes=10))
        self.hidden: dict[str, Run] = {}
        self.own: dict[str, Run] = {}
        for _ in range(3):
            self.hidden |= self._runs(OTHER, CANARY, OTHER_FINGERPRINT)
        self.holder = factories.run(
            "running", labels=OTHER, held_key=KEY, concurrency_key=KEY, lease_owner=self.worker.pk
        )
        self.own = self._runs(OWN, "own", FINGERPRINT)
        self.blocked = factories.run("pending", labels=OWN, concurrency_key=KEY)
        # Who sees all runs has repeated one for the other tenant: ids lead out of the tenant.
        self.copy = factories.run(
            labels=OWN, source_id=self.hidden["failed"].pk, parent_id=self.holder.pk
        )
        factories.event(self.copy, "triggered", data={"source": str(self.hidden["failed"].pk)})
        factories.event(self.own["failed"], "retriggered", data={"run": str(self.holder.pk)})
        factories.run(labels=OTHER, source_id=self.own["failed"].pk)
        self.action = self._bulk("user:0", f"{CANARY}-user", self.hidden["failed"])
        DeniedAttempt.objects.create(actor=f"{CANARY}-user", operation="x", created_at=now)
        self._counted()

    def _runs(self, labels: dict[str, str], word: str, fingerprint: str) -> dict[str, Run]:
        found = {}
        long_ago = timezone.now() - timedelta(minutes=20)
        for status in ("pending", "running", "waiting", "completed", "failed", "cancelled"):
            values: dict[str, Any] = {
                "labels": labels,
                "triggered_by": f"{word}-user",
                "input": {"text": f"{word}-input"},
                "progress": {"current": 1, "total": 3, "message": f"{word}-progress"},
            }
            if status == "running":
                values |= {"lease_owner": self.worker.pk, "started_at": long_ago}
                values["current_step"] = f"{word}-step"
            if status == "pending":
                values |= {"due_at": long_ago}
            if status == "failed":
                values |= {
                    "error_type": f"{word.capitalize()}Error",
                    "error_message": f"{word}-message",
                    "error_step": f"{word}-step",
                    "error_fingerprint": fingerprint,
                    "error_traceback": f"Traceback: {word}-line",
                    "idempotency_key": f"{word}-{uuid.uuid4()}",
                }
            if status == "completed":
                values["output"] = {"text": f"{word}-output"}
            run = factories.run(status, **values)
            found[status] = run
            self._belongings(run, word)
        return found

    def _belongings(self, run: Run, word: str) -> None:
        factories.step(run, f"{word}-step", output=f"{word}-result")
        factories.step(run, f"{word}-failed", None, error_type=f"{word.capitalize()}Error")
        factories.log(run, f"{word}-line", step=f"{word}-step", data={"a": f"{word}-data"})
        for kind in ("started", "taken_over", "cancelled", "failed"):
            data = {"step": f"{word}-step", "from": str(self.worker.pk), "type": f"{word}Error"}
            factories.event(run, kind, actor=f"{word}-user", reason=f"{word}-reason", data=data)
        if run.status == "completed":
            factories.event(run, "completed", actor=f"{word}-user")

    def _counted(self) -> None:
        """What the workers count of everybody's runs."""
        now = timezone.now()
        hour = now.replace(minute=0, second=0, microsecond=0)
        group = FailureGroup.objects.create(
            fingerprint=OTHER_FINGERPRINT, job="example", step=f"{CANARY}-step",
            error_type=f"{CANARY.capitalize()}Error", message=f"{CANARY}-message",
            first_seen=now, last_seen=now, last_run_id=self.hidden["failed"].pk,
        )  # fmt: skip
        for span in Span:
            FailureActivity.objects.create(group=group, span=span, at=hour, failed=77)
            Activity.objects.create(job="example", span=span, at=hour, completed=77, failed=77)

    def _bulk(self, reference: str, actor: str, run: Run) -> BulkAction:
        action = bulk.create("retry", run_ids=[run.pk], actor=actor, reason=f"{CANARY}-reason")
        BulkAction.objects.filter(pk=action.pk).update(actor_reference=reference)
        now = timezone.now()
        BulkItem.objects.create(
            action=action, run_id=run.pk, job="example", done=False,
            message=f"{CANARY}-refusal", created_at=now,
        )  # fmt: skip
        action.refresh_from_db()
        return action

    @property
    def secrets(self) -> set[str]:
        """What nobody of acme may read anywhere."""
        hidden = Run.objects.exclude(pk__in=self._own_ids())
        return {CANARY, *(str(id) for id in hidden.values_list("pk", flat=True))}

    def _own_ids(self) -> list[uuid.UUID]:
        return [run.pk for run in Run.objects.all() if run.labels == OWN]


def secrets_in(text: str, secrets: set[str]) -> set[str]:
    """Those that can be read there."""
    low = text.lower().replace("-", "")
    return {secret for secret in secrets if secret.lower().replace("-", "") in low}
