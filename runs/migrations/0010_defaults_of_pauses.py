"""Let code of the first release, which does not name these columns, go on storing jobs.

0002 added them without a default: after it, such a worker could not start again.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("runs", "0009_indexes_of_big_tables"),
    ]

    # SQLite writes the table of jobs anew, which is small; its only reference is from runs_jobevent.
    operations = [
        migrations.AlterField(
            model_name="job",
            name="pause_reason",
            field=models.TextField(blank=True, default="", db_default=""),
        ),
        migrations.AlterField(
            model_name="job",
            name="paused_by",
            field=models.CharField(blank=True, default="", db_default="", max_length=200),
        ),
    ]
