"""No page asks the database more often because there are more rows."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, reverse
from django.utils import timezone

from runs.access import VIEW, tokens
from runs.dashboard import stalled
from runs.dashboard.shell import Kept
from runs.dashboard.urls import urlpatterns
from runs.models import (
    Activity,
    BulkAction,
    BulkItem,
    FailureActivity,
    FailureGroup,
    Job,
    Run,
    RunStatus,
    Span,
    Worker,
)
from tests.pages import factories

FEW, MANY = 3, 10

#: Another kind of row may take one query more, and a list that isn't full looks further on.
SLACK = 6

#: Addresses that show no rows.
WITHOUT_ROWS = {"login", "login-once", "logout", "password", "live", "preferences"}


class Rows:
    """Some of everything, the first of which are the ones that pages are asked for."""

    def __init__(self) -> None:
        self.run: dict[str, Run] = {}
        self.step = "step-0"
        self.failure = ""
        self.action: BulkAction | None = None

    def add(self, count: int) -> None:
        for number in range(count):
            self._jobs(number)
            worker = factories.worker(f"job-{uuid.uuid4().hex[:6]}", "example")
            for status in RunStatus.values:
                self._runs(status, number, worker)
            self._failures()
            self._bulk()
            self._token()

    def _jobs(self, number: int) -> None:
        now = timezone.now()
        name = f"job-{uuid.uuid4().hex[:8]}"
        Job.objects.create(name=name, title=name, source="x.py:1", code_version="1", synced_at=now)
        paused = {"paused_at": now, "paused_by": "ann"}
        name = f"paused-{uuid.uuid4().hex[:8]}"
        Job.objects.create(
            name=name, title=name, source="x.py:1", code_version="1", synced_at=now, **paused
        )
        for span in Span:
            hour = now.replace(minute=0, second=0, microsecond=0)
            Activity.objects.create(job=name, span=span, at=hour, completed=3, failed=2, started=5)

    def _runs(self, status: str, number: int, worker: Worker) -> None:
        more = {"job": "example"} if number % 2 else {"job": f"job-{uuid.uuid4().hex[:6]}"}
        long_ago = timezone.now() - timedelta(hours=2)
        labels = {"shop": "berlin", "number": str(number)}
        values: dict[str, Any] = {"labels": labels, "progress": {"current": 1, "total": 3}, **more}
        if status == RunStatus.FAILED:
            values["error_fingerprint"] = "a" * 32
        if status == RunStatus.RUNNING:
            values |= {"lease_owner": worker.pk, "started_at": long_ago, "current_step": "step-0"}
        if status == RunStatus.PENDING:
            key = uuid.uuid4().hex
            values |= {"concurrency_key": key, "due_at": long_ago}
            factories.run("running", held_key=key, concurrency_key=key, lease_owner=worker.pk)
        failed = status == RunStatus.FAILED
        run = factories.failed_run(**values) if failed else factories.run(status, **values)
        self.run.setdefault(status, run)
        self._belongings(run)
        self._belongings(self.run[status])

    def _belongings(self, run: Run) -> None:
        place = run.seq
        factories.step(run, f"step-{place}")
        factories.step(run, f"failed-{place}", None)
        factories.log(run, "hello", step=f"step-{place}")
        for kind in ("started", "taken_over", "cancelled", "failed"):
            factories.event(run, kind, data={"step": f"step-{place}", "from": str(uuid.uuid4())})
        factories.run(source_id=run.pk)

    def _failures(self) -> None:
        now = timezone.now()
        fingerprint = uuid.uuid4().hex
        group = FailureGroup.objects.create(
            fingerprint=fingerprint,
            job="example",
            error_type="CardError",
            message="no funds",
            first_seen=now,
            last_seen=now,
            last_run_id=self.run["failed"].pk,
        )
        for span in Span:
            at = now.replace(minute=0, second=0, microsecond=0)
            FailureActivity.objects.create(group=group, span=span, at=at, failed=2)
        factories.failed_run(error_fingerprint=fingerprint)
        self.failure = self.failure or fingerprint

    def _bulk(self) -> None:
        now = timezone.now()
        action = BulkAction.objects.create(
            kind="retry", actor="ann", bound=uuid.uuid4(), expected=9, created_at=now
        )
        self.action = self.action or action
        for done in (True, False):
            BulkItem.objects.create(
                action=self.action, run_id=uuid.uuid4(), job="x", done=done, created_at=now
            )

    def _token(self) -> None:
        user = factories.user(f"user-{uuid.uuid4().hex[:8]}")
        tokens.create(uuid.uuid4().hex, permissions=[VIEW], user=user)


Address = Callable[[Rows], str]


def _of_run(name: str, status: str, query: str = "") -> Address:
    return lambda rows: reverse(name, args=[rows.run[status].pk]) + query.format(step=rows.step)


def _plain(name: str, query: str = "") -> Address:
    return lambda rows: reverse(name) + query


PAGES: dict[str, list[Address]] = {
    "home": [_plain("home"), _plain("home", "?range=week&fragment=1")],
    "runs": [
        _plain("runs"),
        _plain("runs", "?status=failed&status=pending&job=example&label=shop:berlin"),
        _plain("runs", "?since=24h&q=n"),
        lambda rows: f"{reverse('runs')}?failure={rows.failure}",
        lambda rows: f"{reverse('runs')}?cursor=older-{uuid.UUID(int=2**128 - 1)}",
    ],
    "runs-live": [
        lambda rows: (
            f"{reverse('runs-live')}?top={rows.run['completed'].pk}"
            + "".join(f"&shown={id}" for id in Run.objects.values_list("pk", flat=True)[:50])
        )
    ],
    "runs-counts": [_plain("runs-counts"), _plain("runs-counts", "?job=example")],
    "run": [_of_run("run", status) for status in RunStatus.values]
    + [_of_run("run", "completed", "?step={step}"), _of_run("run", "failed", "?steps=table")],
    "run-live": [_of_run("run-live", status) for status in RunStatus.values],
    "run-log": [_of_run("run-log", "completed", query) for query in ("", "?level=warn")],
    "run-payload": [lambda rows: reverse("run-payload", args=[rows.run["completed"].pk, "input"])],
    "bulk": [_plain("bulk")],
    "bulk-action": [lambda rows: reverse("bulk-action", args=[_action(rows)])],
    "bulk-live": [lambda rows: reverse("bulk-live", args=[_action(rows)])],
    "failures": [_plain("failures"), _plain("failures", "?q=card&job=example")],
    "failure": [
        lambda rows: reverse("failure", args=[rows.failure]),
        lambda rows: reverse("failure", args=["a" * 32]),
    ],
    "tokens": [_plain("tokens")],
    "workers": [_plain("workers"), _plain("workers", "?fragment=1")],
    "storage": [_plain("storage"), _plain("storage", "?days=1"), _plain("storage", "?fragment=1")],
    "jobs": [_plain("jobs")],
    "job": [lambda rows: reverse("job", args=["example"])],
    "job-live": [lambda rows: reverse("job-live", args=["example"])],
}

ADMIN = ("run", "step", "logentry", "runevent", "label", "job", "worker", "apitoken")


def _action(rows: Rows) -> uuid.UUID:
    assert rows.action is not None
    return rows.action.pk


@pytest.fixture
def rows(db: None) -> Iterator[Rows]:
    found = Rows()
    found.add(FEW)
    yield found
    Kept.forget()
    stalled.watch.forget()


def _queries(client: Client, url: str) -> list[str]:
    Kept.forget()
    stalled.watch.forget()
    with CaptureQueriesContext(connection) as captured:
        response = client.get(url)
    assert response.status_code == 200, url
    return [query["sql"] for query in captured.captured_queries]


def _growing(client: Client, addresses: list[Address], rows: Rows) -> list[str]:
    """The addresses that ask more often when there are more rows, and what they ask."""
    before = []
    for address in addresses:
        _queries(client, address(rows))  # what is read once a process
        before.append(_queries(client, address(rows)))
    rows.add(MANY)
    found = []
    for address, few in zip(addresses, before, strict=True):
        many = _queries(client, address(rows))
        if len(many) > len(few) + SLACK:
            [(most, count)] = Counter(sql[:300] for sql in many).most_common(1)
            found.append(f"{address(rows)}: {len(few)} became {len(many)}; {count} times {most}")
    return found


def test_more_rows_are_no_more_queries(operator: Client, rows: Rows) -> None:
    manages = Permission.objects.get(codename="manage_tokens")
    User.objects.get(username="ann").user_permissions.add(manages)
    addresses = [page for pages in PAGES.values() for page in pages]
    assert _growing(operator, addresses, rows) == []


def test_nor_in_the_admin(rows: Rows) -> None:
    client = Client()
    client.force_login(factories.user("root", is_staff=True, is_superuser=True))
    lists = [_plain(f"admin:runs_{name}_changelist") for name in ADMIN]
    assert _growing(client, lists, rows) == []


def test_before_a_bulk_action(operator: Client, rows: Rows) -> None:
    def ask() -> int:
        form = {"do": "retry", "all": "1", "filters": "status=failed"}
        with CaptureQueriesContext(connection) as captured:
            assert operator.post(reverse("bulk"), form).status_code == 200
        return len(captured)

    few = ask()
    rows.add(MANY)
    assert ask() <= few + SLACK


def test_every_page_is_among_them() -> None:
    names = {pattern.name for pattern in urlpatterns if isinstance(pattern, URLPattern)}
    assert names == PAGES.keys() | WITHOUT_ROWS
