"""``manage.py bench``: how fast this installation is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from runs.bench import command, machine, scratch
from runs.bench.ending import ending_on_sigterm
from runs.bench.orders import ENGINE, LARGE, NAMES, OF_SERVERS, SERVED, Order
from runs.bench.results import Row, table
from runs.bench.scratch import Target
from runs.bench.worker import BenchError
from runs.management.base import UNAVAILABLE, USAGE, RunsCommand
from runs.management.commands.worker import positive


class Command(RunsCommand):
    """Measures, each target in a database of its own, and prints a table."""

    help = (
        "Measure this installation, in databases of its own that are removed afterwards, and "
        "print a table. The exit code says only whether it could measure, not how fast it was."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--quick", action="store_true", help="Little of each, in seconds.")
        parser.add_argument("--json", action="store_true", help="Print a list as JSON.")
        parser.add_argument(
            "--only", action="append", choices=NAMES, help="Only this measurement (repeatable)."
        )
        parser.add_argument(
            "--pages",
            action="store_true",
            help="Only what is measured in a large database: every page, and the engine.",
        )
        parser.add_argument(
            "--seed",
            type=positive,
            metavar="RUNS",
            help="Runs in that large database (default: 20000; the goals are meant for 1000000).",
        )
        parser.add_argument(
            "--on",
            action="append",
            choices=("normal", "full", "postgresql"),
            help="Only SQLite with this setting, or only PostgreSQL (repeatable).",
        )
        parser.add_argument(
            "--postgres",
            metavar="URL",
            default=command.known_server(),
            help="A PostgreSQL server to measure on as well, in a database that is made and "
            "dropped (default: that of DATABASE_URL).",
        )
        parser.add_argument(
            "--runs", type=positive, help="Runs of the sustained measurement (default: 3000)."
        )
        parser.add_argument(
            "--seconds", type=positive, help="How long streams are measured (default: 60)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        rows: list[Row] = []
        failed: list[str] = []
        with ending_on_sigterm():
            for order in self._orders(options):
                found: list[Row] = []
                try:
                    self._measure(order, found)
                except BenchError as error:
                    self.stderr.write(str(error))
                    failed.append(str(error))
                rows += found
                if found and not options["json"]:
                    self._print(order, found)
        if options["json"]:
            self.stdout.write(json.dumps([asdict(row) for row in rows], indent=2))
        if failed:
            raise CommandError("Not all could be measured. " + " ".join(failed))

    def _measure(self, order: Order, rows: list[Row]) -> None:
        try:
            with closing(command.run(order)) as found:
                for row in found:
                    self.stderr.write(f"{row.target}: {row.what} done")
                    rows.append(row)
        except scratch.NoScratch as error:
            raise CommandError(str(error), returncode=UNAVAILABLE) from error

    def _print(self, order: Order, rows: list[Row]) -> None:
        self.stdout.write(machine.this_machine())
        if order.target.server:
            self.stdout.write(machine.that_server(order.target.server))
        self.stdout.write(f"\n{table(rows)}\n\n")

    def _orders(self, options: dict[str, Any]) -> Iterator[Order]:
        """The engine is measured in an empty database, the rest in a large one of its own.

        How durable SQLite's commits are makes no difference to pages: one setting will do.
        """
        names = [*LARGE] if options["pages"] else options["only"] or NAMES
        targets = self._targets(options)
        for target in targets:
            for group in (ENGINE, SERVED, LARGE):
                wanted = [name for name in group if name in names]
                if not target.server and not options["only"]:
                    wanted = [name for name in wanted if name not in OF_SERVERS]
                twice = group == LARGE and target.synchronous == "FULL" and target != targets[0]
                if wanted and not twice:
                    yield Order(
                        target,
                        wanted,
                        options["quick"],
                        options["runs"],
                        options["seed"],
                        options["seconds"],
                    )

    def _targets(self, options: dict[str, Any]) -> list[Target]:
        wanted = options["on"] or ["normal", "full", "postgresql"]
        found = [scratch.sqlite(name) for name in ("normal", "full") if name in wanted]
        if "postgresql" in wanted and options["postgres"]:
            found.append(scratch.postgresql(options["postgres"]))
        elif not options["on"]:
            self.stderr.write("PostgreSQL is left out: --postgres URL or DATABASE_URL names one.")
        if not found:
            raise CommandError("Which PostgreSQL? Name it with --postgres URL.", returncode=USAGE)
        return found
