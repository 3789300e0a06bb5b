"""Signing in and out."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import (
    LoginView,
    LogoutView,
    PasswordChangeView,
    redirect_to_login,
)
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET

from runs.access import Actor, actor_of, attempts, denied
from runs.access.actors import address_of
from runs.dashboard.signin import user_of_link


class SignIn(LoginView):
    """The form for name and password. django-axes refuses whoever failed too often."""

    template_name = "dashboard/login.html"
    redirect_authenticated_user = True

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Say that name or password is wrong, not which, and record it."""
        if form.has_error("__all__"):
            tried = Actor(form.cleaned_data["username"], address=address_of(self.request))
            denied.record(tried, attempts.SIGN_IN, detail="Wrong name or password.")
        return super().form_invalid(form)


sign_in = SignIn.as_view()
sign_out = LogoutView.as_view()


@never_cache
@require_GET
def sign_in_once(request: HttpRequest, uidb64: str, token: str) -> HttpResponse:
    """Sign in by a one-time link."""
    actor = actor_of(request)
    if seconds := attempts.wait(attempts.LINK, actor.address):
        return _too_many(request, seconds)
    user = user_of_link(uidb64, token)
    if user is None:
        attempts.failed(actor, attempts.LINK, "Used up, too old or made up.")
        messages.error(
            request, "That link is used up or older than an hour. Sign in, or start again for one."
        )
        return redirect("login")
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("home")


@method_decorator([never_cache, sensitive_post_parameters()], name="dispatch")
class ChangePassword(LoginRequiredMixin, PasswordChangeView):
    """A new password for whoever is signed in. Their other sessions end."""

    template_name = "dashboard/password.html"
    success_url = reverse_lazy("home")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Change it, unless the old one was guessed wrong too often."""
        if seconds := attempts.wait(attempts.PASSWORD, address_of(request)):
            return _too_many(request, seconds)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        """Keep this session and end the others, as all but this one name the old password."""
        response = super().form_valid(form)
        messages.success(self.request, "Password changed. Other browsers are signed out.")
        return response

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        """Say what is wrong, and record a wrong old password."""
        if form.has_error("old_password"):
            attempts.failed(actor_of(self.request), attempts.PASSWORD, "Wrong old password.")
        return super().form_invalid(form)


change_password = ChangePassword.as_view()


@never_cache
def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """The admin's own form would be a second door: whoever is sent to it comes to ours."""
    if request.user.is_authenticated and not request.user.is_staff:
        name = request.user.get_username()
        raise PermissionDenied(f"The account {name} may not use the admin: it is not staff.")
    return redirect_to_login(request.GET.get("next", reverse("admin:index")))


def locked_out(request: HttpRequest, *_: Any) -> HttpResponse:
    """What django-axes answers to a sign-in after too many that failed."""
    return _too_many(request, attempts.sign_in_wait(request))


def _too_many(request: HttpRequest, seconds: int) -> HttpResponse:
    """How long to wait, with 429."""
    context = {"minutes": -(-seconds // 60)}
    response = render(request, "dashboard/locked.html", context, status=429)
    response["Retry-After"] = str(seconds)
    return response
