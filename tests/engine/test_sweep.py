"""The sweep finds parked runs that nothing holds back, among those that something does."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from runs.engine import leases
from runs.models import Job, Run
from tests.pages import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _waiting() -> None:
    """Runs of two jobs that wait rightly: for a key, and for the end of a pause."""
    now = timezone.now()
    Job.objects.create(name="m", title="m", source="x.py:1", synced_at=now, paused_at=now)
    for key in ("a", "b"):
        factories.run("running", job="d", concurrency_key=key, held_key=key)
        parked("d", concurrency_key=key)
        parked("m")
    parked("m", concurrency_key="free")


def parked(job: str, **attributes: Any) -> Run:
    return factories.run("pending", job=job, due_at=None, **attributes)


def test_what_waits_rightly_stays() -> None:
    assert leases.restore_parked() == 0
    assert not Run.objects.filter(status="pending", due_at__isnull=False).exists()


@pytest.mark.parametrize("job", ["a", "d", "h", "z"])
@pytest.mark.parametrize("key", [None, "c"])
def test_what_was_forgotten_is_found_whatever_its_job(job: str, key: str | None) -> None:
    run = parked(job, concurrency_key=key)
    assert leases.restore_parked() == 1
    run.refresh_from_db()
    assert run.due_at == run.queued_at
    assert leases.restore_parked() == 0


def test_nothing_at_all_is_nothing_to_restore() -> None:
    Run.objects.all().delete()
    assert leases.restore_parked() == 0
