"""One-time sign-in links."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import base36_to_int, urlsafe_base64_decode, urlsafe_base64_encode

LIFETIME = timedelta(hours=1)


class SignInTokens(PasswordResetTokenGenerator):
    """Tokens that die on first use, because the time of the last sign-in goes into them."""

    key_salt = "runs.dashboard.signin"

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        last = user.last_login.isoformat() if user.last_login else ""
        return f"{user.pk}{user.password}{last}{timestamp}"

    def check_token(self, user: User | None, token: str | None) -> bool:
        """Whether the token is this user's, unused and at most an hour old."""
        if not super().check_token(user, token) or token is None:
            return False
        made = base36_to_int(token.split("-")[0])
        age: int = self._num_seconds(self._now()) - made
        return age <= LIFETIME.total_seconds()


tokens = SignInTokens()


def one_time_path(user: User) -> str:
    """The path of a link that signs ``user`` in, once, within the next hour."""
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("login-once", args=(uid, tokens.make_token(user)))


def user_of_link(uidb64: str, token: str) -> User | None:
    """The active user whose link this is, or None if it is used up, too old or made up."""
    model = get_user_model()
    try:
        user = model._default_manager.get(pk=urlsafe_base64_decode(uidb64).decode())
    except (ValueError, OverflowError, model.DoesNotExist):
        return None
    return user if user.is_active and tokens.check_token(user, token) else None
