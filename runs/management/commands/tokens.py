"""``manage.py tokens``: look at API tokens and revoke them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from runs.access import tokens
from runs.access.permissions import short_name
from runs.errors import NotFoundError
from runs.management.base import RunsCommand, shell_actor
from runs.management.display import clock, columns
from runs.management.following import pretty
from runs.models import ApiToken


class Command(RunsCommand):
    """Lists and revokes API tokens."""

    help = "Look at API tokens and revoke them; createtoken makes one."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        listing = commands.add_parser("list", help="List tokens, newest first.")
        listing.add_argument("--json", action="store_true", help="Print JSON, for scripts.")
        revoking = commands.add_parser("revoke", help="End tokens for good.")
        revoking.add_argument("name", nargs="+")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["command"] == "list":
            self._list(as_json=options["json"])
        else:
            self._revoke(options["name"])

    def _list(self, *, as_json: bool) -> None:
        found = list(ApiToken.objects.select_related("user"))
        if as_json:
            self.stdout.write(pretty({"items": [_detail(token) for token in found]}))
        elif not found:
            self.stdout.write("No tokens.")
        else:
            for line in _table(found):
                self.stdout.write(line)

    def _revoke(self, names: list[str]) -> None:
        """All or none: a name that is wrong should not go unseen behind others."""
        found = {token.name: token for token in ApiToken.objects.filter(name__in=names)}
        for name in names:
            if name not in found:
                raise NotFoundError(f"There is no token {name!r}.")
        for name in dict.fromkeys(names):
            tokens.revoke(found[name], actor=shell_actor())
            self.stdout.write(f"{name} revoked")


def _table(found: list[ApiToken]) -> Iterator[str]:
    rows = [("NAME", "STATE", "MAY", "ACTS FOR", "LAST USED", "EXPIRES", "LABELS")]
    rows += [
        (
            token.name,
            tokens.state_of(token),
            ",".join(map(short_name, token.permissions)),
            token.user.get_username() if token.user else "-",
            clock(token.last_used_at) if token.last_used_at else "never",
            clock(token.expires_at) if token.expires_at else "never",
            ",".join(f"{key}={value}" for key, value in token.labels.items()),
        )
        for token in found
    ]
    yield from columns(rows)


def _detail(token: ApiToken) -> dict[str, Any]:
    times = ("created_at", "expires_at", "last_used_at", "revoked_at")
    moments = {name: getattr(token, name) for name in times}
    return {
        "name": token.name,
        "state": tokens.state_of(token),
        "permissions": token.permissions,
        "user": token.user.get_username() if token.user else None,
        "labels": token.labels,
        "created_by": token.created_by,
        **{name: moment and moment.isoformat() for name, moment in moments.items()},
    }
