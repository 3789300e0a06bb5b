"""Triggering: what is checked, what is stored, and whose transaction it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypedDict

import pytest
from django.db import transaction
from pydantic import BaseModel, Field
from pytest_django import Settings

import runs
from runs import Step, job
from runs.errors import NotFoundError, ValidationError
from runs.models import Label, Run
from runs.testing import drain
from tests.support.engine import execute, reload

pytestmark = pytest.mark.django_db


class Line(BaseModel):
    sku: str
    quantity: int = Field(default=1, ge=1)


class Order(BaseModel):
    order_id: str
    lines: list[Line] = []
    day: date | None = None


@dataclass
class Point:
    x: int
    y: int = 2


class Size(TypedDict):
    width: int


@pytest.fixture
def seen() -> list[Any]:
    return []


@pytest.fixture
def take_order(seen: list[Any]) -> runs.JobDefinition:
    @job
    def take_order(step: Step, payload: Order) -> None:
        seen.append(payload)

    return take_order


@pytest.fixture
def anything(seen: list[Any]) -> runs.JobDefinition:
    @job(name="anything")
    def take_anything(step: Step, payload) -> None:  # type: ignore[no-untyped-def]
        seen.append(payload)

    return take_anything


def test_a_trigger_stores_a_pending_run_and_executes_nothing(
    take_order: runs.JobDefinition, seen: list[Any]
) -> None:
    before = datetime.now(UTC)
    run = take_order.trigger({"order_id": "o1"})
    stored = reload(run)
    assert (stored.status, stored.job) == ("pending", "take-order")
    assert stored.input == {"order_id": "o1", "lines": [], "day": None}
    assert seen == []
    assert before <= stored.created_at <= datetime.now(UTC)


def test_a_fresh_run_has_nothing_yet(take_order: runs.JobDefinition) -> None:
    run = reload(take_order.trigger({"order_id": "o1"}))
    assert (run.attempt, run.step_count, run.lease_generation, run.recoveries) == (1, 0, 0, 0)
    assert run.labels == {}
    for name in (
        "output", "error", "progress", "started_at", "finished_at", "lease_owner",
        "lease_expires_at", "held_key", "current_step", "idempotency_key", "concurrency_key",
        "run_at", "source_id", "parent_id",
    ):  # fmt: skip
        assert getattr(run, name) is None, name


def test_the_returned_run_reads_like_the_stored_one(take_order: runs.JobDefinition) -> None:
    run = take_order.trigger({"order_id": "o1"}, labels={"a": "b"})
    stored = reload(run)
    for field in Run._meta.concrete_fields:
        assert getattr(run, field.attname) == getattr(stored, field.attname), field.name


def test_the_disposition_of_a_new_run_is_created_and_is_not_stored(
    take_order: runs.JobDefinition,
) -> None:
    run = take_order.trigger({"order_id": "o1"})
    assert run.disposition == "created"
    assert reload(run).disposition is None


def test_ids_grow_in_the_order_of_triggers(anything: runs.JobDefinition) -> None:
    ids = [anything.trigger(number).id for number in range(50)]
    assert ids == sorted(ids)
    assert [run.pk for run in anything.get_runs()] == ids[::-1]


# Input


def test_invalid_input_names_the_path_of_each_field_and_stores_nothing(
    take_order: runs.JobDefinition,
) -> None:
    with pytest.raises(ValidationError) as caught:
        take_order.trigger({"lines": [{"sku": "a"}, {"sku": "b", "quantity": 0}]})
    assert [error.path for error in caught.value.errors] == ["order_id", "lines[1].quantity"]
    assert "take-order" in str(caught.value)
    assert "order_id" in str(caught.value)
    assert "lines[1].quantity" in str(caught.value)
    assert not Run.objects.exists()


def test_missing_input_is_invalid_where_the_schema_wants_one(
    take_order: runs.JobDefinition,
) -> None:
    with pytest.raises(ValidationError, match="input"):
        take_order.trigger()


def test_the_parsed_input_is_stored_and_handed_to_the_handler(
    take_order: runs.JobDefinition, seen: list[Any]
) -> None:
    run = execute(
        take_order, {"order_id": "o1", "lines": [{"sku": "a", "quantity": "3"}], "extra": 1}
    )
    assert run.input == {"order_id": "o1", "lines": [{"sku": "a", "quantity": 3}], "day": None}
    assert seen == [Order(order_id="o1", lines=[Line(sku="a", quantity=3)])]


def test_a_date_in_the_input_reaches_the_handler_as_a_date(
    take_order: runs.JobDefinition, seen: list[Any]
) -> None:
    execute(take_order, {"order_id": "o1", "day": "2026-01-02"})
    execute(take_order, {"order_id": "o1", "day": date(2026, 1, 2)})
    assert [order.day for order in seen] == [date(2026, 1, 2)] * 2


def test_an_instance_of_the_input_model_is_taken_as_input(
    take_order: runs.JobDefinition, seen: list[Any]
) -> None:
    order = Order(order_id="o1", lines=[Line(sku="a")])
    execute(take_order, order)
    assert seen == [order]


def test_an_instance_that_was_changed_into_something_invalid_is_refused(
    take_order: runs.JobDefinition,
) -> None:
    order = Order(order_id="o1", lines=[Line(sku="a")])
    order.lines[0].quantity = -5
    with pytest.raises(ValidationError, match=r"lines\[0\]\.quantity"):
        take_order.trigger(order)


def test_a_dataclass_and_a_typed_dict_are_input_types(seen: list[Any]) -> None:
    @job
    def plot(step: Step, payload: Point) -> None:
        seen.append(payload)

    @job
    def resize(step: Step, payload: Size) -> None:
        seen.append(payload)

    execute(plot, {"x": 1})
    execute(plot, Point(3, 4))
    execute(resize, {"width": 5})
    assert seen == [Point(1, 2), Point(3, 4), {"width": 5}]
    with pytest.raises(ValidationError, match="width"):
        resize.trigger({"height": 5})


@pytest.mark.parametrize(
    "value",
    [None, False, 0, "", [], {}, {"a": [1, 2.5, None, True, "ä\u2028😀"]}, 10**20, 1e16, "\x00"],
)
def test_without_a_schema_any_json_is_an_input(
    anything: runs.JobDefinition, seen: list[Any], value: Any
) -> None:
    run = execute(anything, value)
    assert run.status == "completed"
    assert seen == [value]
    assert type(seen[0]) is type(value)
    assert run.input == value


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), float("inf"), b"x"])
def test_without_a_schema_what_is_not_json_is_refused(
    anything: runs.JobDefinition, value: Any
) -> None:
    with pytest.raises(ValidationError, match="anything"):
        anything.trigger(value)
    assert not Run.objects.exists()


def test_an_input_larger_than_the_limit_is_refused(
    anything: runs.JobDefinition, settings: Settings
) -> None:
    settings.MAX_INPUT_BYTES = 100
    anything.trigger("x" * 98)
    with pytest.raises(ValidationError, match="101 bytes of JSON; the limit is 100"):
        anything.trigger("x" * 99)
    with pytest.raises(ValidationError, match="limit"):
        anything.trigger("ä" * 50)


# Labels


def test_labels_are_kept_on_the_run_and_as_rows_to_find_it_by(
    anything: runs.JobDefinition,
) -> None:
    labels = {"tenant": "acme", "a/b.c-d_E9": "", "region": "eu west: ö"}
    run = reload(anything.trigger(labels=labels))
    assert run.labels == labels
    assert dict(Label.objects.filter(run=run).values_list("key", "value")) == labels


@pytest.mark.parametrize(
    "labels",
    [
        {"a b": "c"}, {"": "c"}, {"ä": "c"}, {"a:b": "c"}, {"a=b": "c"}, {"a": 1}, {"a": None},
        {"a": True}, {1: "a"}, {"a": "\x00"}, {"a": "\ud800"}, {"a" * 101: "b"}, {"a": "b" * 256},
        [("a", "b")], "ab", {f"k{n}": "v" for n in range(51)},
    ],
)  # fmt: skip
def test_labels_that_are_not_text_to_text_with_plain_keys_are_refused(
    anything: runs.JobDefinition, labels: Any
) -> None:
    with pytest.raises(ValidationError, match="labels"):
        anything.trigger(labels=labels)
    assert not Run.objects.exists()


def test_a_bad_label_is_reported_also_if_the_idempotency_key_is_known(
    anything: runs.JobDefinition,
) -> None:
    anything.trigger(idempotency_key="k")
    with pytest.raises(ValidationError, match="labels: key 'a b'"):
        anything.trigger(idempotency_key="k", labels={"a b": "c"})


# Other options


@pytest.mark.parametrize("name", ["idempotency_key", "concurrency_key"])
@pytest.mark.parametrize("key", ["", 5, b"k", "k" * 256, "\x00", "\udfff"])
def test_a_key_must_be_a_text_that_is_not_empty(
    anything: runs.JobDefinition, name: str, key: Any
) -> None:
    with pytest.raises(ValidationError, match=name):
        anything.trigger(**{name: key})
    assert not Run.objects.exists()


@pytest.mark.parametrize("priority", [1.5, "1", True, 40_000, -40_000])
def test_a_priority_must_be_a_small_whole_number(
    anything: runs.JobDefinition, priority: Any
) -> None:
    with pytest.raises(ValidationError, match="priority"):
        anything.trigger(priority=priority)


def test_the_priority_is_that_of_the_trigger_or_of_the_job() -> None:
    @job(priority=7)
    def urgent(step: Step) -> None:
        pass

    assert urgent.trigger().priority == 7
    assert urgent.trigger(priority=-2).priority == -2
    assert urgent.trigger(priority=0).priority == 0


def test_the_default_priority_is_0(anything: runs.JobDefinition) -> None:
    assert anything.trigger().priority == 0


@pytest.mark.parametrize("run_at", [datetime(2030, 1, 1), "2030-01-01T00:00:00Z", date(2030, 1, 1)])  # noqa: DTZ001
def test_run_at_must_be_an_aware_datetime(anything: runs.JobDefinition, run_at: Any) -> None:
    with pytest.raises(ValidationError, match="run_at"):
        anything.trigger(run_at=run_at)


def test_a_run_starts_at_run_at_and_not_before(
    anything: runs.JobDefinition, seen: list[Any]
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    anything.trigger("later", run_at=later)
    anything.trigger("overdue", run_at=datetime.now(UTC) - timedelta(days=1))
    anything.trigger("now", run_at=datetime.now(UTC))
    drain()
    assert seen == ["overdue", "now"]
    run = anything.get_runs(status="pending").get()
    assert run.run_at == later


def test_an_unknown_option_is_refused(anything: runs.JobDefinition) -> None:
    with pytest.raises(TypeError):
        anything.trigger(None, delay=5)  # type: ignore[call-arg]


# By name


def test_a_job_is_triggered_by_its_name(anything: runs.JobDefinition, seen: list[Any]) -> None:
    run = runs.trigger("anything", {"a": 1}, labels={"b": "c"}, priority=3)
    assert (run.job, run.labels, run.priority) == ("anything", {"b": "c"}, 3)
    drain()
    assert seen == [{"a": 1}]


def test_an_unknown_job_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="no-such-job"):
        runs.trigger("no-such-job")
    with pytest.raises(NotFoundError, match="no-such-job"):
        runs.get_job("no-such-job")
    assert not Run.objects.exists()


def test_who_triggered_is_kept(anything: runs.JobDefinition, django_user_model: Any) -> None:
    ann = django_user_model.objects.create_user("ann")
    assert reload(anything.trigger(actor=ann)).triggered_by == "ann"
    assert reload(anything.trigger(actor="cron")).triggered_by == "cron"
    assert anything.trigger(actor=ann).events.get().actor == "ann"
    assert reload(anything.trigger()).triggered_by != ""


# Transactions


@pytest.mark.django_db(transaction=True)
def test_a_trigger_belongs_to_the_callers_transaction(
    anything: runs.JobDefinition, seen: list[Any]
) -> None:
    def trigger_and_fail() -> None:
        with transaction.atomic():
            anything.trigger("rolled back", labels={"a": "b"}, idempotency_key="k")
            raise LookupError

    with pytest.raises(LookupError):
        trigger_and_fail()
    assert not Run.objects.exists()
    assert not Label.objects.exists()
    with transaction.atomic():
        anything.trigger("committed", idempotency_key="k")
    drain()
    assert seen == ["committed"]


@pytest.mark.django_db(transaction=True)
def test_a_conflict_leaves_the_callers_transaction_usable(anything: runs.JobDefinition) -> None:
    with transaction.atomic():
        first = anything.trigger(idempotency_key="k", concurrency_key="c")
        again = anything.trigger(idempotency_key="k")
        with pytest.raises(runs.errors.ConflictError):
            anything.trigger(concurrency_key="c")
        other = anything.trigger()
    assert again.pk == first.pk
    assert {run.pk for run in Run.objects.all()} == {first.pk, other.pk}


@pytest.mark.django_db(transaction=True)
def test_a_savepoint_takes_its_triggers_with_it(anything: runs.JobDefinition) -> None:
    with transaction.atomic():
        kept = anything.trigger("kept")
        savepoint = transaction.savepoint()
        anything.trigger("dropped")
        transaction.savepoint_rollback(savepoint)
    assert [run.pk for run in Run.objects.all()] == [kept.pk]


def test_a_job_is_triggered_before_any_sync_of_the_job_table(
    anything: runs.JobDefinition,
) -> None:
    from runs.models import Job

    assert not Job.objects.filter(name="anything").exists()
    assert execute(anything).status == "completed"
