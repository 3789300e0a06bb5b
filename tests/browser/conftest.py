"""One installation for all browser tests, emptied before each, and people to use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.people import People
from tests.support.site import Site

expect.set_options(timeout=10_000)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder drive Chromium and need a database."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db)


@pytest.fixture
def _django_db_helper() -> None:
    """Leaves the database alone between tests: the processes work on it."""


@pytest.fixture(scope="session")
def installation(
    browser: Browser,
    django_db_setup: None,
    django_db_blocker: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Web and worker."""
    with django_db_blocker.unblock():
        site = Site(tmp_path_factory.mktemp("site"))
        yield site
        site.close()


@pytest.fixture(autouse=True)
def site(installation: Site) -> Site:
    """The installation, without a run, both processes alive."""
    if installation.web.process.poll() is not None:
        installation.restart_web()
    if installation.worker.process.poll() is not None:
        installation.restart_worker()
    installation.wipe()
    return installation


@pytest.fixture(autouse=True)
def people(browser: Browser, site: Site) -> Iterator[People]:
    """Browsers for people. Whatever they complain about fails the test."""
    found = People(browser, site)
    yield found
    found.close()
    assert not found.complaints


@pytest.fixture
def page(people: People) -> Page:
    """A page of somebody who may do everything with runs."""
    return people.open("operator")
