"""``manage.py runs``: look at runs and act on them from a shell."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser

from runs import conf, representation
from runs.errors import RunsError
from runs.management import arguments, display
from runs.management.base import RunsCommand, shell_actor
from runs.management.following import pretty
from runs.models import Run, RunStatus

#: Subcommands that act on runs, with their help and what they have done to one.
_ACTIONS = {
    "retry": ("Run a failed or cancelled run on, after its last completed step.", "queued again"),
    "retrigger": ("Start a new run like one that has ended.", "repeated as {new}"),
    "cancel": ("Cancel pending, waiting or running runs.", "cancelled"),
    "delete": ("Delete runs that have ended, with everything that hangs on them.", "deleted"),
}


class Command(RunsCommand):
    """Lists, shows, retries, repeats, cancels, deletes and purges runs."""

    help = "Look at runs and act on them. Ids may be cut to their last 4 to 12 digits."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

        def add(name: str, text: str) -> CommandParser:
            added: CommandParser = commands.add_parser(name, help=text, description=text)
            added.add_argument("--json", action="store_true", help="Print JSON, for scripts.")
            return added

        listing = add("list", "List runs, newest first.")
        listing.add_argument(
            "--status", action="append", default=[], choices=RunStatus.values, help="Repeatable."
        )
        listing.add_argument("--job", action="append", default=[], help="Repeatable.")
        listing.add_argument("--label", action="append", default=[], metavar="K=V")
        listing.add_argument("--limit", type=_count, default=20, metavar="N", help="Default: 20.")
        listing.add_argument("--cursor", metavar="ID", help="Only runs older than this one.")
        add("show", "Show one run: facts, steps, history, log, error.").add_argument("run")
        for name, (text, _) in _ACTIONS.items():
            acting = add(name, text)
            acting.add_argument("run", nargs="+")
            acting.add_argument("--reason", default="", help="For the history of the run.")
        purge = add("purge", "Delete runs that ended long ago.")
        purge.add_argument(
            "--older-than", metavar="AGE", help="30d, 12h or 90m (default: RETAIN_RUNS)."
        )
        purge.add_argument(
            "--limit", type=_count, default=500, metavar="N", help="At most so many (500)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        handlers = {"list": self._list, "show": self._show, "purge": self._purge}
        handlers.get(options["command"], self._act)(options)

    def _list(self, options: dict[str, Any]) -> None:
        runs = Run.objects.newest_first().summaries()
        if options["status"]:
            runs = runs.filter(status__in=options["status"])
        if options["job"]:
            runs = runs.filter(job__in=options["job"])
        if options["cursor"]:
            runs = runs.filter(pk__lt=arguments.find_run(options["cursor"]).pk)
        runs = runs.with_labels(arguments.parse_labels(options["label"]))
        limit = options["limit"]
        found = list(runs[: limit + 1])
        page, more = found[:limit], len(found) > limit
        if options["json"]:
            items = [representation.run_summary(run) for run in page]
            self._print_json({"items": items, "next_cursor": str(page[-1].pk) if more else None})
            return
        if not page:
            self.stdout.write("No runs.")
            return
        self._print_lines(display.table(page))
        if more:
            self.stdout.write(f"Older ones: --cursor {page[-1].pk}")

    def _show(self, options: dict[str, Any]) -> None:
        run = arguments.find_run(options["run"])
        if not options["json"]:
            self._print_lines(display.describe(run))
            return
        found = representation.run_detail(run)
        found["steps"] = [representation.step_detail(s) for s in run.steps.order_by("seq")]
        found["logs"] = [representation.log_detail(e) for e in run.logs.order_by("id")]
        found["history"] = [representation.event_detail(e) for e in run.events.order_by("id")]
        self._print_json(found)

    def _act(self, options: dict[str, Any]) -> None:
        """Do it to each run; what one refuses leaves the others alone."""
        operation = _operation(options["command"])
        done: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        for given in options["run"]:
            try:
                run = arguments.find_run(given)
                result = operation(run, actor=shell_actor(), reason=options["reason"])
            except RunsError as error:
                errors.append({"run": given, "code": error.code, "detail": str(error)})
                continue
            new = result if isinstance(result, Run) else run
            done.append({"id": str(run.pk), "result": str(new.pk), "status": new.status})
        self._report(options, done, errors)

    def _report(
        self, options: dict[str, Any], done: list[dict[str, Any]], errors: list[dict[str, Any]]
    ) -> None:
        if options["json"]:
            self._print_json({"items": done, "errors": errors})
        else:
            words = _ACTIONS[options["command"]][1]
            for item in done:
                self.stdout.write(f"{item['id']} {words.format(new=item['result'])}")
        if not errors:
            return
        if options["json"]:
            raise SystemExit(1)
        raise CommandError("\n".join(error["detail"] for error in errors))

    def _purge(self, options: dict[str, Any]) -> None:
        from runs.engine.operations import purge_runs

        age = conf.retain_runs()
        if options["older_than"] is not None:
            try:
                age = conf.parse_duration(options["older_than"])
            except ValueError as error:
                raise arguments.BadArgument(f"--older-than: {error}") from None
        if age is None:
            raise arguments.BadArgument("Say how old: --older-than 30d (RETAIN_RUNS is not set).")
        count = purge_runs(age, limit=options["limit"], actor=shell_actor())
        if options["json"]:
            self._print_json({"deleted": count})
            return
        more = " There may be more." if count == options["limit"] else ""
        self.stdout.write(f"Deleted {count:,} {'run' if count == 1 else 'runs'}.{more}")

    def _print_json(self, value: Any) -> None:
        self.stdout.write(pretty(value))

    def _print_lines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.stdout.write(line)


def _operation(name: str) -> Callable[..., Any]:
    from runs.engine import operations

    return {
        "retry": operations.retry,
        "retrigger": operations.retrigger,
        "cancel": operations.cancel,
        "delete": operations.delete_run,
    }[name]


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 10,000")
    return int(text)
