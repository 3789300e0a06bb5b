"""Charge an order and confirm it: what a job looks like, and what Retry does."""

from __future__ import annotations

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from runs import Step, job


class Order(BaseModel):
    order_id: str = Field(min_length=1, max_length=100, description="Such as order_123.")


class Receipt(BaseModel):
    success: bool


class OrderDetails(TypedDict):
    order_id: str
    quantity: int
    total: int


class PaymentDeclinedError(Exception):
    """The bank said no."""


@job(name="process-order")
def process_order(step: Step, payload: Order) -> Receipt:
    """Charge an order and confirm it.

    The bank is simulated. It declines the first attempt for every order whose id ends in
    an even digit, such as order_124. Retry charges it: the steps before are not run again.
    """
    step.log.info("Starting order processing", {"order_id": payload.order_id})
    order = step.run("fetch-order", fetch_order, payload.order_id)
    step.progress(1, 4, "Fetched")
    step.run("validate", validate, order)
    step.progress(2, 4, "Validated")
    payment = step.run("process-payment", charge, order["total"], payload.order_id, step.attempt)
    step.progress(3, 4, "Paid")
    step.run("confirm", confirm, step, payload.order_id, payment)
    step.progress(4, 4, "Confirmed")
    return Receipt(success=True)


def fetch_order(order_id: str) -> OrderDetails:
    """Look the order up; here it follows from its id, so that every run sees the same."""
    quantity = sum(order_id.encode()) % 9 + 1
    return {"order_id": order_id, "quantity": quantity, "total": quantity * 1250}


def validate(order: OrderDetails) -> None:
    """Refuse what must not be charged."""
    if order["total"] <= 0:
        raise ValueError(f"Order {order['order_id']} has nothing to pay")


def charge(total: int, order_id: str, attempt: int) -> str:
    """Take the money; returns the number of the payment.

    If the process dies after the bank has said yes and before that is stored, this runs
    again. A real bank takes a key with the payment, such as the order's id, by which it
    knows that it has been asked before.
    """
    if attempt == 1 and order_id[-1] in "02468":
        raise PaymentDeclinedError(
            f"The bank declined {total / 100:.2f} for {order_id}. Retry to try again."
        )
    return f"payment-{order_id}"


def confirm(step: Step, order_id: str, payment: str) -> None:
    """Tell the customer; here, the log."""
    step.log.info("Order confirmed", {"order_id": order_id, "payment": payment})
