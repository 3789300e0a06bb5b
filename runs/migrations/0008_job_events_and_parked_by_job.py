"""What happened to jobs, for those who may see jobs.

The index of parked runs by job, by which this is still called, is added by 0009.
"""

import django.db.models.deletion
from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations, models


def let_groups_see(apps, schema_editor):
    """Groups that may see jobs may see what happened to them."""
    using = schema_editor.connection.alias
    create_permissions(installed.get_app_config("runs"), verbosity=0, using=using, apps=apps)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    found = permissions.filter(content_type__app_label="runs")
    for group in apps.get_model("auth", "Group").objects.using(using):
        if group.permissions.filter(pk__in=found.filter(codename="view_job")).exists():
            group.permissions.add(*found.filter(codename="view_jobevent"))


class Migration(migrations.Migration):

    dependencies = [
        ("runs", "0007_leases_of_chores"),
    ]

    operations = [
        migrations.CreateModel(
            name="JobEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("paused", "Paused"), ("resumed", "Resumed")], max_length=10)),
                ("actor", models.CharField(max_length=200)),
                ("reason", models.TextField(blank=True)),
                ("created_at", models.DateTimeField()),
                ("job", models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="events", to="runs.job")),
            ],
            options={
                "ordering": ("id",),
                "indexes": [models.Index(fields=["job", "id"], name="event_by_job")],
            },
        ),
        migrations.RunPython(let_groups_see, migrations.RunPython.noop),
    ]
