"""Whether this process lives, and whether it can work: for load balancers and the like."""

from __future__ import annotations

import functools
import logging

from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from runs.api.boundary import answered
from runs.api.problems import UnavailableError, problem_of
from runs.api.replies import reply
from runs.engine import read_only

logger = logging.getLogger(__name__)


@answered
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 (Django passes it)
    """The process answers. Asks nobody else."""
    return reply({"status": "ok"})


@answered
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """The database can be reached and written, and has the tables that this release needs."""
    try:
        missing = migrations() - set(MigrationRecorder(connection).applied_migrations())
        is_protected = read_only.is_read_only()
    except Error:
        logger.exception("Not ready: the database can't be reached")
        return problem_of(request, UnavailableError("The database can't be reached"))
    if missing:
        names = ", ".join(sorted(f"{app}.{name}" for app, name in missing)[:5])
        return problem_of(request, UnavailableError(f"Migrations are not applied: {names}"))
    if is_protected:
        logger.error("Not ready: the database is read-only")
        return problem_of(request, UnavailableError("The database is read-only"))
    return reply({"status": "ok"})


@functools.cache
def migrations() -> frozenset[tuple[str, str]]:
    """All migrations of the installed apps, by app and name."""
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)
