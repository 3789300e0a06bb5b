"""What the commands that deal with runs share: exit codes, the actor, one line for an error."""

from __future__ import annotations

import getpass
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from runs.errors import RunsError
from runs.startup import describe_database, first_line

#: Exit codes, those of sysexits.h where it has one.
USAGE = 64
UNAVAILABLE = 69
INTERRUPTED = 130


class RunsCommand(BaseCommand):
    """A command whose user errors are one line, with an exit code that tells them apart."""

    #: The exit code when the engine refuses what was asked.
    refused = 1
    _parsed = False

    def run_from_argv(self, argv: list[str]) -> None:
        """As Django does, but wrong usage exits with 64: 2 may mean a cancelled run."""
        try:
            super().run_from_argv(argv)
        except SystemExit as stop:
            if stop.code == 2 and not self._parsed:
                raise SystemExit(USAGE) from None
            raise

    def execute(self, *args: Any, **options: Any) -> str | None:
        """As Django does, with errors that name what is wrong instead of tracebacks."""
        self._parsed = True
        try:
            return super().execute(*args, **options)
        except RunsError as error:
            raise CommandError(str(error), returncode=self.refused) from error
        except DatabaseError as error:
            raise CommandError(
                f"The database {describe_database()} does not answer as it should: "
                f"{first_line(error)}. Is it there, and has `manage.py migrate` (or `up`) run?",
                returncode=UNAVAILABLE,
            ) from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=INTERRUPTED) from None


def shell_actor() -> str:
    """Who acts, for the history of a run."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"shell: {name}"
