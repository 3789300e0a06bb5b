"""An input of every kind, and how its form is filled in."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field


class Country(StrEnum):
    DE = "de"
    JP = "jp"


class Address(BaseModel):
    street: str = Field(description="With the number.")
    country: Country = Country.DE


class Item(BaseModel):
    sku: str
    quantity: int = Field(default=1, ge=1, le=99)
    tags: list[str] = []
    gift: bool = True


class Card(BaseModel):
    number: str


class Tree(BaseModel):
    name: str
    left: Tree | None = None
    branches: list[Tree] = []


class Order(BaseModel):
    ship_to: Address
    items: list[Item] = Field(min_length=1)
    bill_to: Address | None = None
    deliver_on: date | None = None
    not_before: datetime | None = None
    speed: Literal["standard", "express"] | None = None
    payment: Card | int = 0
    note: str = ""
    limits: dict[str, int] = {}
    tree: Tree | None = None


FILLED = {
    "input.ship_to.street": "Torstr. 1",
    "input.ship_to.country": '"jp"',
    "rows.items": "2",
    "input.items[0].sku": "a",
    "input.items[0].quantity": "2",
    "rows.items[0].tags": "2",
    "input.items[0].tags[0]": "x",
    "input.items[0].tags[1]": "",
    "input.items[1].sku": "b",
    "input.items[1].gift": "true",
}
VALUE: dict[str, Any] = {
    "ship_to": {"street": "Torstr. 1", "country": "jp"},
    "items": [
        {"sku": "a", "quantity": 2, "tags": ["x"], "gift": False},
        {"sku": "b", "quantity": 1, "tags": [], "gift": True},
    ],
    "bill_to": None,
    "deliver_on": None,
    "not_before": None,
    "speed": None,
    "payment": 0,
    "note": "",
    "limits": {},
    "tree": None,
}
BILL = {"street": "C", "country": "de"}
