"""``python -m tools.peers``: measure this engine and others in turn, and print a table."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "durably_site.settings")

import django

django.setup()

from runs.bench import command, scratch  # noqa: E402 (after the settings)
from runs.bench.ending import ending_on_sigterm  # noqa: E402
from runs.bench.scratch import Target  # noqa: E402
from tools.peers import engines, measure  # noqa: E402
from tools.peers.engines import Engine  # noqa: E402
from tools.peers.measure import QUICK, Failed, Sizes  # noqa: E402
from tools.peers.table import table  # noqa: E402


def main() -> int:
    """Do what the command line asks for; the exit code."""
    options = _options()
    with ending_on_sigterm(), tempfile.TemporaryDirectory() as temporary:
        others: list[Engine] = []
        problems: list[str] = []
        if not options.only_ours:
            others, problems = engines.install(options.folder or Path(temporary))
        _print(f"{measure.now()}, load {measure.load()}, {os.cpu_count()} processors")
        _print(f"Python {platform.python_version()}; " + "; ".join(e.version for e in others))
        for problem in problems:
            _print(problem)
        for target in _targets(options):
            _print("\n" + _compare([engines.ours(), *others], target, options))
    return 0


def _compare(found: list[Engine], target: Target, options: Any) -> str:
    """Each engine once in every repetition, so that all have the same machine."""
    sizes = QUICK if options.quick else Sizes()
    kept: dict[str, list[dict[str, Any]]] = {
        each.name: [] for each in found if each.on_sqlite or target.server
    }
    for _ in range(sizes.repetitions):
        for engine in found:
            if engine.name not in kept:
                continue
            try:
                kept[engine.name].append(measure.measure(engine, target, sizes))
            except Failed as error:
                _print(f"{engine.name} on {target.title} failed: {error}")
    return table(f"{target.title} (load now {measure.load()})", kept)


def _targets(options: Any) -> list[Target]:
    found = [scratch.sqlite("full"), scratch.sqlite("normal")]
    if options.postgres:
        found.append(scratch.postgresql(options.postgres))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Little of each, once.")
    parser.add_argument("--only-ours", action="store_true", help="Install and measure no other.")
    parser.add_argument(
        "--folder", type=Path, help="Where the others are installed, and kept (default: nowhere)."
    )
    parser.add_argument(
        "--postgres",
        metavar="URL",
        default=command.known_server(),
        help="Measure on this server as well (default: that of DATABASE_URL).",
    )
    return parser.parse_args()


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
