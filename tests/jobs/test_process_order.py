"""process-order: a payment that fails the first time, and what Retry runs again."""

from __future__ import annotations

import pytest

from jobs.process_order import PaymentDeclinedError, Receipt, process_order
from runs.errors import ValidationError
from tests.jobs.fake_step import FakeStep


def test_an_order_is_charged_and_confirmed(step: FakeStep) -> None:
    assert process_order.call(step, {"order_id": "order_123"}) == Receipt(success=True)
    assert step.executed == ["fetch-order", "validate", "process-payment", "confirm"]
    assert step.log.lines[0] == ("info", "Starting order processing", {"order_id": "order_123"})
    assert step.reported[-1] == (4, 4, "Confirmed")


def test_an_even_order_is_declined_once_and_goes_through_on_retry(step: FakeStep) -> None:
    with pytest.raises(PaymentDeclinedError, match=r"for order_124\. Retry to try again"):
        process_order.call(step, {"order_id": "order_124"})
    step.attempt = 2
    assert process_order.call(step, {"order_id": "order_124"}) == Receipt(success=True)
    assert step.executed.count("fetch-order") == 1


def test_an_order_needs_an_id() -> None:
    with pytest.raises(ValidationError, match="order_id"):
        process_order.parse_input({"order_id": ""})
