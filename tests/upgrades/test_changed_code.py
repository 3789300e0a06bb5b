"""Runs that were half done before their job's code changed: a table of changes.

Each finishes, or is refused by a rule that its error names, and keeps what it has done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import runs
from runs import AsyncStep, Step, job
from runs.errors import NotFoundError, ValidationError
from runs.models import Run
from runs.registry import registry
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, kinds, reload

pytestmark = pytest.mark.django_db

NAME = "order"

#: The bodies that have run, in order.
ran: list[str] = []


def fetch() -> dict[str, Any]:
    ran.append("fetch")
    return {"total": 5}


def charge(total: float) -> str:
    ran.append("charge")
    return f"charged {total}"


def confirm(receipt: str) -> bool:
    ran.append("confirm")
    return bool(receipt)


def first(step: Step, payload: dict[str, Any]) -> bool:
    """The job as it was."""
    order = step.run("fetch", fetch)
    receipt = step.run("charge", charge, order["total"])
    return step.run("confirm", confirm, receipt)


def renamed(step: Step, payload: dict[str, Any]) -> bool:
    order = step.run("load", fetch)
    receipt = step.run("charge", charge, order["total"])
    return step.run("confirm", confirm, receipt)


def removed(step: Step, payload: dict[str, Any]) -> bool:
    return step.run("confirm", confirm, step.run("charge", charge, 5))


def reordered(step: Step, payload: dict[str, Any]) -> bool:
    receipt = step.run("charge", charge, 5)
    step.run("fetch", fetch)
    return step.run("confirm", confirm, receipt)


async def made_async(step: AsyncStep, payload: dict[str, Any]) -> bool:
    order = await step.run("fetch", fetch)
    receipt = await step.run("charge", charge, order["total"])
    return await step.run("confirm", confirm, receipt)


class Order(BaseModel):
    total: float
    currency: str = "EUR"


def typed(step: Step, payload: dict[str, Any]) -> bool:
    def load() -> Order:
        return Order(**fetch())

    order = step.run("fetch", load)
    receipt = step.run("charge", charge, order.total)
    return step.run("confirm", confirm, f"{receipt} {order.currency}")


def typed_otherwise(step: Step, payload: dict[str, Any]) -> bool:
    def load() -> list[int]:
        return [fetch()["total"]]

    [total] = step.run("fetch", load)
    return step.run("confirm", confirm, step.run("charge", charge, total))


class Strict(BaseModel, extra="forbid"):
    order_id: int
    customer: str


def stricter(step: Step, payload: Strict) -> bool:
    return first(step, {})


class Lenient(BaseModel):
    order_id: str
    customer: str = "somebody"


def lenient(step: Step, payload: Lenient) -> bool:
    assert payload.customer == "somebody"
    return first(step, {})


class Receipt(BaseModel):
    number: int


def returns_otherwise(step: Step, payload: dict[str, Any]) -> Receipt:
    return first(step, payload)  # type: ignore[return-value]


@dataclass(frozen=True)
class Change:
    """The job as it is now; the bodies that then run; how the run ends."""

    now: Callable[..., Any]
    ran: tuple[str, ...] = ("confirm",)
    error: str | None = None


CHANGES = {
    "nothing": Change(first),
    "a step renamed": Change(renamed, ("fetch", "confirm")),
    "a step removed": Change(removed),
    "steps reordered": Change(reordered),
    "made async": Change(made_async),
    "the type of a result, which fits": Change(typed),
    "the type of a result, which does not fit": Change(
        typed_otherwise, (), "StepResultError: The stored result of step 'fetch' does not fit .*"
    ),
    "a stricter input": Change(
        stricter, (), "ValidationError: The stored input of order, by today's schema, .*customer.*"
    ),
    "a laxer input": Change(lenient),
    "the type of the output": Change(
        returns_otherwise, ("confirm",), "InvalidOutputError: Invalid output of order: .*"
    ),
}


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    ran.clear()
    yield
    if NAME in registry.names():
        registry.remove(NAME)


def deploy(handler: Callable[..., Any]) -> None:
    """From here on this is the job's code."""
    if NAME in registry.names():
        registry.remove(NAME)
    job(name=NAME)(handler)


@pytest.fixture
def half_done() -> Run:
    """A run of the old code, whose worker has died after two of three steps."""
    deploy(first)
    run = runs.trigger(NAME, {"order_id": "7"}, concurrency_key="k")
    worker = HandWorker("old")
    held = worker.take(run)
    held.step.log.info("old")
    held.step.run("fetch", fetch)
    held.step.run("charge", charge, 5)
    worker.die()
    ran.clear()
    return run


def go_on() -> None:
    """A worker of the code of today does what is due."""
    worker = HandWorker("new")
    while (held := worker.claim()) is not None:
        held.execute()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_run_that_is_half_done_finishes_or_is_refused_by_rule(
    half_done: Run, change: Change
) -> None:
    before = list(half_done.steps.order_by("index").values("name", "index", "output", "seq"))
    deploy(change.now)
    go_on()
    run = reload(half_done)
    assert tuple(ran) == change.ran
    if change.error is None:
        assert (run.status, run.output, run.error) == ("completed", True, None)
    else:
        assert run.status == "failed"
        assert re.fullmatch(change.error, run.error or "", re.DOTALL), run.error
    after = list(run.steps.order_by("index").values("name", "index", "output", "seq"))
    assert after[: len(before)] == before
    check_invariants(runs=[run.pk])


@pytest.mark.parametrize("change", [c for c in CHANGES.values() if c.error], ids=lambda c: c.error)
def test_what_was_refused_goes_on_where_it_was_once_the_code_fits(
    half_done: Run, change: Change
) -> None:
    deploy(change.now)
    go_on()
    deploy(first)
    runs.retry(half_done)
    ran.clear()
    go_on()
    run = reload(half_done)
    assert (run.status, run.output, run.attempt) == ("completed", True, 2)
    assert ran == ([] if "confirm" in change.ran else ["confirm"])
    check_invariants(runs=[run.pk])


def test_a_retry_is_refused_as_long_as_the_input_does_not_fit(half_done: Run) -> None:
    deploy(stricter)
    go_on()
    with pytest.raises(ValidationError, match="customer"):
        runs.retry(half_done)
    assert reload(half_done).status == "failed"
    check_invariants(runs=[half_done.pk])


def test_a_run_of_a_job_that_was_deleted_waits_and_can_be_cancelled(half_done: Run) -> None:
    registry.remove(NAME)
    go_on()
    run = reload(half_done)
    assert (run.status, kinds(run)) == ("running", ["triggered", "started"])
    runs.cancel(run)
    with pytest.raises(NotFoundError, match=NAME):
        runs.retry(run)
    assert run.steps.count() == 2
    check_invariants(runs=[run.pk])


def test_it_goes_on_when_its_job_is_back(half_done: Run) -> None:
    registry.remove(NAME)
    go_on()
    deploy(first)
    go_on()
    assert reload(half_done).status == "completed"
    assert ran == ["confirm"]
    check_invariants(runs=[half_done.pk])


def test_a_run_that_has_not_begun_takes_the_code_of_today() -> None:
    deploy(first)
    run = runs.trigger(NAME, {"order_id": "7"})
    deploy(lenient)
    go_on()
    assert reload(run).status == "completed"
    assert ran == ["fetch", "charge", "confirm"]
    check_invariants(runs=[run.pk])
