"""What all tests share: where they write, on which database, and what they may need."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from tests import services
from tests.support import flush

#: Where tests start processes and wait for them, or try very many things: left to ``make proofs``.
SLOW = (
    *("tests/bench/", "tests/crash/", "tests/faults/", "tests/hosts/"),
    *("tests/security/", "tests/upgrades/"),
    *("tests/commands/test_trigger_wait.py", "tests/commands/test_up.py", "tests/test_settings.py"),
    "tests/browser/test_accessible.py",
)


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start.

    A shell that runs the tests in the background makes them, and those, ignore it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the first process made it, and is the last to leave
        shutil.rmtree(os.environ["DURABLY_TEST_DIR"], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow; browser tests last: Playwright leaves an event loop in the main thread."""
    for item in items:
        if str(item.path.relative_to(settings.BASE_DIR)).startswith(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose service is not here, and say so; in CI, fail it."""
    if item.get_closest_marker("postgres") and not _on_postgres():
        pytest.skip("runs on PostgreSQL only: set DATABASE_URL")
    try:
        if item.get_closest_marker("redis"):
            services.redis_url()
        if item.get_closest_marker("browser"):
            services.chromium_path()
        if item.get_closest_marker("hosts"):
            services.network_namespaces()
    except services.Missing as missing:
        services.skip_or_fail(missing)


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """A database for each test process: a file, since threads and processes must share it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = f"test_durably_{os.getpid()}_{worker}"
    if not _on_postgres():
        name = str(Path(settings.VAR_DIR) / "test.sqlite3")
    settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = name


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Ends what processes that a test has killed left connected, or the drop would fail."""
    if _on_postgres():
        flush.install()
    yield
    if _on_postgres():
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture
def redis_server() -> str:
    """The URL of a Redis database that is empty; the test needs the mark ``redis``."""
    import redis

    url = services.redis_url().rstrip("/")
    url = f"{url}/{1 + os.getpid() % 15}" if url.count("/") == 2 else url
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The machine's own Chromium, instead of a download."""
    # Playwright's loop runs in this thread from here on, and the ORM would refuse to work.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    sandbox = [] if os.getuid() else ["--no-sandbox"]  # Chromium refuses to sandbox root
    return {
        **browser_type_launch_args,
        "executable_path": services.chromium_path(),
        "args": ["--disable-dev-shm-usage", *sandbox],
    }


def _on_postgres() -> bool:
    return str(settings.DATABASES["default"]["ENGINE"]).endswith("postgresql")
