"""How a database with a million runs gets its new schema while workers go on writing.

Left to itself, Django would make them wait: PostgreSQL lets nobody write to a table while an index
of it is built, and on SQLite each migration ends with a look at every row that refers to another,
with the lock for writers in its hand. Here that is done otherwise:

- ``AddIndexAside`` builds an index of a big table, in migrations with ``atomic = False``.
- The schema editors of ``be_patient`` hold their locks briefly.
- ``one_at_a_time`` keeps a second host from doing the same at one moment.

Migrations never add a column to a table of runs that makes SQLite write the table anew.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from django.db import IntegrityError, OperationalError, connections, migrations
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.postgresql.schema import DatabaseSchemaEditor as PostgresEditor
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SqliteEditor
from django.db.migrations.state import ProjectState

#: Tables that refer to others and may have millions of rows.
BIG = frozenset({"runs_step", "runs_logentry", "runs_runevent", "runs_label", "runs_bulkitem"})

#: For so long a migration waits on PostgreSQL for a table that somebody else uses.
LOCK_SECONDS = 3

#: How long writers have between two indexes, and who waits for another migrate between two looks,
#: in seconds.
_PAUSE = 0.2

#: The number of the lock that PostgreSQL keeps for who migrates.
_MIGRATING = 1400205

#: A server may end transactions that do nothing for long, and the lock with them.
_NO_TIMEOUTS = """
    SELECT set_config(name, '0', true) FROM pg_settings
    WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""

_IS_VALID = {
    "sqlite": "SELECT true FROM sqlite_master WHERE type = 'index' AND name = %s",
    "postgresql": "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
}


class AddIndexAside(migrations.AddIndex):
    """Add an index while others write to the table; on SQLite each in a transaction of its own.

    It may be run again after a crash: an index that is there stays, and one that PostgreSQL has
    left half built, which it calls invalid, is built anew.
    """

    atomic = False

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        how = _concurrently(schema_editor)
        is_valid = self._is_valid(schema_editor)
        if is_valid is False:
            schema_editor.remove_index(model, self.index, **how)
        if not is_valid:
            begun = time.monotonic()
            schema_editor.add_index(model, self.index, **how)
            # Let those write who have been waiting, before the next one is built.
            time.sleep(min(_PAUSE, time.monotonic() - begun))

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        if self._is_valid(schema_editor) is not None:
            schema_editor.remove_index(model, self.index, **_concurrently(schema_editor))

    def _is_valid(self, schema_editor: BaseDatabaseSchemaEditor) -> bool | None:
        """None if there is no such index, or if the statements are only to be shown."""
        if schema_editor.collect_sql:
            return None
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(_IS_VALID[schema_editor.connection.vendor], [self.index.name])
            row = cursor.fetchone()
        return None if row is None else bool(row[0])


def _concurrently(schema_editor: BaseDatabaseSchemaEditor) -> dict[str, Any]:
    return {"concurrently": True} if schema_editor.connection.vendor == "postgresql" else {}


class PatientSqliteEditor(SqliteEditor):
    """Looks for rows that refer to nothing in small tables only, before it commits.

    With a million runs the look at ``BIG`` ones takes two seconds, after each of many migrations.
    Their rows could lose what they refer to if one wrote such a table anew, which none does.
    """

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end = super(SqliteEditor, self).__exit__  # not its own, which looks at all tables
        tables = {*self.connection.introspection.table_names()} - BIG
        try:
            self.connection.check_constraints(table_names=sorted(tables))
        except IntegrityError as wrong:
            end(type(wrong), wrong, wrong.__traceback__)
            raise
        else:
            end(kind, error, trace)
        finally:
            self.connection.enable_constraint_checking()


class PatientPostgresEditor(PostgresEditor):
    """Gives up rather than wait for a table for long, with everybody else behind it.

    Who changes a table waits for all who use it, such as a backup, and everybody who comes
    later waits for that change. A migration that has given up may just be run again.
    """

    def __enter__(self) -> Self:
        super().__enter__()
        if self.atomic_migration and not self.collect_sql:
            # An index that is built aside has no transaction, and may wait: nobody waits for it.
            self.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        return self


def be_patient(using: str) -> None:
    """Before a migration: let it work with these editors."""
    here: Any = connections[using]
    editors = {"sqlite": PatientSqliteEditor, "postgresql": PatientPostgresEditor}
    here.SchemaEditorClass = editors[here.vendor]


@contextmanager
def one_at_a_time(using: str, say: Callable[[str], object]) -> Iterator[None]:
    """Wait until nobody else migrates this database, and keep others waiting meanwhile.

    ``say`` is told once that it waits. Django itself would fail on tables that are there already.
    """
    here = connections[using]
    try_lock = _lock_file(here) if here.vendor == "sqlite" else _advisory_lock(here)
    with try_lock as is_free:
        if not is_free():
            say(f"Another migrate is at work on {here.settings_dict['NAME']}; this one waits.")
            while not is_free():
                time.sleep(_PAUSE)
        yield


@contextmanager
def _lock_file(here: BaseDatabaseWrapper) -> Iterator[Callable[[], bool]]:
    """Beside SQLite's file, and left there: who removed it could remove another one's."""
    path = f"{here.settings_dict['NAME']}-migrate"
    try:
        # Only to read: it may be another user's, such as root's.
        file = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise OperationalError(f"unable to open {path}: {error.strerror}") from error

    def is_free() -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        yield is_free
    finally:
        os.close(file)


@contextmanager
def _advisory_lock(here: BaseDatabaseWrapper) -> Iterator[Callable[[], bool]]:
    """A lock of a transaction, on a connection of its own: a pooler hands sessions on.

    CREATE INDEX CONCURRENTLY waits for all that might see the table as it was. So this one never
    waits for the lock, but asks again and again, and keeps no snapshot while it has it.
    """
    own = here.copy()
    own.set_autocommit(False)
    try:

        def is_free() -> bool:
            own.rollback()
            with own.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
                cursor.execute(_NO_TIMEOUTS)
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_MIGRATING])
                [is_ours] = cursor.fetchone()
            return bool(is_ours)

        yield is_free
    finally:
        own.close()
