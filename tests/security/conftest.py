"""A job whose input has a field of every kind."""

from __future__ import annotations

from tests.pages.conftest import operator, parcel_job

__all__ = ["operator", "parcel_job"]
