"""Any order of what users, workers and the clock can do keeps the engine's promises."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import (
    run_state_machine_as_test,
)

from runs import Step, job
from runs.engine import jobsync
from runs.registry import registry
from tests.engine.machine import EngineMachine, outcomes
from tests.engine.operators import JOBS

pytestmark = pytest.mark.django_db


@pytest.fixture
def model_jobs() -> Iterator[None]:
    def end(step: Step) -> None:
        error = outcomes.get(step.job_name)
        if error is not None:
            raise error

    for name in JOBS:
        job(name=name)(end)
    jobsync.sync_jobs()
    yield
    outcomes.clear()
    for name in JOBS:
        registry.remove(name)


@pytest.mark.slow
def test_any_order_of_actions_keeps_every_promise(model_jobs: None) -> None:
    try_orders(8)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_thousands_of_orders_of_actions_keep_every_promise(model_jobs: None) -> None:
    """Others each time; those of a failure come back with its CRASH_SEED."""
    chosen = os.environ.get("CRASH_SEED") or str(time.time_ns())
    print(f"CRASH_SEED={chosen}")  # noqa: T201 (pytest shows it when the test fails)
    try_orders(int(os.environ.get("FUZZ_EXAMPLES", "2000")), chosen)


def try_orders(examples: int, chosen: str | None = None) -> None:
    """So many of them; without a seed always the same."""

    class InATransaction(EngineMachine):
        """Each example starts with an empty database."""

        def __init__(self) -> None:
            super().__init__()
            self._savepoint = transaction.savepoint()

        def teardown(self) -> None:
            try:
                super().teardown()
            finally:
                transaction.savepoint_rollback(self._savepoint)

    run_state_machine_as_test(
        InATransaction if chosen is None else seed(chosen)(InATransaction),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=chosen is None,
            phases=[Phase.explicit, Phase.generate],  # the steps are printed; less takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
