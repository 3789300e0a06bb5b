"""Coalescing: a trigger whose job and key have a pending run gets that run."""

from __future__ import annotations

from typing import Any

import pytest

import runs
from runs.errors import ValidationError
from runs.models import Run
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, kinds, race, reload
from tests.support.processes import trigger_in_processes

pytestmark = pytest.mark.django_db


def test_coalesce_skip_returns_the_pending_run_and_drops_input_and_labels(
    sync_stock: runs.JobDefinition,
) -> None:
    first = sync_stock.trigger(1, concurrency_key="c", labels={"a": "b"})
    second = sync_stock.trigger(2, concurrency_key="c", labels={"c": "d"}, coalesce="skip")
    assert (second.pk, second.disposition) == (first.pk, "coalesced")
    stored = reload(first)
    assert (stored.input, stored.labels) == (1, {"a": "b"})
    assert kinds(first) == ["triggered", "coalesced"]
    check_invariants()


def test_without_a_pending_run_coalesce_makes_one(
    sync_stock: runs.JobDefinition, worker: HandWorker
) -> None:
    first = sync_stock.trigger(concurrency_key="c", coalesce="skip")
    assert first.disposition == "created"
    worker.take(first)
    second = sync_stock.trigger(concurrency_key="c", coalesce="skip")
    assert second.disposition == "created"
    third = sync_stock.trigger(concurrency_key="c", coalesce="skip")
    assert (third.pk, third.disposition) == (second.pk, "coalesced")


def test_a_parked_run_is_pending_too(sync_stock: runs.JobDefinition, worker: HandWorker) -> None:
    worker.take(sync_stock.trigger(concurrency_key="c"))
    parked = sync_stock.trigger(concurrency_key="c")
    assert worker.claim() is None
    assert sync_stock.trigger(concurrency_key="c", coalesce="skip").pk == parked.pk


def test_a_run_of_another_job_is_not_coalesced_with(
    sync_stock: runs.JobDefinition, sync_prices: runs.JobDefinition
) -> None:
    sync_stock.trigger(concurrency_key="c")
    assert sync_prices.trigger(concurrency_key="c", coalesce="skip").disposition == "created"


@pytest.mark.parametrize("value", ["merge", "", True, "SKIP", 0])
def test_coalesce_takes_only_skip(sync_stock: runs.JobDefinition, value: Any) -> None:
    with pytest.raises(ValidationError, match="coalesce"):
        sync_stock.trigger(concurrency_key="c", coalesce=value)


def test_coalesce_needs_a_concurrency_key(sync_stock: runs.JobDefinition) -> None:
    with pytest.raises(ValidationError, match="concurrency_key"):
        sync_stock.trigger(coalesce="skip")


def test_the_skipped_input_is_validated_all_the_same(sync_stock: runs.JobDefinition) -> None:
    sync_stock.trigger(concurrency_key="c")
    with pytest.raises(ValidationError):
        sync_stock.trigger(object(), concurrency_key="c", coalesce="skip")


@pytest.mark.django_db(transaction=True)
def test_threads_that_coalesce_while_runs_are_claimed_lose_no_trigger(
    sync_stock: runs.JobDefinition,
) -> None:
    def trigger() -> list[Run]:
        return [sync_stock.trigger(concurrency_key="c", coalesce="skip") for _ in range(5)]

    def work() -> list[Run]:
        return [run for _ in range(10) for run in drain()]

    *triggered, executed, more = race(*[trigger] * 4, work, work)
    everything = {run.pk for batch in triggered for run in batch}
    assert everything == set(Run.objects.values_list("pk", flat=True))
    created = [run for batch in triggered for run in batch if run.disposition == "created"]
    assert len(created) == len(everything)
    drain()
    assert set(Run.objects.values_list("status", flat=True)) == {"completed"}
    assert not {run.pk for run in executed} & {run.pk for run in more}
    check_invariants()


@pytest.mark.django_db(transaction=True)
def test_processes_that_coalesce_make_one_pending_run() -> None:
    found = trigger_in_processes(2, 8, job="slow-report", concurrency_key="c", coalesce="skip")
    assert {id for id, _ in found} == {str(Run.objects.get().pk)}
    assert sorted(disposition for _, disposition in found) == ["coalesced"] * 15 + ["created"]
