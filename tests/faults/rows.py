"""The rows that runs leave behind."""

from __future__ import annotations

from django.db import transaction

from runs import models

#: In the order in which they may be deleted.
_TRACES = (
    models.BulkItem, models.BulkAction, models.LogEntry, models.Step, models.Label,
    models.RunEvent, models.Run,
)  # fmt: skip


def forget_all() -> None:
    """As if nothing had ever been triggered."""
    with transaction.atomic():
        for model in _TRACES:
            model._default_manager.all()._raw_delete("default")
        models.Job.objects.update(paused_at=None, paused_by="", pause_reason="")
