"""PostgreSQL that does not vacuum by itself."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import DjangoDbBlocker

from runs.checks import check_vacuum
from runs.vacuum import Neglect, neglect
from tests.faults.installation import default_database
from tests.faults.servers import PostgresServer, new_server
from tests.processes import until

ON_ITSELF = "RESET (autovacuum_enabled, toast.autovacuum_enabled);"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server as it is by default, with a table of ours, one of Huey's and somebody else's."""
    with new_server() as found:
        for name in ("runs_run", "huey_task", "other"):
            found.execute(f"CREATE TABLE {name} (id int, input text)")
        yield found


@pytest.fixture
def here(server: PostgresServer, django_db_blocker: DjangoDbBlocker) -> Iterator[PostgresServer]:
    with django_db_blocker.unblock(), default_database(server.url, migrated=False):
        yield server


def change(server: PostgresServer, *statements: str) -> None:
    for statement in statements:
        server.execute(statement)


@pytest.mark.postgres
def test_a_server_as_it_is_by_default_is_fine(here: PostgresServer) -> None:
    assert neglect() is None
    assert check_vacuum(databases=["default"]) == []


@pytest.mark.postgres
@pytest.mark.parametrize("name", ["autovacuum", "track_counts"])
def test_a_setting_of_the_server_is_told_and_the_remedy_mends_it(
    here: PostgresServer, name: str
) -> None:
    change(here, f"ALTER SYSTEM SET {name} = off", "SELECT pg_reload_conf()")
    until(lambda: neglect() == Neglect((name,)), "the server has heard")
    [message] = check_vacuum(databases=["default"])
    assert message.id == "runs.W002"
    assert f"{name} is off" in message.msg
    assert f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();" in str(message.hint)
    change(here, *Neglect((name,)).remedy)
    until(lambda: neglect() is None, "the server has heard")


@pytest.mark.postgres
@pytest.mark.parametrize("value", ["false", "off", "no", "0"])
@pytest.mark.parametrize("option", ["autovacuum_enabled", "toast.autovacuum_enabled"])
def test_tables_of_ours_are_told_and_the_remedy_mends_them(
    here: PostgresServer, option: str, value: str
) -> None:
    for table in ("runs_run", "huey_task", "other"):
        here.execute(f"ALTER TABLE {table} SET (fillfactor = 80, {option} = {value})")
    found = neglect()
    assert found == Neglect(tables=("huey_task", "runs_run"))
    assert found.problem.endswith("autovacuum is switched off for huey_task, runs_run.")
    change(here, *found.remedy)
    assert neglect() is None


@pytest.mark.postgres
def test_a_table_that_says_it_is_on_is_fine(here: PostgresServer) -> None:
    change(here, "ALTER TABLE runs_run SET (autovacuum_enabled = on)")
    assert neglect() is None


@pytest.mark.postgres
def test_check_says_it_if_it_may_ask_the_database(here: PostgresServer) -> None:
    change(here, "ALTER TABLE runs_run SET (autovacuum_enabled = off)")
    for databases in ([], ["default"]):
        said = StringIO()
        call_command("check", databases=databases, stderr=said)
        assert ("runs.W002" in said.getvalue()) is bool(databases)
    change(here, f'ALTER TABLE "runs_run" {ON_ITSELF}')


@pytest.mark.postgres
def test_a_server_that_is_away_is_no_matter_of_this_check(
    django_db_blocker: DjangoDbBlocker,
) -> None:
    nowhere = "postgres://postgres@127.0.0.1:1/postgres"
    with django_db_blocker.unblock(), default_database(nowhere, migrated=False):
        assert check_vacuum(databases=["default"]) == []


def test_sqlite_needs_none() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("about SQLite")
    assert neglect() is None  # without access to the database
