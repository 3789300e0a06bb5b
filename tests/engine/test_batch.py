"""batch_trigger: all or nothing, in order."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

import runs
from runs import BatchItem, Step, job
from runs.errors import ConflictError, ValidationError
from runs.models import Label, Run
from runs.testing import drain
from tests.faults.invariants import check_invariants

pytestmark = pytest.mark.django_db


class Order(BaseModel):
    order_id: str
    count: int = 1


@pytest.fixture
def ship() -> runs.JobDefinition:
    @job
    def ship(step: Step, payload: Order) -> str:
        return payload.order_id

    return ship


def test_items_are_inputs_or_batch_items_with_options_of_their_own(
    ship: runs.JobDefinition,
) -> None:
    found = ship.batch_trigger(
        [
            {"order_id": "a"},
            Order(order_id="b"),
            BatchItem({"order_id": "c"}, labels={"k": "v"}, priority=3, idempotency_key="i"),
        ],
        actor="ann",
    )
    assert [run.input["order_id"] for run in found] == ["a", "b", "c"]
    assert [run.disposition for run in found] == ["created"] * 3
    assert [run.pk for run in found] == sorted(run.pk for run in found)
    stored = Run.objects.get(pk=found[2].pk)
    assert (stored.labels, stored.priority, stored.idempotency_key) == ({"k": "v"}, 3, "i")
    assert set(Run.objects.values_list("triggered_by", flat=True)) == {"ann"}
    assert Label.objects.count() == 1
    assert {run.output for run in drain()} == {"a", "b", "c"}
    check_invariants()


def test_an_input_with_a_field_named_input_is_an_input() -> None:
    @job
    def echo(step: Step, payload: Any) -> Any:
        return payload

    [run] = echo.batch_trigger([{"input": 1, "labels": {"a": "b"}}])
    assert run.input == {"input": 1, "labels": {"a": "b"}}
    assert run.labels == {}


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ({"count": 1}, "order_id"),
        (BatchItem({"order_id": "x"}, labels={"a b": "c"}), "labels"),
        (BatchItem({"order_id": "x"}, concurrency_key=""), "concurrency_key"),
    ],
)
def test_one_bad_item_means_no_run_and_its_number_is_named(
    ship: runs.JobDefinition, bad: Any, what: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        ship.batch_trigger([{"order_id": "a"}, {"order_id": "b"}, bad])
    assert "Item 2" in str(caught.value)
    assert what in str(caught.value)
    assert not Run.objects.exists()


def test_the_paths_of_invalid_fields_are_kept(ship: runs.JobDefinition) -> None:
    with pytest.raises(ValidationError) as caught:
        ship.batch_trigger([{"order_id": "a", "count": "x"}])
    assert [error.path.endswith("count") for error in caught.value.errors] == [True]


def test_a_conflict_of_any_item_means_no_run(ship: runs.JobDefinition) -> None:
    ship.trigger({"order_id": "first"}, concurrency_key="c")
    with pytest.raises(ConflictError):
        ship.batch_trigger(
            [
                BatchItem({"order_id": "a"}, idempotency_key="i"),
                BatchItem({"order_id": "b"}, concurrency_key="c"),
            ]
        )
    assert Run.objects.count() == 1


def test_items_meet_earlier_items_of_the_same_batch(ship: runs.JobDefinition) -> None:
    item = {"order_id": "a"}
    found = ship.batch_trigger(
        [
            BatchItem(item, idempotency_key="i"),
            BatchItem(item, idempotency_key="i"),
            BatchItem(item, concurrency_key="c"),
            BatchItem(item, concurrency_key="c", coalesce="skip"),
        ]
    )
    assert [run.disposition for run in found] == ["created", "idempotent", "created", "coalesced"]
    assert found[0].pk == found[1].pk
    assert found[2].pk == found[3].pk
    assert Run.objects.count() == 2
    with pytest.raises(ConflictError):
        ship.batch_trigger([BatchItem(item, concurrency_key="d")] * 2)
    assert Run.objects.count() == 2
    check_invariants()


def test_an_empty_batch_makes_nothing(ship: runs.JobDefinition) -> None:
    assert ship.batch_trigger([]) == []
    assert ship.batch_trigger(iter(())) == []


def test_items_may_come_from_a_generator(ship: runs.JobDefinition) -> None:
    found = ship.batch_trigger({"order_id": str(number)} for number in range(5))
    assert [run.input["order_id"] for run in found] == ["0", "1", "2", "3", "4"]


@pytest.mark.django_db(transaction=True)
def test_a_batch_inside_a_transaction_belongs_to_it(ship: runs.JobDefinition) -> None:
    from django.db import transaction

    with transaction.atomic():
        ship.batch_trigger([{"order_id": "a"}] * 3)
        transaction.set_rollback(True)
    assert not Run.objects.exists()
