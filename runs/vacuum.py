"""Whether PostgreSQL vacuums by itself what this program writes.

Each change of a row leaves a dead one, and a run changes many times. Where nothing vacuums, tables
grow without end, also with retention, and the planner goes by statistics of long ago.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

#: Without the second, the server does not know how many rows are dead.
_SETTINGS = ("autovacuum", "track_counts")

#: A table's texts are in another one, its TOAST table, which can be left out by itself.
_TABLES = r"""
    SELECT c.relname FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
    WHERE c.relkind = 'r' AND n.nspname = current_schema()
        AND (c.relname = ANY(%s) OR c.relname LIKE 'huey\_%%')
        AND EXISTS (
            SELECT FROM pg_options_to_table(c.reloptions || toast.reloptions)
            WHERE option_name = 'autovacuum_enabled' AND NOT option_value::boolean
        )
    ORDER BY c.relname
"""


@dataclass(frozen=True)
class Neglect:
    """What is never vacuumed: all that there is, by settings of the server, or some tables."""

    settings: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """What is wrong, in a sentence."""
        reasons = [f"{name} is off" for name in self.settings]
        if self.tables:
            reasons.append(f"autovacuum is switched off for {', '.join(self.tables)}")
        return f"PostgreSQL does not vacuum by itself: {', and '.join(reasons)}."

    @property
    def remedy(self) -> list[str]:
        """The statements that mend it, for an administrator of the server."""
        on = [f"ALTER SYSTEM SET {name} = on;" for name in self.settings]
        own = [
            f"ALTER TABLE {connection.ops.quote_name(name)} "
            "RESET (autovacuum_enabled, toast.autovacuum_enabled);"
            for name in self.tables
        ]
        return [*on, *(["SELECT pg_reload_conf();"] if on else []), *own]


def neglect() -> Neglect | None:
    """What is never vacuumed by itself; None if there is nothing, as on SQLite."""
    if connection.vendor != "postgresql":
        return None
    ours = connection.introspection.django_table_names()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS name WHERE NOT current_setting(name)::boolean",
            [list(_SETTINGS)],
        )
        settings = tuple(name for (name,) in cursor.fetchall())
        cursor.execute(_TABLES, [ours])
        tables = tuple(name for (name,) in cursor.fetchall())
    return Neglect(settings, tables) if settings or tables else None
