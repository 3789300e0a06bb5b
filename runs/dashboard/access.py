"""Who may see a page and what there is for them, and the time zone it is shown in."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django_htmx.http import HttpResponseClientRefresh

from runs import access
from runs.access import DELETE, OPERATE, TRIGGER, VIEW, actor_of
from runs.dashboard.preferences import zone_of
from runs.errors import NotFoundError, PermissionDeniedError
from runs.live import Cursor
from runs.models import Run, RunQuerySet

__all__ = [
    "DELETE",
    "OPERATE",
    "TRIGGER",
    "VIEW",
    "actor_of",
    "find_run",
    "page",
    "require",
    "require_for_all",
    "sees_part",
    "shown_runs",
    "signed_in",
]

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def require(request: HttpRequest, permission: str, target: str = "") -> None:
    """Raise PermissionDeniedError, saying what is missing, if the person lacks it."""
    access.require(actor_of(request), permission, target=target or request.path)


def require_for_all(request: HttpRequest, permission: str, target: str) -> None:
    """The same for what concerns everybody's runs: only who sees them all may do it."""
    access.require_for_all(actor_of(request), permission, target=target)


def shown_runs(request: HttpRequest) -> RunQuerySet:
    """The runs that there are for the person."""
    return access.scoped(actor_of(request), Run.objects.all())


def find_run(request: HttpRequest, id: uuid.UUID) -> Run:
    """The run of an address, without its input and output. Raises Http404."""
    try:
        return access.get_run(actor_of(request), id, runs=Run.objects.defer("input", "output"))
    except NotFoundError as error:
        raise Http404(f"{error}. It may have been deleted.") from error


def sees_part(request: HttpRequest) -> bool:
    """Whether runs are hidden from the person: figures of all runs would tell of those."""
    return not access.sees_all_runs(actor_of(request))


def signed_in(view: View[P]) -> View[P]:
    """For signed-in users, in their time zone, never from a cache."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if not request.user.is_authenticated:
            if request.headers.get("HX-Request"):
                return HttpResponseClientRefresh()
            return redirect_to_login(request.get_full_path())
        try:
            with timezone.override(zone_of(request)):
                response = view(request, *args, **kwargs)
        except PermissionDeniedError as error:
            raise PermissionDenied(str(error)) from error
        except NotFoundError as error:
            raise Http404(str(error)) from error
        add_never_cache_headers(response)
        return response

    return cast("View[P]", guarded)


def page(view: View[P]) -> View[P]:
    """The same, for those who may see runs."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        require(request, VIEW)
        if not request.headers.get("HX-Request"):
            # Before the page reads anything: the stream then tells what came after.
            request.live_after = Cursor.now()  # type: ignore[attr-defined]
        return view(request, *args, **kwargs)

    return signed_in(cast("View[P]", guarded))
