"""The groups of the product, which a test that empties the database takes away."""

from __future__ import annotations

from importlib import import_module

from django.apps import apps
from django.db import connection


def make_groups() -> None:
    """As the migration makes them."""
    migration = import_module("runs.migrations.0006_groups")
    migration.make_groups(apps, connection.schema_editor())
