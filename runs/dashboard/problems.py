"""Pages for requests that can't be answered."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import get_template


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 (Django passes it)
    """A request that Django refused, such as one with too many fields."""
    return render(request, "400.html", status=400)


def unavailable(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 (as the others)
    """The database is away: a page that asks it nothing, not even who is signed in."""
    return HttpResponse(get_template("503.html").render(), status=503)
