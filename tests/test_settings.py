"""Settings by environment, in a process of their own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import MANAGE

_VARIABLES = ("DATABASE_URL", "HUEY_URL", "SECRET_KEY", "DEBUG", "ALLOWED_HOSTS", "PORT")


def run(*command: str, var: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in _VARIABLES}
    env = {
        **clean,
        "DJANGO_SETTINGS_MODULE": "durably_site.settings",
        "VAR_DIR": str(var),
        **variables,
    }
    return subprocess.run(
        [sys.executable, *command],
        check=False,
        capture_output=True,
        text=True,
        env=env,
        cwd=Path(MANAGE).parent,
    )


def read(*names: str, var: Path, **variables: str) -> list[Any]:
    """The values of settings in a process with this environment."""
    code = (
        "import json; from django.conf import settings;"
        f"print(json.dumps([getattr(settings, name) for name in {names!r}], default=str))"
    )
    done = run("-c", code, var=var, **variables)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_with_nothing_set_everything_lies_in_the_var_directory(tmp_path: Path) -> None:
    var = tmp_path / "deep" / "var"
    databases, huey, debug, hosts, port = read(
        "DATABASES", "HUEY_URL", "DEBUG", "ALLOWED_HOSTS", "PORT", var=var
    )
    assert databases["default"]["NAME"] == str(var / "db.sqlite3")
    assert (huey, debug, port) == ("", False, 8000)
    assert hosts == ["localhost", "127.0.0.1", "[::1]"]


def test_a_secret_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    (first,) = read("SECRET_KEY", var=tmp_path)
    (second,) = read("SECRET_KEY", var=tmp_path)
    assert first == second
    assert len(first) >= 50
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_a_secret_key_of_the_environment_wins_and_nothing_is_kept(tmp_path: Path) -> None:
    assert read("SECRET_KEY", var=tmp_path, SECRET_KEY="given") == ["given"]
    assert not (tmp_path / "secret_key").exists()


def test_sqlite_is_durable_by_default(tmp_path: Path) -> None:
    (databases,) = read("DATABASES", var=tmp_path)
    options = databases["default"]["OPTIONS"]
    assert "synchronous=FULL" in options["init_command"]
    assert "journal_mode=WAL" in options["init_command"]
    assert options["transaction_mode"] == "IMMEDIATE"


def test_a_database_url_names_a_postgresql(tmp_path: Path) -> None:
    (databases,) = read("DATABASES", var=tmp_path, DATABASE_URL="postgres://ann@db.example:5433/x")
    found = databases["default"]
    assert found["ENGINE"] == "django.db.backends.postgresql"
    assert (found["USER"], found["HOST"], found["PORT"], found["NAME"]) == (
        "ann", "db.example", 5433, "x",
    )  # fmt: skip


def test_a_lost_connection_is_noticed_within_a_lease(tmp_path: Path) -> None:
    url = "postgres://ann@db.example/x?keepalives_idle=7&options=-c%20search_path%3Dy"
    (databases,) = read("DATABASES", var=tmp_path, DATABASE_URL=url, LEASE_SECONDS="60")
    found = databases["default"]["OPTIONS"]
    assert found["keepalives_interval"] * found["keepalives_count"] + 20 <= 60
    assert found["tcp_user_timeout"] < 60_000
    assert "-c tcp_keepalives_idle=20" in found["options"]
    assert found["options"].endswith("-c search_path=y"), "what the URL says wins"
    assert found["keepalives_idle"] == 7
    assert found["prepare_threshold"] == 1


def test_behind_a_pooler_nothing_is_asked_of_a_session(tmp_path: Path) -> None:
    url = "postgres://ann@db.example/x"
    databases, size = read(
        "DATABASES", "DATABASE_POOL_SIZE", var=tmp_path, DATABASE_URL=url, DATABASE_POOLER="1"
    )
    assert "options" not in databases["default"]["OPTIONS"]
    assert databases["default"]["OPTIONS"]["keepalives_idle"]
    assert databases["default"]["DISABLE_SERVER_SIDE_CURSORS"] is True
    assert databases["default"]["OPTIONS"]["prepare_threshold"] is None
    assert size == 0


def test_behind_a_pooler_huey_needs_a_storage_of_its_own(tmp_path: Path) -> None:
    behind = {"DATABASE_URL": "postgres://ann@db.example/x", "DATABASE_POOLER": "1"}
    done = run(MANAGE, "check", var=tmp_path, **behind)
    assert "runs.E013" in done.stderr
    done = run(MANAGE, "check", var=tmp_path, HUEY_URL="redis://redis.example:6379/0", **behind)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("DEBUG", "maybe"),
        ("LEASE_SECONDS", "soon"),
        ("WORKER_CONCURRENCY", "4.5"),
        ("DATABASE_URL", "nonsense"),
        ("TIME_ZONE", "Mars/Olympus"),
        ("SQLITE_SYNCHRONOUS", "OFF"),
        ("RETAIN_RUNS", "forever"),
        ("HTTPS", "perhaps"),
        ("SESSION_AGE", "long"),
        ("HUEY_URL", "amqp://localhost"),
        ("DATABASE_URL", "mysql://u@h/d"),
        ("DATABASE_URL", "postgres://u:a#secret@h/d"),
        ("TIME_ZONE", "Europe"),  # a folder of zones
        ("VAR_DIR", "/dev/null/var"),
        ("SESSION_AGE", "99999999999d"),
        ("LOGIN_LOCKOUT", "99999999d"),
        ("RETAIN_RUNS", "99999999999d"),
        ("RETAIN_RUNS", "999999d"),  # before the calendar begins
        ("RELEASE", "x" * 101),
        ("WORKER_CONCURRENCY", "99999999999"),
    ],
)
def test_an_unusable_variable_is_refused_without_a_traceback(
    tmp_path: Path, name: str, value: str
) -> None:
    done = run(MANAGE, "check", var=tmp_path, **{name: value})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert name in done.stderr
    assert "secret" not in done.stderr
    assert "can't be" in done.stderr or "has to be" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 7


_COOKIES = (
    "SESSION_COOKIE_SECURE",
    "CSRF_COOKIE_SECURE",
    "SESSION_COOKIE_NAME",
    "SECURE_SSL_REDIRECT",
)


def test_plain_http_works_with_nothing_set(tmp_path: Path) -> None:
    found = read(*_COOKIES, "SECURE_HSTS_SECONDS", "TRUSTED_PROXIES", var=tmp_path)
    assert found == [False, False, "sessionid", False, 0, []]


def test_https_is_one_variable_and_the_rest_can_be_tuned(tmp_path: Path) -> None:
    found = read(*_COOKIES, "SECURE_HSTS_SECONDS", var=tmp_path, HTTPS="1")
    assert found == [True, True, "__Host-sessionid", True, 365 * 24 * 3600]
    found = read(
        "SECURE_HSTS_SECONDS", "SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_PROXY_SSL_HEADER",
        "SESSION_COOKIE_AGE", "AXES_FAILURE_LIMIT", "AXES_COOLOFF_TIME",
        var=tmp_path, HTTPS="1", HSTS_SECONDS="60", HSTS_SUBDOMAINS="0", LOGIN_ATTEMPTS="7",
        SECURE_PROXY_SSL_HEADER="X-Forwarded-Ssl: on", SESSION_AGE="12h", LOGIN_LOCKOUT="1h",
    )  # fmt: skip
    assert found == [60, False, ["HTTP_X_FORWARDED_SSL", "on"], 12 * 3600, 7, "1:00:00"]


def test_the_checks_for_production_find_what_is_not_safe(tmp_path: Path) -> None:
    command = (MANAGE, "check", "--deploy", "--fail-level", "WARNING")
    done = run(*command, var=tmp_path, SECRET_KEY="short", DEBUG="1", HTTPS="0")
    assert done.returncode == 1
    for problem in ("security.W008", "security.W009", "security.W012", "security.W018"):
        assert problem in done.stderr


def test_two_jobs_of_one_name_are_refused_at_start_up_with_both_places(tmp_path: Path) -> None:
    code = (
        "import sys, runpy; sys.argv = ['manage.py', 'check']; sys.path.insert(0, '.');"
        "from runs import job\n"
        "@job(name='process-order')\n"
        "def other(step): ...\n"
        f"runpy.run_path({MANAGE!r}, run_name='__main__')"
    )
    done = run("-c", f"exec({code!r})", var=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "process_order.py:" in done.stderr
    assert "<string>:" in done.stderr
