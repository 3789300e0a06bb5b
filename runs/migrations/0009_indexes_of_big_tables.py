"""Indexes of the tables that may be big, which workers need not wait for.

They stood in 0002 and 0008. Those have to be one transaction each, since a crash must not leave
half of their tables; these must not be in one. Here each is skipped if it is there, be it from a
crash in the middle or from 0002 and 0008 as they were.
"""

from django.db import migrations, models

from runs.upgrades import AddIndexAside


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ("runs", "0008_job_events_and_parked_by_job"),
    ]

    operations = [
        AddIndexAside(
            model_name="run",
            index=models.Index(condition=models.Q(("error_fingerprint__isnull", False)), fields=["error_fingerprint", "id"], name="run_by_failure"),
        ),
        AddIndexAside(
            model_name="run",
            index=models.Index(condition=models.Q(("source_id__isnull", False)), fields=["source_id"], name="run_copies"),
        ),
        AddIndexAside(
            model_name="run",
            index=models.Index(condition=models.Q(("due_at__isnull", True), ("status", "pending")), fields=["job"], name="run_parked_by_job"),
        ),
        AddIndexAside(
            model_name="runevent",
            index=models.Index(fields=["created_at"], name="event_by_time"),
        ),
    ]
