"""Any order of what users, workers and the clock can do keeps the engine's promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
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


@pytest.mark.parametrize("examples", [8, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.slow
def test_any_order_of_actions_keeps_every_promise(model_jobs: None, examples: int) -> None:
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
        InATransaction,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],  # the steps are printed; less takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
