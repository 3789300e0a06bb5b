"""Groups to put people into: viewer, operator and admin."""

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

VIEW = (
    "view_activity", "view_bulkaction", "view_bulkitem", "view_chore", "view_failureactivity",
    "view_failuregroup", "view_job", "view_jobevent", "view_label", "view_logentry", "view_run", "view_runevent",
    "view_step", "view_worker",
)  # fmt: skip
OPERATE = (*VIEW, "trigger_run", "operate_run")
ADMINISTER = (*OPERATE, "delete_run", "manage_tokens", "view_apitoken", "view_deniedattempt")

GROUPS = {"viewer": VIEW, "operator": OPERATE, "admin": ADMINISTER}


def make_groups(apps, schema_editor):
    """A group that is there already stays as it is: its members must not gain rights."""
    using = schema_editor.connection.alias
    # Django makes permissions after all migrations; here they are needed now.
    create_permissions(installed.get_app_config("runs"), verbosity=0, using=using, apps=apps)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    for name, codenames in GROUPS.items():
        group, made = apps.get_model("auth", "Group").objects.using(using).get_or_create(name=name)
        if made:
            found = permissions.filter(content_type__app_label="runs", codename__in=codenames)
            group.permissions.set(found)


def remove_groups(apps, schema_editor):
    """Remove those that nobody is in."""
    groups = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    groups.filter(name__in=GROUPS, user__isnull=True).delete()


class Migration(migrations.Migration):

    dependencies = [
        ("runs", "0005_rights_of_bulk_actions"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(make_groups, remove_groups)]
