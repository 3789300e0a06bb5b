"""System checks of the settings."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from runs import conf
from runs.access import AccessPolicy
from runs.checks import check_https, check_settings


def ids() -> list[str]:
    return [str(message.id) for message in check_settings()]


def test_the_defaults_are_fine(settings: Any) -> None:
    for name in conf.SETTINGS:
        if hasattr(settings, name) and not name.endswith("_DIR"):
            delattr(settings, name)
    assert ids() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER_CONCURRENCY", 0),
        ("WORKER_CONCURRENCY", 1.5),
        ("WORKER_CONCURRENCY", True),
        ("LEASE_SECONDS", 2.9),
        ("LEASE_SECONDS", "soon"),
        ("SHUTDOWN_SECONDS", 0),
        ("SHUTDOWN_SECONDS", None),
        ("MAX_RECOVERIES", -1),
        ("MAX_RECOVERIES", float("inf")),
        ("RETAIN_RUNS", "0d"),
        ("RETAIN_RUNS", "30"),
        ("MAX_INPUT_BYTES", 0),
        ("MAX_RESULT_BYTES", []),
        ("MAX_LOG_BYTES", ""),
        ("VAR_DIR", None),
    ],
)
def test_an_unusable_value_is_an_error_that_names_the_setting(
    settings: Any, name: str, value: Any
) -> None:
    setattr(settings, name, value)
    (message,) = check_settings()
    assert message.id == "runs.E001"
    assert message.msg.startswith(f"{name} can't be used")
    assert repr(conf.SETTINGS[name].default) in str(message.hint)


@pytest.mark.parametrize("value", ["30d", "12h", "90m", "", None])
def test_usable_retentions_pass(settings: Any, value: str | None) -> None:
    settings.RETAIN_RUNS = value
    assert ids() == []


def use(monkeypatch: pytest.MonkeyPatch, engine: str, name: str) -> None:
    """Set the database for the checks to judge; nothing connects to it."""
    found = {"ENGINE": f"django.db.backends.{engine}", "NAME": name}
    monkeypatch.setitem(django_settings.DATABASES, "default", found)


class TestDatabase:
    @pytest.fixture
    def sqlite(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        path = tmp_path / "db.sqlite3"
        use(monkeypatch, "sqlite3", str(path))
        return path

    @pytest.mark.parametrize("value", ["FULL", "NORMAL", "EXTRA"])
    def test_safe_synchronous_modes_pass(self, settings: Any, sqlite: Path, value: str) -> None:
        settings.SQLITE_SYNCHRONOUS = value
        assert ids() == []

    @pytest.mark.parametrize("value", ["OFF", "0", "", "full; DROP TABLE runs_run"])
    def test_others_are_refused(self, settings: Any, sqlite: Path, value: str) -> None:
        settings.SQLITE_SYNCHRONOUS = value
        assert ids() == ["runs.E002"]

    @pytest.mark.parametrize("engine", ["mysql", "oracle"])
    def test_other_databases_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, engine: str
    ) -> None:
        use(monkeypatch, engine, "runs")
        assert ids() == ["runs.E005"]

    def test_a_database_in_memory_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        use(monkeypatch, "sqlite3", ":memory:")
        assert ids() == ["runs.E005"]

    def test_hueys_messages_in_the_same_file_are_refused(self, settings: Any, sqlite: Path) -> None:
        settings.HUEY_URL = f"sqlite:///{sqlite}"
        assert ids() == ["runs.E004"]

    def test_the_same_file_by_another_name_is_refused(self, settings: Any, sqlite: Path) -> None:
        sqlite.touch()
        link = sqlite.with_name("link.sqlite3")
        link.symlink_to(sqlite)
        settings.HUEY_URL = f"sqlite:///{link}"
        assert ids() == ["runs.E004"]


@pytest.mark.parametrize(
    "url",
    ["", "redis://localhost:6379/0", "rediss://h/0", "postgres://u@h/d", "postgresql://u@h/d",
     "sqlite:////tmp/huey.sqlite3"],
)  # fmt: skip
def test_supported_places_for_hueys_messages_pass(settings: Any, url: str) -> None:
    settings.HUEY_URL = url
    assert ids() == []


@pytest.mark.parametrize("url", ["amqp://h", "/var/huey.db", "sqlite://", "redis", "redis://h/a"])
def test_others_are_refused(settings: Any, url: str) -> None:
    settings.HUEY_URL = url
    assert ids() == ["runs.E003"]


@pytest.mark.parametrize("port", [0, -1, 65536, "8000"])
def test_an_impossible_port_is_refused(settings: Any, port: Any) -> None:
    settings.PORT = port
    assert ids() == ["runs.E006"]


@pytest.mark.parametrize("host", ["*", ".example.org", "runs.example.org", "10.0.0.1", "[::1]"])
def test_host_names_pass(settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = [host]
    assert ids() == []


@pytest.mark.parametrize("host", ["https://runs.example.org", "runs.example.org:8000", "a/b", ""])
def test_what_is_no_host_name_is_refused(settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = [host]
    assert ids() == ["runs.E007"]


@pytest.mark.parametrize("origin", ["https://runs.example.org", "http://[::1]:8000"])
def test_origins_pass(settings: Any, origin: str) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [origin]
    assert ids() == []


@pytest.mark.parametrize("origin", ["https://runs.example.org/", "runs.example.org", "https://"])
def test_what_is_no_origin_is_refused(settings: Any, origin: str) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [origin]
    assert "runs.E014" in ids()


@pytest.mark.parametrize("proxy", ["127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"])
def test_addresses_and_networks_of_proxies_pass(settings: Any, proxy: str) -> None:
    settings.TRUSTED_PROXIES = [proxy]
    assert ids() == []


@pytest.mark.parametrize("proxy", ["*", "proxy.example.org", "10.0.0.1/8", "", "127.0.0.1:80"])
def test_what_is_no_address_is_refused(settings: Any, proxy: str) -> None:
    """``*`` would let everybody choose an address: the leftmost one in the header."""
    settings.TRUSTED_PROXIES = [proxy]
    assert ids() == ["runs.E008"]


@pytest.mark.parametrize("header", [("HTTP_", "on"), ("HTTP_X_SSL", ""), ("HTTP_A B", "on")])
def test_a_header_without_name_or_value_is_refused(settings: Any, header: tuple[str, str]) -> None:
    settings.SECURE_PROXY_SSL_HEADER = header
    assert ids() == ["runs.E009"]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("AXES_FAILURE_LIMIT", 0, "LOGIN_ATTEMPTS"),
        ("AXES_COOLOFF_TIME", timedelta(0), "LOGIN_LOCKOUT"),
        ("SESSION_COOKIE_AGE", 0, "SESSION_AGE"),
        ("HSTS_SECONDS", -1, "HSTS_SECONDS"),
    ],
)
def test_limits_have_to_be_above_zero(settings: Any, name: str, value: Any, problem: str) -> None:
    setattr(settings, name, value)
    (message,) = check_settings()
    assert message.msg.startswith(problem)


@pytest.mark.parametrize(
    ("redirects", "proxies", "header", "problems"),
    [
        (True, [], None, ["runs.W001"]),
        (True, ["10.0.0.1"], None, []),
        (True, [], ("HTTP_X_FORWARDED_SSL", "on"), []),
        (False, [], None, []),
    ],
)
def test_https_that_nobody_could_tell_is_warned_of(
    settings: Any, redirects: bool, proxies: list[str], header: Any, problems: list[str]
) -> None:
    settings.SECURE_SSL_REDIRECT = redirects
    settings.TRUSTED_PROXIES = proxies
    settings.SECURE_PROXY_SSL_HEADER = header
    assert [message.id for message in check_https()] == problems


class Fails(AccessPolicy):
    """A policy that can't be made."""

    def __init__(self) -> None:
        raise OSError("no such file")


class Waits(AccessPolicy):
    """A policy whose answer is never ``True``, but something to wait for."""

    async def may_trigger(self, *_: Any) -> bool:  # type: ignore[override]
        return True


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere.Policy", "No module named 'nowhere'"),
        ("runs.access.NoPolicy", "does not define"),
        ("datetime.date", "datetime.date is no subclass of runs.access.AccessPolicy"),
        ("runs.access.sees_all_runs", "is no subclass"),
        (f"{__name__}.Fails", "OSError: no such file"),
        (f"{__name__}.Waits", "may_trigger of tests.test_checks.Waits is async"),
    ],
)
def test_an_access_policy_that_is_none_is_an_error(settings: Any, name: str, problem: str) -> None:
    settings.ACCESS_POLICY = name
    (message,) = check_settings()
    assert message.id == "runs.E012"
    assert problem in message.msg
    assert "runs.access.tenants.TenantPolicy" in str(message.hint)


@pytest.mark.parametrize("name", ["", "Policy", None])
def test_nor_is_what_is_no_dotted_name(settings: Any, name: Any) -> None:
    settings.ACCESS_POLICY = name
    assert ids() == ["runs.E001"]


def test_the_ready_policies_pass(settings: Any) -> None:
    for name in ("runs.access.AccessPolicy", "runs.access.tenants.TenantPolicy"):
        settings.ACCESS_POLICY = name
        assert ids() == []
    settings.TENANT_LABEL = "a b"
    assert ids() == ["runs.E001"]
