"""``manage.py trigger``: start a run from a shell."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from runs.errors import RunCancelledError, RunFailedError, WaitTimeoutError
from runs.management import arguments
from runs.management.base import INTERRUPTED, USAGE, RunsCommand, shell_actor
from runs.management.following import Follower, pretty
from runs.models import Run
from runs.registry import get_job

COMPLETED, FAILED, CANCELLED, TIMEOUT = 0, 1, 2, 3


class Command(RunsCommand):
    """Triggers a run, and waits for it if asked to."""

    help = (
        "Trigger a run and print its id; with --wait, follow it and print its output. "
        "Exit codes: 0 triggered (with --wait: completed), 1 failed, 2 cancelled, 3 still "
        "going on after --timeout, 64 wrong usage or input, 69 no database."
    )
    refused = USAGE

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("job", help="Name of the job.")
        add(
            "input",
            nargs="?",
            help='A JSON file, - for stdin, or JSON itself, starting with {, [ or ". '
            "Default: {} for a job that takes an object, else null.",
        )
        add("--wait", action="store_true", help="Follow the run to its end.")
        add("--timeout", type=_seconds, metavar="S", help="With --wait: give up after S seconds.")
        add("--label", action="append", default=[], metavar="K=V", help="A label; repeatable.")
        add("--idempotency-key", metavar="KEY", help="Return the run that has this key, if any.")
        add("--concurrency-key", metavar="KEY", help="One running run with this key at a time.")
        add("--coalesce", choices=("skip",), help="Return the pending run of the key, if any.")
        add("--priority", type=int, metavar="N", help="Higher first (default: the job's).")
        add("--run-at", metavar="TIME", help="Not before this time (ISO 8601).")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["timeout"] is not None and not options["wait"]:
            raise arguments.BadArgument("--timeout needs --wait.")
        run = self._trigger(options)
        if not options["wait"]:
            self._note(f"{run.job}: {run.disposition}, {run.status}")
            self.stdout.write(str(run.pk))
            return
        self._note(f"Run {run.pk} of {run.job} ({run.disposition})")
        self._wait(run, options["timeout"])

    def _note(self, text: str) -> None:
        """For people: beside the output, and not in the red of an error."""
        self.stderr.write(text, style_func=str)

    def _trigger(self, options: dict[str, Any]) -> Run:
        from runs.engine.triggers import trigger

        definition = get_job(options["job"])
        run_at: datetime | None = None
        if options["run_at"] is not None:
            run_at = arguments.parse_time(options["run_at"])
        return trigger(
            definition.name,
            arguments.read_input(options["input"], definition),
            labels=arguments.parse_labels(options["label"]),
            idempotency_key=options["idempotency_key"],
            concurrency_key=options["concurrency_key"],
            coalesce=options["coalesce"],
            priority=options["priority"],
            run_at=run_at,
            actor=shell_actor(),
        )

    def _wait(self, run: Run, timeout: float | None) -> None:
        from runs.engine.waiting import wait_for_triggered

        follower = Follower(sys.stderr, live=sys.stderr.isatty())
        try:
            ended = wait_for_triggered(
                run,
                timeout=timeout,
                on_progress=follower.on_progress,
                on_log=follower.on_log,
            )
        except RunFailedError as error:
            raise CommandError(str(error), returncode=FAILED) from error
        except RunCancelledError as error:
            raise CommandError(str(error), returncode=CANCELLED) from error
        except WaitTimeoutError as error:
            raise CommandError(str(error), returncode=TIMEOUT) from error
        except KeyboardInterrupt:
            raise CommandError(f"Run {run.pk} goes on.", returncode=INTERRUPTED) from None
        finally:
            follower.done()
        self.stdout.write(pretty(ended.output))


def _seconds(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds of at least 0")
    return value
