"""Who may come in, and how they are told that something went wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils.http import is_same_domain
from django.views.decorators.csrf import csrf_exempt
from pydantic_core import from_json

from runs.access import Actor, actor_of
from runs.api.auth import TokenAuth
from runs.api.problems import (
    CHALLENGE,
    CsrfError,
    MediaTypeError,
    UnauthenticatedError,
    UnavailableError,
)
from runs.engine.database import UNAVAILABLE
from runs.errors import RunsError, TooLargeError, ValidationError

logger = logging.getLogger(__name__)

Handler = Callable[[HttpRequest, Actor], HttpResponse]

_SAFE = ("GET", "HEAD")
_token = TokenAuth()


class MethodError(RunsError):
    """There is nothing to be done at this address by this method."""

    status = 405
    code = "method-not-allowed"


def endpoint(**handlers: Handler) -> Callable[[HttpRequest], HttpResponse]:
    """A view of handlers by method; what they raise becomes ``{"error": text}``."""

    @csrf_exempt  # the client can't send the token: ``caller`` asks where it comes from
    def view(request: HttpRequest) -> HttpResponse:
        try:
            handler = handlers.get("GET" if request.method == "HEAD" else request.method or "")
            if handler is None:
                raise MethodError(f"{request.method} is none of {', '.join(handlers)}")
            return handler(request, caller(request))
        except Exception as error:
            return refusal(request, error, allowed=", ".join(handlers))

    return view


@csrf_exempt
def nothing_here(request: HttpRequest) -> HttpResponse:
    """The answer for all other addresses."""
    return error_answer(404, f"Not found: {request.path}")


def caller(request: HttpRequest) -> Actor:
    """The holder of a token, or the person whose session it is.

    Raises UnauthenticatedError; CsrfError if another site may have sent what changes
    something; MediaTypeError for a body that isn't JSON, such as a form's.
    """
    actor = _token(request)
    if actor is None:
        if not request.user.is_authenticated:
            raise UnauthenticatedError("Sign in, or send Authorization: Bearer <token>")
        if request.method not in _SAFE and not _from_this_site(request):
            raise CsrfError("This request was not sent by a page of this site")
        actor = actor_of(request)
    if request.method not in _SAFE and request.body and not _is_json(request):
        raise MediaTypeError("The body must be application/json")
    assert isinstance(actor, Actor)
    return actor


def _from_this_site(request: HttpRequest) -> bool:
    """By what the browser says of the page that sent the request, which no page can forge.

    It has to say something, as every browser does that the client works in.
    """
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if origin is None:
        return site == "same-origin"
    if origin == f"{request.scheme}://{request.get_host()}":
        return site in (None, "same-origin")
    return any(_matches(origin, trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def _matches(origin: str, trusted: str) -> bool:
    """As Django reads CSRF_TRUSTED_ORIGINS: ``https://*.example.com`` is any subdomain."""
    if "*" not in trusted:
        return origin == trusted
    try:
        found, pattern = urlsplit(origin), urlsplit(trusted)
    except ValueError:
        return False
    return found.scheme == pattern.scheme and is_same_domain(
        found.netloc, pattern.netloc.lstrip("*")
    )


def _is_json(request: HttpRequest) -> bool:
    return (request.content_type or "").lower() == "application/json"


def body_of(request: HttpRequest) -> dict[str, Any]:
    """The JSON object in the body. Raises ValidationError."""
    try:
        value = from_json(request.body, allow_inf_nan=False)
    except ValueError as error:
        raise ValidationError(f"The body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValidationError("The body must be a JSON object")
    return value


def refusal(request: HttpRequest, error: Exception, *, allowed: str) -> HttpResponse:
    """An exception as an answer; ``allowed`` are the methods of this address."""
    if isinstance(error, RequestDataTooBig):
        error = TooLargeError("The body is larger than this installation takes")
    elif isinstance(error, SuspiciousOperation | UnreadablePostError):
        error = ValidationError(str(error) or "This request can't be answered")
    elif isinstance(error, UNAVAILABLE):
        logger.error("%s %s: %s", request.method, request.path, error)
        error = UnavailableError("The database can't be reached at the moment")
    if not isinstance(error, RunsError):
        logger.error("%s %s failed", request.method, request.path, exc_info=error)
        return error_answer(500, "Something went wrong in the server; see its log")
    response = error_answer(error.status, str(error))
    if isinstance(error, MethodError):
        response["Allow"] = allowed
    elif isinstance(error, UnauthenticatedError):
        response["WWW-Authenticate"] = CHALLENGE["WWW-Authenticate"]
    return response


def error_answer(status: int, text: str) -> HttpResponse:
    """``{"error": text}``."""
    return json_answer({"error": text}, status)


def json_answer(value: Any, status: int = 200) -> HttpResponse:
    """A value as JSON."""
    return text_answer(json.dumps(value, allow_nan=False), status)


def text_answer(text: str, status: int = 200) -> HttpResponse:
    """JSON text as it is."""
    response = HttpResponse(text, status=status, content_type="application/json")
    response["Cache-Control"] = "no-store"
    return response
