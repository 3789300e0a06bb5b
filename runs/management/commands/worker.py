"""``manage.py worker``: executes runs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandParser

from runs import conf
from runs.supervisor import Part, Supervisor, manage_command

#: Beyond SHUTDOWN_SECONDS, for a child that has to leave a body behind.
_MARGIN = 3.0


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def threads(text: str) -> int:
    """How many runs at a time, for argparse."""
    count = positive(text)
    if count > conf.MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {conf.MOST_THREADS}")
    return count


class Command(BaseCommand):
    """Executes runs until SIGTERM or Ctrl-C, in threads or in processes."""

    #: All but those of addresses and templates, which would load all pages and the API.
    requires_system_checks = ("runs", Tags.models, Tags.caches, Tags.files)
    help = (
        "Execute runs until SIGTERM or Ctrl-C. A stopping worker finishes the step it is in "
        "and hands its runs back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--concurrency",
            type=threads,
            default=None,
            help="Runs at a time (default: WORKER_CONCURRENCY, or 4).",
        )
        parser.add_argument(
            "--kind",
            choices=("thread", "process"),
            default="thread",
            help="One process with threads (default), or a process for each run at a time: "
            "they use all cores, and a crash takes one run with it instead of all.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        concurrency = options["concurrency"] or conf.worker_concurrency()
        if options["kind"] == "process":
            self._supervise(concurrency)
            return
        from runs.engine.worker import run_worker

        code = run_worker(concurrency=concurrency)
        if code:
            sys.exit(code)

    def _supervise(self, count: int) -> None:
        command = manage_command("worker", "--concurrency", "1")
        parts = [Part(f"worker process {number}", command) for number in range(1, count + 1)]
        grace = conf.shutdown_seconds() + _MARGIN
        Supervisor(parts, grace=grace, say=self.stdout.write).run()
