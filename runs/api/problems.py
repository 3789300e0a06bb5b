"""Errors as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from ninja.errors import AuthenticationError, HttpError
from ninja.errors import ValidationError as ParameterError

from runs.engine.database import UNAVAILABLE
from runs.errors import FieldError, RunsError, TooLargeError, ValidationError
from runs.payloads import clean_text, cut_text

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

#: One value may have very many things wrong with it.
_MAX_ERRORS, _MAX_DETAIL = 100, 2_000

#: What a client without credentials is told to send.
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="durably"'}


class UnauthenticatedError(RunsError):
    """Nobody is signed in, or the token is unknown, expired or revoked."""

    status = 401
    code = "unauthenticated"


class TooManyAttemptsError(RunsError):
    """Too many bad tokens came from this address. Says how many seconds to wait."""

    status = 429
    code = "too-many-attempts"

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many bad tokens from this address; try again in {seconds} s")
        self.seconds = seconds


class CsrfError(RunsError):
    """A session may only change things with the CSRF token beside it."""

    status = 403
    code = "csrf-failed"


class PreconditionError(RunsError):
    """The run is not as the caller last saw it."""

    status = 412
    code = "precondition-failed"


class MediaTypeError(RunsError):
    """The body of the request is not JSON."""

    status = 415
    code = "unsupported-media-type"


class UnavailableError(RunsError):
    """The database can't be reached, is read-only, or is not ready for this release."""

    status = 503
    code = "unavailable"


class StreamingError(RunsError):
    """This server can't stream."""

    status = 501
    code = "streaming-unavailable"


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: Iterable[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """An error as this API reports it; ``errors`` are about single fields."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": cut_text(detail, _MAX_DETAIL),
    }
    if found := list(islice(errors, _MAX_ERRORS)):
        content["errors"] = [{"path": each.path, "message": each.message} for each in found]
    return HttpResponse(
        json.dumps(content), status=status, content_type=CONTENT_TYPE, headers=headers
    )


def problem_of(request: HttpRequest, error: Exception) -> HttpResponse:
    """The answer for an error that the caller, the state or the database is to blame for.

    Raises anything else again, for Django to report.
    """
    if isinstance(error, ParameterError):
        error = _of_parameters(error)
    elif isinstance(error, HttpError):
        error = _of_ninja(error)
    elif isinstance(error, RequestDataTooBig):
        error = TooLargeError("The body is larger than this installation takes")
    elif isinstance(error, UNAVAILABLE):
        logger.error("%s %s: %s", request.method, request.path, error)
        error = UnavailableError("The database can't be reached at the moment")
    if isinstance(error, RunsError):
        return _of_error(error)
    if isinstance(error, Http404):
        return problem(404, "not-found", f"There is nothing at {request.path}")
    if isinstance(error, SuspiciousOperation):
        return problem(400, "invalid-input", str(error) or "This request can't be answered")
    raise error


def under(place: str, error: ValidationError) -> ValidationError:
    """The error with the paths of its fields as they are in the body."""
    found = []
    for each in error.errors:
        path = "" if each.path == "input" else each.path  # the whole of it
        dot = "." if path and not path.startswith("[") else ""
        found.append(FieldError(f"{place}{dot}{path}", each.message))
    return type(error)(str(error), tuple(found))


def _of_error(error: RunsError) -> HttpResponse:
    errors = error.errors if isinstance(error, ValidationError) else ()
    headers = CHALLENGE if error.status == 401 else None
    if isinstance(error, TooManyAttemptsError):
        headers = {"Retry-After": str(error.seconds)}
    return problem(error.status, error.code, str(error), errors=errors, headers=headers)


def _of_ninja(error: HttpError) -> Exception:
    """What a hook of ours raised inside Ninja, or Ninja's own words for it."""
    if isinstance(error, AuthenticationError):
        return UnauthenticatedError("Sign in, or send Authorization: Bearer <token>")
    if isinstance(error.__cause__, RunsError | RequestDataTooBig):
        return error.__cause__
    return ValidationError(str(error))


def _of_parameters(error: ParameterError) -> ValidationError:
    """Pydantic's errors about path, query or body, by the name of each field."""
    found = tuple(FieldError(_path(each["loc"]), _message(each)) for each in error.errors)
    return ValidationError.from_fields("The request", found)


def _path(location: tuple[str | int, ...]) -> str:
    """``("body", "body", "labels", "a")`` as ``labels.a``; of lists in queries ``status[0]``."""
    named_by_us = location[0] == "body" or (len(location) > 2 and isinstance(location[-1], int))
    path = ""
    for part in location[2 if named_by_us else 1 :]:
        if part != "[key]":
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".") or "body"


def _message(error: dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "is no field here"
    return clean_text(error["msg"].removeprefix("Value error, "))
