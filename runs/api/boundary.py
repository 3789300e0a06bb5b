"""What every answer under ``/api/`` has in common, whichever view gave it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, cast

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from runs.api.problems import problem, problem_of

_Sync = Callable[..., HttpResponseBase]
_Async = Callable[..., Awaitable[HttpResponseBase]]


def bounded(pattern: URLPattern | URLResolver) -> URLPattern:
    """The pattern of one address, its view ``answered``."""
    assert isinstance(pattern, URLPattern)
    pattern.callback = answered(pattern.callback)
    return pattern


def answered(view: Any) -> Any:
    """The view, also for HEAD and OPTIONS, and with the headers that all answers have."""
    if iscoroutinefunction(view):
        return _answered_async(view)

    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        method = _begin(request)
        try:
            response = cast("_Sync", view)(request, *args, **kwargs)
        except Http404 as error:
            response = problem_of(request, error)
        return _finish(request, method, response)

    return csrf_exempt(answer)  # the credentials see to it


def _answered_async(view: _Async) -> Any:
    async def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        method = _begin(request)
        return _finish(request, method, await view(request, *args, **kwargs))

    return csrf_exempt(answer)


def _begin(request: HttpRequest) -> str:
    """A HEAD is answered as the GET that it stands for; the server sends no body for it."""
    method = request.method or ""
    if method == "HEAD":
        request.method = "GET"
    return method


def _finish(request: HttpRequest, method: str, response: HttpResponseBase) -> HttpResponseBase:
    request.method = method
    if isinstance(response, HttpResponseNotAllowed):
        response = _not_allowed(method, response.headers["Allow"].split(", "))
    elif method == "HEAD" and response.streaming:
        response.close()  # a stream that never ends, to nobody
        response = HttpResponse(status=response.status_code, headers=dict(response.headers))
    if response.status_code in (204, 304):
        response.headers.pop("Content-Type", None)
    response.headers.setdefault("Cache-Control", "no-store")
    patch_vary_headers(response, ("Authorization", "Cookie"))
    return response


def _not_allowed(method: str, methods: list[str]) -> HttpResponse:
    allowed = {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    headers = {"Allow": ", ".join(sorted(allowed))}
    if method == "OPTIONS":
        return HttpResponse(status=204, headers=headers)
    return problem(
        405,
        "method-not-allowed",
        f"{method} is none of the methods that this address takes: {headers['Allow']}",
        headers=headers,
    )


@answered
def nothing_here(request: HttpRequest, **_: str) -> HttpResponse:
    """Every other address under ``/api/``."""
    return problem(404, "not-found", f"There is nothing at {request.path}; see /api/docs")
