"""What PostgreSQL's planner knows of the tables, kept up with a burst of triggers.

A connection keeps the plans of the engine's statements (ADR 16). One that was made for a handful
of runs reads the whole table, and still does so when there are a hundred thousand, until the table
is analyzed. Autovacuum looks after that once a minute; where it is switched off, nobody does.
"""

from __future__ import annotations

from runs.engine import database
from runs.engine.database import Statement
from runs.models import Label, LogEntry, Run, RunEvent, Step

_TABLES = [model._meta.db_table for model in (Run, Step, LogEntry, RunEvent, Label)]

#: Changes that are few in a table of any size.
_FEW = 1_000

# Only of who may analyze the table, or the server would warn of it each time.
_OUTGROWN = Statement("""
    SELECT c.relname FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE c.relname = ANY(%s) AND s.schemaname = current_schema()
        AND s.n_mod_since_analyze > %s + greatest(c.reltuples, 0)
        AND pg_has_role(c.relowner, 'USAGE')
""")


def keep_up() -> list[str]:
    """Analyze the tables that have changed more than the planner knows of rows; their names."""
    if database.is_sqlite():
        return []
    outgrown = [name for (name,) in database.query(_OUTGROWN, (_TABLES, _FEW))]
    for name in outgrown:
        # Whoever vacuums the table, or adds an index, may take long, and the next look comes soon.
        database.query(Statement(f"ANALYZE (SKIP_LOCKED) {name}"), ())
    return outgrown
