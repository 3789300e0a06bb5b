"""A company's invented runs: jobs, inputs, errors, log lines, and how things usually go."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

from runs.engine.failures import Failure


@dataclass(frozen=True)
class Kind:
    """A job: its share of all runs, its steps, its usual seconds, and the last day it ran."""

    name: str
    share: float
    steps: tuple[str, ...]
    seconds: float
    failing: float = 0.03
    silent_days: int = 0  # it has not run for so long


KINDS = (
    Kind(
        "process-order",
        34,
        ("fetch-order", "validate", "reserve-stock", "process-payment", "confirm"),
        2.4,
    ),
    Kind("notify-customer", 20, ("pick-channel", "load-template", "render", "send"), 0.9, 0.02),
    Kind(
        "sync-inventory",
        14,
        ("list-stores", "fetch-stock", "compare", "apply-changes", "write-report", "publish"),
        14,
    ),
    Kind("send-invoice", 10, ("load-order", "number", "render-pdf", "archive", "send"), 3.1),
    Kind(
        "resize-images",
        8,
        ("download", "thumbnail", "small", "medium", "large", "optimize", "upload"),
        8,
    ),
    Kind("charge-subscription", 6, ("load-plan", "price", "charge", "book", "notify"), 2.8, 0.08),
    Kind("checksum-files", 3, ("list-files", "hash-part-1", "hash-part-2", "merge"), 21, 0.01),
    Kind("import-csv", 2.5, ("check", "stage", "import-1", "import-2", "import-3", "publish"), 48),
    Kind("slow-report", 1.5, ("collect", "section-1", "section-2", "section-3", "bind"), 65),
    Kind("export-ledger", 0.7, ("select", "export", "sign", "upload"), 95, 0.1),
    Kind("rebuild-search-index", 0.25, ("snapshot", "index", "swap"), 300, 0.12),
    Kind("close-books", 0.003, ("freeze", "sum", "report"), 40),
    Kind("migrate-accounts", 0.05, ("plan", "copy", "verify", "switch"), 120, 0.2, 12),
)

_ERRORS = (
    ("TimeoutError", "{service} did not answer within {n} seconds"),
    ("ConnectionError", "connection to {service} refused, port {n}"),
    ("PaymentDeclinedError", "the bank of {service} declined card {n}"),
    ("ValueError", "amount {n} of {service} is out of range"),
    ("KeyError", "{service} sent no field 'total' for {n}"),
    ("HTTPStatusError", "{service} answered 503 to request {n}"),
    ("PermissionError", "{service} refused the token, request {n}"),
    ("IntegrityError", "{service} row {n} violates a constraint"),
)
_SERVICES = ("billing", "the warehouse", "the mail relay", "the shop", "the ledger", "storage")
_TRACEBACK = """Traceback (most recent call last):
  File "/app/jobs/{module}.py", line 71, in {module}
    result = step.run("{step}", {function}, payload)
  File "/app/runs/engine/step.py", line 112, in run
    value = call(fn, args, kwargs)
  File "/app/jobs/{module}.py", line 134, in {function}
    answer = client.post(url, json=body, timeout=10)
  File "/app/lib/http_client.py", line 88, in post
    return self._send("POST", url, body, timeout)
  File "/app/lib/http_client.py", line 143, in _send
    raise {type}(message)
{type}: {message}
"""
GROUPS = 200


@dataclass(frozen=True)
class Mishap:
    """A group of failures that look alike, and the part of the time in which it happened."""

    kind: Kind
    step: str
    type: str
    template: str
    service: str
    start: float
    end: float

    def message(self, number: int) -> str:
        return self.template.format(service=self.service, n=number)

    @cached_property
    def fingerprint(self) -> str:
        return Failure(self.type, self.message(0), "").fingerprint(self.kind.name, self.step)

    def traceback(self, message: str) -> str:
        module, function = self.kind.name.replace("-", "_"), self.step.replace("-", "_")
        return _TRACEBACK.format(
            module=module, function=function, step=self.step, type=self.type, message=message
        )


def mishaps(chance: random.Random) -> dict[str, list[Mishap]]:
    """About ``GROUPS`` groups of failures, by job: the busier the job, the more."""
    found: dict[str, list[Mishap]] = {}
    for kind in KINDS:
        every = [
            (step, type, text, service)
            for step in kind.steps
            for type, text in _ERRORS
            for service in _SERVICES
        ]
        count = min(len(every), 4 + round(kind.share * (GROUPS - 4 * len(KINDS)) / 100))
        found[kind.name] = [
            Mishap(kind, *picked, *_period(chance, number))
            for number, picked in enumerate(chance.sample(every, count))
        ]
    return found


def _period(chance: random.Random, number: int) -> tuple[float, float]:
    """The first of each job goes on all the time, the others for some days."""
    if number == 0:
        return 0.0, 1.0
    start = chance.random() * 0.95
    return start, min(1.0, start + chance.uniform(0.05, 0.5))


MESSAGES = (
    ("info", "Starting {step}"),
    ("info", "{step}: {n} rows read"),
    ("info", "{step}: page {n} fetched"),
    ("info", "{step}: cached answer used for {n}"),
    ("warn", "{step}: slow answer, {n} ms"),
    ("info", "{step} done, {n} written"),
)


def input_of(number: int, amount: int) -> str:
    """The input of a run, as JSON."""
    return (
        f'{{"order_id":"order_{number}","customer":"c{number % 9973:05}",'
        f'"amount":{amount / 100},"currency":"EUR","express":{str(number % 3 == 0).lower()}}}'
    )


def output_of(number: int, steps: int) -> str:
    """The output of a run, as JSON."""
    return f'{{"success":true,"reference":"R-{number:08}","steps":{steps}}}'


REGIONS = ("eu-central", "eu-north", "us-east", "us-west", "ap-south")
