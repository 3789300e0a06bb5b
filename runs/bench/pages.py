"""How long the server takes for each page, on a database with very many runs."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from runs.bench import addresses
from runs.bench.addresses import Kind
from runs.bench.measuring import Bench, Sizes, percentile
from runs.bench.results import Goal, Row
from runs.bench.seed import fill
from runs.bench.worker import BenchError
from runs.dashboard.shell import Kept
from runs.models import BulkAction, BulkItem, BulkKind, BulkStatus, Run, RunStatus, Worker

_OUTCOMES = 10_000
_LEAST = 20


def pages(bench: Bench) -> Iterator[Row]:
    """Every page and fragment, as an operator sees them; nothing is kept from the one before."""
    fill(bench.sizes.seeded)
    _make_bulk_action()
    operator, administrator = _sign_in("operator"), _sign_in("administrator", is_superuser=True)
    for kind in addresses.kinds():
        client = administrator if kind.name.startswith("admin") else operator
        took = _measure(client, kind, bench.sizes)
        yield Row.judged(
            target=bench.target,
            name=kind.name,
            what=kind.what,
            unit="ms",
            figure=percentile(took, 0.95),
            median=statistics.median(took),
            goal=Goal(kind.goal, at_most=True),
        )


def _measure(client: Client, kind: Kind, sizes: Sizes) -> list[float]:
    """The milliseconds of a request to each address, so often that there is something to tell."""
    urls = kind.urls[: sizes.addresses]
    _load(client, kind, urls[0])  # its templates
    times = 1 if sizes.addresses else math.ceil(_LEAST / len(urls))
    return [
        min(_load(client, kind, url) for _ in range(sizes.rounds))
        for url in urls
        for _ in range(times)
    ]


def _load(client: Client, kind: Kind, url: str) -> float:
    Kept.forget()
    _heartbeat()
    began = time.perf_counter()
    response = client.get(url) if kind.form is None else client.post(url, kind.form)
    took = (time.perf_counter() - began) * 1000
    if response.status_code not in (200, 204):
        raise BenchError(f"{url} was answered with {response.status_code}")
    return took


def _heartbeat() -> None:
    """The workers are alive, as those runs and pages expect."""
    now = timezone.now()
    Worker.objects.update(heartbeat_at=now)
    ends = now + timedelta(minutes=1)
    Run.objects.filter(status=RunStatus.RUNNING).update(lease_expires_at=ends, due_at=ends)


def _sign_in(name: str, *, is_superuser: bool = False) -> Client:
    user, _ = User.objects.get_or_create(
        username=name, is_superuser=is_superuser, is_staff=is_superuser
    )
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="runs"))
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    return client


def _make_bulk_action() -> None:
    """A bulk action on many runs that is over."""
    now = timezone.now()
    ids = list(Run.objects.newest_first().values_list("id", "job")[:_OUTCOMES])
    action = BulkAction.objects.create(
        kind=BulkKind.RETRY,
        status=BulkStatus.COMPLETED,
        filters="status=failed",
        actor="ann",
        bound=ids[0][0],
        expected=len(ids),
        done=len(ids),
        created_at=now,
        started_at=now,
        finished_at=now,
    )
    BulkItem.objects.bulk_create(
        (
            BulkItem(action=action, run_id=id, job=job, done=bool(number % 50), created_at=now)
            for number, (id, job) in enumerate(ids)
        ),
        batch_size=1_000,
    )
