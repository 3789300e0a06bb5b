"""API tokens: those that there are, making one, and revoking it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from runs import access
from runs.access import Actor, tokens
from runs.access.permissions import WORDS, short_name
from runs.dashboard.access import actor_of, signed_in
from runs.dashboard.query import whole_of
from runs.dashboard.trigger_form import read_labels
from runs.errors import ConflictError, RunsError
from runs.models import ApiToken

PAGE_SIZE = 100

#: How long a new token lasts, in days; 0 is for ever.
LIFETIMES = {"30": "30 days", "90": "90 days", "365": "A year", "0": "For ever"}
_USUAL = "90"


@dataclass(frozen=True)
class Row:
    """A token in the list."""

    token: ApiToken

    @property
    def state(self) -> str:
        return tokens.state_of(self.token)

    @property
    def badge(self) -> str:
        """The class of its badge."""
        return "completed" if self.state == "active" else "cancelled"

    @property
    def permissions(self) -> list[str]:
        return [short_name(each) for each in self.token.permissions]

    @property
    def labels(self) -> list[str]:
        return [f"{key}:{value}" for key, value in self.token.labels.items()]


@dataclass(frozen=True)
class Choice:
    """A permission that a new token may have."""

    name: str
    words: str
    chosen: bool


@dataclass
class Form:
    """What was typed for a new token, and what is wrong with it."""

    actor: Actor
    name: str = ""
    permissions: list[str] = field(default_factory=lambda: [access.VIEW])
    lifetime: str = _USUAL
    labels: str = ""
    problem: str = ""
    status: int = 200

    @property
    def possible(self) -> list[str]:
        """Nobody hands on what they don't hold."""
        return [each for each in tokens.grantable() if self.actor.may(each)]

    @property
    def choices(self) -> list[Choice]:
        return [
            Choice(each, WORDS.get(each, each).capitalize(), each in self.permissions)
            for each in self.possible
        ]

    @property
    def lifetimes(self) -> list[tuple[str, str]]:
        return list(LIFETIMES.items())

    @property
    def takes_labels(self) -> bool:
        """Labels may mean rights to the access policy: they are for who manages tokens."""
        return self.actor.may(access.MANAGE_TOKENS)

    def take(self, request: HttpRequest) -> None:
        """Keep what was typed."""
        self.name = request.POST.get("name", "").strip()
        self.permissions = request.POST.getlist("permission")
        self.lifetime = request.POST.get("lifetime", _USUAL)
        self.labels = request.POST.get("labels", "")

    def make(self) -> tuple[ApiToken, str] | None:
        """The token and its secret; None, saying why, if it can't be made."""
        try:
            return tokens.create(
                self.name,
                permissions=self._chosen(),
                user=self.actor.user,
                expires_at=self._expires_at(),
                labels=self._read_labels(),
                actor=self.actor,
            )
        except (ValueError, RunsError) as error:
            self.problem = str(error)
            self.status = error.status if isinstance(error, RunsError) else 400
            return None

    def _chosen(self) -> list[str]:
        for each in self.permissions:
            if each not in self.possible:
                access.require(self.actor, each, target="a token")  # which is recorded
        return self.permissions

    def _expires_at(self) -> datetime | None:
        if self.lifetime not in LIFETIMES:
            raise ValueError(f"A token can't last {self.lifetime[:20]!r} days.")
        days = int(self.lifetime)
        return timezone.now() + timedelta(days=days) if days else None

    def _read_labels(self) -> dict[str, str]:
        if not self.labels.strip():
            return {}
        access.require(self.actor, access.MANAGE_TOKENS, target="labels of a token")
        return read_labels(self.labels)


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables("made", "context")
def token_list(request: HttpRequest) -> HttpResponse:
    """A person's tokens, or everybody's; a POST makes one, or with ``revoke`` ends one."""
    form = Form(actor_of(request))
    if "revoke" in request.POST:
        return _revoke(request)
    made = None
    if request.method == "POST":
        form.take(request)
        made = form.make()
    context: dict[str, Any] = _context(request, Form(actor_of(request)) if made else form)
    if made:
        context["made"], context["secret"] = made
    return render(request, "dashboard/tokens.html", context, status=form.status)


def _revoke(request: HttpRequest) -> HttpResponse:
    id = whole_of(request.POST, "revoke")
    token = tokens.tokens_of(actor_of(request)).filter(pk=id).first() if id else None
    if token is None:
        raise Http404("There is no such token.")
    try:
        tokens.revoke(token, actor=actor_of(request))
        messages.success(request, f"Token {token.name} is revoked.")
    except ConflictError as error:
        messages.warning(request, f"{error}.")
    return redirect("tokens")


def _context(request: HttpRequest, form: Form) -> dict[str, Any]:
    actor = actor_of(request)
    found = tokens.tokens_of(actor).order_by("-id")
    before = whole_of(request.GET, "before")
    if before:
        found = found.filter(pk__lt=before)
    shown = list(found[: PAGE_SIZE + 1])
    return {
        "nav": "tokens",
        "rows": [Row(token) for token in shown[:PAGE_SIZE]],
        "older": shown[PAGE_SIZE - 1].pk if len(shown) > PAGE_SIZE else None,
        "before": before,
        "manages": actor.may(access.MANAGE_TOKENS),
        "form": form,
    }
