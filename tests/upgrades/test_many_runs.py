"""An upgrade of a database with very many runs, while workers go on."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import apps as installed
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, connection
from django.db.migrations.loader import MigrationLoader

from runs import upgrades
from runs.models import Run, RunEvent
from tests import processes
from tests.processes import until
from tests.upgrades.first_release import FIRST, migrate
from tests.upgrades.many_runs import fill_many, writing

JOB = "old-job"

#: What Django and other packages need is there already.
OTHERS = [node for node in MigrationLoader(None).graph.leaf_nodes() if node[0] != "runs"]

#: Seconds that no write may take longer than.
LONGEST = 5


def test_workers_go_on_while_the_database_comes_forward(empty_database: str) -> None:
    come_forward(empty_database, 20_000)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_workers_go_on_while_a_million_runs_come_forward(empty_database: str) -> None:
    come_forward(empty_database, 1_000_000)


def come_forward(url: str, count: int) -> None:
    """Migrate so many runs while somebody writes; nothing is lost, and nobody waits for long."""
    rows = fill_many(migrate(*OTHERS, FIRST), JOB, count)
    with writing(url) as writer:
        until(lambda: writer.turns or writer.error, "the writer writes")
        before = writer.turns
        code, said, errors = processes.manage("migrate", timeout=1200)
    assert code == 0, said + errors
    assert writer.turns > before
    assert writer.longest < LONGEST
    late = dict.fromkeys(("runs_run", "runs_step", "runs_runevent"), writer.turns)
    for table, expected in rows.items():
        assert count_rows(table) == expected + late.get(table, 0), table
    check_indexes()
    assert Run.objects.filter(error_fingerprint="late").count() == writer.turns
    assert Run.objects.filter(status="running", lease_generation=1).count() == writer.turns
    assert Run.objects.filter(job=JOB, status="failed").count() >= writer.turns
    assert RunEvent.objects.filter(created_at="2026-06-01T00:00:01Z").count() >= writer.turns


def count_rows(table: str) -> int:
    [[found]] = ask(f"SELECT count(*) FROM {table}")
    return int(found)


def check_indexes() -> None:
    """All that the models ask for are there, and whole."""
    with connection.cursor() as cursor:
        for model in installed.get_app_config("runs").get_models():
            found = connection.introspection.get_constraints(cursor, model._meta.db_table)
            asked = {index.name for index in model._meta.indexes}
            assert asked <= found.keys(), model
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA integrity_check")
            assert cursor.fetchall() == [("ok",)]
            connection.check_constraints()
        else:
            cursor.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid")
            assert cursor.fetchall() == []


BEFORE_INDEXES = ("runs", "0008_job_events_and_parked_by_job")

_LATER = {"run_by_failure", "run_copies", "run_parked_by_job", "event_by_time"}


def test_indexes_that_are_there_already_stay(empty_database: str) -> None:
    migrate(BEFORE_INDEXES)
    with connection.schema_editor(atomic=False) as editor:
        for model in (Run, RunEvent):
            for index in model._meta.indexes:
                if index.name in _LATER:
                    editor.add_index(model, index)
    migrate()
    check_indexes()


def test_the_indexes_go_when_the_migration_is_taken_back(empty_database: str) -> None:
    migrate()
    migrate(BEFORE_INDEXES)
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "runs_run")
    assert not _LATER & found.keys()
    migrate()
    check_indexes()


@pytest.mark.postgres
def test_an_index_that_a_crash_left_half_built_is_built_again(
    empty_database: str, tmp_path: Path
) -> None:
    migrate(BEFORE_INDEXES)
    with psycopg.connect(empty_database) as writer:
        writer.execute("LOCK TABLE runs_run IN ROW EXCLUSIVE MODE")  # as any write does
        process = processes.start("migrate", log=tmp_path / "migrate.log")
        until(half_built, "an index is half built")
        process.kill()
        process.wait()
        ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
        )
    assert half_built() == [("run_by_failure",)]
    code, said, errors = processes.manage("migrate")
    assert code == 0, said + errors
    check_indexes()


def half_built() -> list[Any]:
    return ask("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")


def ask(query: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        found: list[Any] = cursor.fetchall()
    return found


@pytest.mark.postgres
def test_a_migration_gives_up_rather_than_let_all_wait_behind_it(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrades, "LOCK_SECONDS", 0.3)
    migrate(FIRST)
    with psycopg.connect(empty_database) as backup:
        backup.execute("SELECT count(*) FROM runs_job")
        with pytest.raises(OperationalError, match="lock timeout"):
            call_command("migrate", verbosity=0)
        backup.rollback()
    call_command("migrate", verbosity=0)
    check_indexes()


@pytest.mark.django_db(transaction=True)
def test_no_migration_writes_a_big_table_anew_or_builds_its_indexes_in_a_transaction() -> None:
    names = sorted(name for app, name in MigrationLoader(None).disk_migrations if app == "runs")
    for name in names[1:]:
        shown = StringIO()
        call_command("sqlmigrate", "runs", name, stdout=shown)
        assert not _BLOCKING[connection.vendor].findall(shown.getvalue()), name


_BIG = f'"({"|".join(("runs_run", *upgrades.BIG - {"runs_bulkitem"}))})"'
_BLOCKING = {
    "sqlite": re.compile(
        rf"{_BIG.replace('(', 'new__(', 1)}|^BEGIN;.*INDEX [^;]* ON {_BIG}", re.DOTALL
    ),
    "postgresql": re.compile(
        rf"ALTER TABLE {_BIG} (?!ADD COLUMN)|INDEX (?!CONCURRENTLY)[^;]* ON {_BIG}"
    ),
}


def test_sqlite_is_asked_for_dangling_rows_in_small_tables_alone(empty_database: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL looks at each row when it is written")
    migrate(FIRST)
    asked: list[str] = []

    def note(execute: Any, sql: str, *more: Any) -> Any:
        if "foreign_key_check" in sql:
            asked.append(sql)
        return execute(sql, *more)

    with connection.execute_wrapper(note):
        call_command("migrate", verbosity=0)
    assert 'PRAGMA foreign_key_check("runs_job")' in asked
    assert not [sql for sql in asked if '("' not in sql or sql.split('"')[1] in upgrades.BIG]

    with pytest.raises(IntegrityError, match="runs_jobevent"), connection.schema_editor() as editor:
        editor.execute(
            "INSERT INTO runs_jobevent (kind, actor, reason, created_at, job_id) "
            "VALUES ('paused', 'somebody', '', '2026-01-01', 'nowhere')"
        )
    assert ask("SELECT count(*) FROM runs_jobevent") == [(0,)]
