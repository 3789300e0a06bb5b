"""A process of a measurement: ``python -m runs.bench measure ORDER``, ``… worker``, ``… web PORT``.

Its environment names the scratch database. A measuring process prints a line of JSON for
each result.
"""

from __future__ import annotations

import logging
import sys
from contextlib import closing
from dataclasses import replace

import django


def main() -> int:
    """Do what the arguments say; the exit code."""
    django.setup()
    if sys.argv[1] == "worker":
        from runs.bench.worker import be_worker

        return be_worker()
    if sys.argv[1] == "web":
        from runs.bench.web import be_web

        return be_web(int(sys.argv[2]))
    return _measure(sys.argv[2])


def _measure(order_text: str) -> int:
    from django.core.management import call_command

    from runs.bench.ending import ending_on_sigterm
    from runs.bench.measurements import measure
    from runs.bench.measuring import QUICK, Sizes
    from runs.bench.orders import Order
    from runs.bench.worker import BenchError

    order = Order.from_json(order_text)
    sizes = QUICK if order.quick else Sizes()
    if order.runs is not None:
        sizes = replace(sizes, sustained=order.runs)
    if order.seeded is not None:
        sizes = replace(sizes, seeded=order.seeded)
    if order.seconds is not None:
        sizes = replace(sizes, stream_seconds=order.seconds)
    logging.getLogger("runs").setLevel(logging.ERROR)  # some runs are meant to fail
    call_command("migrate", interactive=False, verbosity=0)
    try:
        with ending_on_sigterm(), closing(measure(order.target, sizes, order.names)) as rows:
            for row in rows:
                sys.stdout.write(row.to_json() + "\n")
                sys.stdout.flush()
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
