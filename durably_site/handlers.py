"""Answers to what no view could answer: a page for people, for programs as their API has it."""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from runs.api.durably.door import error_answer
from runs.api.problems import problem
from runs.dashboard import problems
from runs.engine.database import UNAVAILABLE


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What Django refused, such as a host that isn't ours or too many fields."""
    text = str(exception) or "This request can't be answered"
    if request.path.startswith("/api/durably/"):
        return error_answer(400, text)
    if _by_program(request):
        return problem(400, "invalid-input", text)
    return problems.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """An error of ours, or a database that is away; the log has it."""
    if isinstance(sys.exception(), UNAVAILABLE):
        return _unavailable(request)
    text = "Something went wrong in the server; see its log"
    if request.path.startswith("/api/durably/"):
        return error_answer(500, text)
    if _by_program(request):
        return problem(500, "internal-error", text)
    return defaults.server_error(request)


def _unavailable(request: HttpRequest) -> HttpResponse:
    text = "The database can't be reached at the moment"
    if request.path.startswith("/api/durably/"):
        return error_answer(503, text)
    if _by_program(request):
        return problem(503, "unavailable", text)
    return problems.unavailable(request)


def _by_program(request: HttpRequest) -> bool:
    return request.path.startswith("/api/") or request.path in ("/api", "/healthz", "/readyz")
