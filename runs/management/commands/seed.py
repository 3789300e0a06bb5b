"""``manage.py seed``: a database full of invented runs."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandError, CommandParser

from runs.bench.seed import HoldsRuns, seed
from runs.management.base import USAGE, RunsCommand
from runs.management.commands.worker import positive
from runs.startup import describe_database

_REPORTED = 100_000


class Command(RunsCommand):
    """Fills the database with a month of runs, to try the dashboard with or to measure."""

    help = (
        "Fill the database with a month of invented runs, each with about five steps, ten log "
        "lines, a history and labels. For trying things out: nothing marks them as invented."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--runs", type=positive, default=1_000_000, help="How many (default: 1000000)."
        )
        parser.add_argument(
            "--add", action="store_true", help="Also into a database that holds runs already."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        count: int = options["runs"]
        began = time.monotonic()

        def say(done: int) -> None:
            if done % _REPORTED == 0:
                self.stderr.write(f"{done:,} of {count:,} runs")

        try:
            seed(count, add=options["add"], progress=say)
        except HoldsRuns as error:
            raise CommandError(
                f"{error} Use another one (DATABASE_URL), or --add.", returncode=USAGE
            ) from error
        seconds = time.monotonic() - began
        self.stdout.write(f"{count:,} runs in {seconds:,.0f} s, in {describe_database()}.")
