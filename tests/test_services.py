"""Where the tests themselves run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from runs.models import Run
from tests import services
from tests.pages import factories


def test_nothing_is_written_outside_a_temporary_directory() -> None:
    assert Path(settings.VAR_DIR).is_relative_to(tempfile.gettempdir())


def test_a_missing_service_skips_the_test_on_a_developers_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Redis at here"):
        services.skip_or_fail(services.Missing("no Redis at here"))


def test_a_missing_service_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI=true allows no skip"):
        services.skip_or_fail(services.Missing("no Redis at here"))


@pytest.mark.redis
def test_a_redis_database_of_its_own_is_empty(redis_server: str) -> None:
    import redis

    with redis.Redis.from_url(redis_server) as client:
        assert client.dbsize() == 0


@pytest.mark.postgres
@pytest.mark.django_db
def test_on_postgresql_each_test_process_has_a_database_of_its_own() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone()[0].startswith("test_durably_")


@pytest.mark.django_db
def test_on_sqlite_the_database_is_a_file_that_other_processes_can_open() -> None:
    if connection.vendor == "sqlite":
        assert Path(connection.settings_dict["NAME"]).is_file()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_the_database_is_emptied_beside_a_reader_that_a_test_left() -> None:
    factories.run("completed")
    with psycopg.connect(**connection.get_connection_params()) as reader:
        reader.execute("SELECT count(*) FROM runs_run")  # and its transaction stays open
        call_command("flush", interactive=False)
        assert not Run.objects.exists()
        assert reader.execute("SELECT count(*) FROM runs_run").fetchone() == (0,)
