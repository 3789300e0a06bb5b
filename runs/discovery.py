"""Finds the jobs: in ``jobs/`` and in a ``jobs`` module or package of any installed app."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from django.apps import apps

#: Modules of a package that never hold jobs, and must not be imported on the side.
_NOT_JOBS = frozenset({"migrations", "models", "apps", "admin", "tests", "conftest", "management"})


def discover_jobs() -> None:
    """Import every module that may define jobs. What an import raises is passed on."""
    for config in apps.get_app_configs():
        is_jobs_package = config.name.rpartition(".")[2] == "jobs"
        name = config.name if is_jobs_package else f"{config.name}.jobs"
        if is_jobs_package or find_spec(name) is not None:
            _import_all(import_module(name))


def _import_all(module: ModuleType) -> None:
    for info in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if info.name not in _NOT_JOBS and not info.name.startswith("test_"):
            _import_all(import_module(f"{module.__name__}.{info.name}"))
