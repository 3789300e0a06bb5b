"""``manage.py createtoken``: let a program in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser
from django.utils import timezone

from runs.access import VIEW, tokens
from runs.access.permissions import full_name, short_name
from runs.conf import parse_duration
from runs.errors import ValidationError
from runs.management import arguments
from runs.management.base import RunsCommand, shell_actor
from runs.management.display import clock
from runs.models import ApiToken


class Command(RunsCommand):
    """Makes an API token."""

    help = (
        "Make an API token and print its secret, alone on stdout; it is not shown again. "
        "Exit codes: 0 made, 1 the name is taken, 64 wrong usage, 69 no database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("name", help="Of the program that will use it; given once, for ever.")
        add("--user", metavar="U", help="It acts for this user: it may do what both may.")
        add(
            "--permission",
            nargs="+",
            action="extend",
            default=[],
            metavar="P",
            help="view, trigger, operate or delete, or a whole name such as runs.view_run; "
            "repeatable. Default: view.",
        )
        add("--expires", metavar="AGE", help="90d, 12h or 90m from now, or a time (ISO 8601).")
        add("--label", action="append", default=[], metavar="K=V", help="For the access policy.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = None if options["user"] is None else _find_user(options["user"])
        try:
            token, secret = tokens.create(
                options["name"],
                permissions=_permissions(options["permission"]),
                user=user,
                expires_at=_expires_at(options["expires"]),
                labels=arguments.parse_labels(options["label"]),
                actor=shell_actor(),
            )
        except ValidationError as error:
            raise arguments.BadArgument(str(error)) from error
        self._describe(token)
        self.stdout.write(secret)

    def _describe(self, token: ApiToken) -> None:
        """For people: beside the secret, which scripts read."""
        may = ", ".join(map(short_name, token.permissions))
        ends = "never expires" if token.expires_at is None else f"expires {clock(token.expires_at)}"
        who = f", acts for {token.user.get_username()}" if token.user else ""
        self.stderr.write(f"Token {token.name}: may {may}{who}, {ends}.", style_func=str)
        lacks = [each for each in token.permissions if token.user and not token.user.has_perm(each)]
        if token.user and lacks:
            names = ", ".join(map(short_name, lacks))
            text = f"{token.user.get_username()} does not hold {names}, so neither does the token."
            self.stderr.write(text, style_func=str)


def _permissions(named: list[str]) -> list[str]:
    parts = [part for text in named for part in text.split(",") if part.strip()]
    return [full_name(part, tokens.grantable()) for part in parts] or [VIEW]


def _find_user(name: str) -> Any:
    users = get_user_model()
    try:
        return users._default_manager.get_by_natural_key(name)
    except users.DoesNotExist:
        raise arguments.BadArgument(f"There is no user {name!r}.") from None


def _expires_at(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return timezone.now() + parse_duration(text)
    except ValueError:
        pass
    try:
        found = arguments.parse_time(text)
    except arguments.BadArgument:
        raise arguments.BadArgument(
            f"--expires {text!r}: write 90d, 12h, 90m or a time such as 2026-12-31T18:00:00+01:00."
        ) from None
    if found <= timezone.now():
        raise arguments.BadArgument(f"--expires {text!r}: it must lie in the future.")
    return found
