"""Jobs are found in ``jobs/`` and in every installed app."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from pytest_django import Settings

from runs.discovery import discover_jobs
from runs.errors import JobDefinitionError
from runs.registry import registry

JOB = """
from runs import job

@job
def {name}(step):
    return None
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An app of nobody's, in a folder that can be imported from."""
    known = set(registry.names())
    folder = tmp_path / "discovered_app"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in set(registry.names()) - known:
        registry.remove(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "discovered_app"]:
        del sys.modules[name]


def install(settings: Settings) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "discovered_app"]
    apps.clear_cache()
    discover_jobs()


def test_the_examples_in_jobs_are_found() -> None:
    assert {"process-order", "import-csv", "checksum-files", "slow-report"} <= set(registry.names())


def test_a_module_named_jobs_of_an_app_is_found(app: Path, settings: Settings) -> None:
    (app / "jobs.py").write_text(JOB.format(name="in_a_module"))
    install(settings)
    assert "in-a-module" in registry.names()


def test_every_module_of_a_package_named_jobs_is_found_nested_too(
    app: Path, settings: Settings
) -> None:
    (app / "jobs" / "deep").mkdir(parents=True)
    (app / "jobs" / "__init__.py").write_text("")
    (app / "jobs" / "one.py").write_text(JOB.format(name="job_one"))
    (app / "jobs" / "deep" / "__init__.py").write_text(JOB.format(name="job_deep"))
    (app / "jobs" / "deep" / "two.py").write_text(JOB.format(name="job_two"))
    (app / "jobs" / "test_one.py").write_text("raise AssertionError('imported')")
    install(settings)
    assert {"job-one", "job-two", "job-deep"} <= set(registry.names())


def test_discovering_twice_changes_nothing(app: Path, settings: Settings) -> None:
    (app / "jobs.py").write_text(JOB.format(name="in_a_module"))
    install(settings)
    before = registry.names()
    discover_jobs()
    assert registry.names() == before


def test_a_name_that_is_taken_is_an_error_that_names_both_places(
    app: Path, settings: Settings
) -> None:
    (app / "jobs.py").write_text(JOB.format(name="slow_report"))
    with pytest.raises(JobDefinitionError) as caught:
        install(settings)
    assert "discovered_app/jobs.py:" in str(caught.value)
    assert "jobs/slow_report.py:" in str(caught.value)


def test_an_error_in_a_job_s_module_is_not_hidden(app: Path, settings: Settings) -> None:
    (app / "jobs.py").write_text("import no_such_module_of_mine")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_mine"):
        install(settings)
