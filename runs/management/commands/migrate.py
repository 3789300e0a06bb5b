"""``manage.py migrate``, one at a time: what each host of a deploy may run at one moment."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate

from runs.upgrades import one_at_a_time


class Command(migrate.Command):
    """Django's own; a second one waits for the first, and then finds nothing left to do."""

    def handle(self, *args: Any, **options: Any) -> None:
        if options["plan"] or options["check_unapplied"]:
            super().handle(*args, **options)
            return
        say = self.stdout.write if options["verbosity"] else _say_nothing
        with one_at_a_time(options["database"], say):
            super().handle(*args, **options)


def _say_nothing(_: str) -> None:
    """For who wants to hear nothing."""
