"""A key that leads to a hidden run neither names it nor changes anything."""

from __future__ import annotations

from typing import Any

import pytest

from runs import access, errors
from runs.access import Actor
from runs.engine.triggers import BatchItem
from runs.errors import ConflictError
from runs.models import DeniedAttempt, Run, RunEvent
from runs.registry import JobDefinition
from tests.access.people import TENANTS, person
from tests.pages import factories

pytestmark = pytest.mark.django_db

ACME, OTHER = {"tenant": "acme"}, {"tenant": "other"}


@pytest.fixture
def ann(settings: Any, example: JobDefinition) -> Actor:
    """Somebody of acme."""
    settings.ACCESS_POLICY = TENANTS
    return person("ann", tenants=("acme",))


def other_run(**options: Any) -> Run:
    """A pending run of somebody else."""
    return factories.run("pending", labels=OTHER, **options)


@pytest.mark.parametrize(
    ("options", "existing"),
    [
        ({"idempotency_key": "k"}, {"idempotency_key": "k"}),
        ({"concurrency_key": "k", "coalesce": "skip"}, {"concurrency_key": "k"}),
        ({"concurrency_key": "k"}, {"concurrency_key": "k"}),
    ],
)
def test_a_hidden_run_is_not_named(
    ann: Actor, options: dict[str, Any], existing: dict[str, Any]
) -> None:
    run = other_run(**existing)
    item = BatchItem({}, labels=ACME, **options)
    for attempt in (
        lambda: access.trigger(ann, "example", item),
        lambda: access.batch_trigger(ann, "example", [BatchItem({}, labels=ACME), item]),
    ):
        with pytest.raises(ConflictError, match="you can't see has this key") as refused:
            attempt()
        assert str(run.pk) not in str(refused.value)
    assert Run.objects.get() == run
    assert not RunEvent.objects.exists()  # nor was it noted that somebody coalesced with it
    run.refresh_from_db()
    assert run.seq == 0
    recorded = DeniedAttempt.objects.get()
    assert (recorded.actor, recorded.operation, recorded.count) == ("ann", "trigger", 2)
    assert str(run.pk) not in recorded.detail


def test_run_again_does_not_name_a_hidden_run_either(ann: Actor) -> None:
    own = factories.failed_run(labels=ACME, concurrency_key="k")
    hidden = other_run(concurrency_key="k")
    with pytest.raises(ConflictError, match="you can't see has this key") as refused:
        access.operate(ann, own.pk, "retrigger")
    assert str(hidden.pk) not in str(refused.value)


def test_one_s_own_run_is_found_by_its_key(ann: Actor) -> None:
    item = BatchItem({}, labels=ACME, idempotency_key="k")
    first, second = access.trigger(ann, "example", item), access.trigger(ann, "example", item)
    assert (first.pk, second.disposition) == (second.pk, "idempotent")
    queued = BatchItem({}, labels=ACME, concurrency_key="c")
    run = access.trigger(ann, "example", queued)
    with pytest.raises(ConflictError, match=str(run.pk)):
        access.trigger(ann, "example", queued)


def test_who_sees_all_runs_is_told_which_run_has_the_key(example: JobDefinition) -> None:
    run = other_run(concurrency_key="k")
    with pytest.raises(ConflictError, match=str(run.pk)) as refused:
        access.trigger(person(), "example", BatchItem({}, concurrency_key="k"))
    assert refused.value.run_id == run.pk


def test_a_batch_names_the_item_with_the_bad_label(ann: Actor) -> None:
    items = [BatchItem({}, labels=ACME), BatchItem({}, labels={"a b": "c"})]
    with pytest.raises(errors.ValidationError, match="Item 1: labels: key 'a b'"):
        access.batch_trigger(ann, "example", items)
    with pytest.raises(errors.PermissionDeniedError):
        access.batch_trigger(ann, "example", [items[0], BatchItem({}, labels=OTHER)])
    assert not Run.objects.exists()
