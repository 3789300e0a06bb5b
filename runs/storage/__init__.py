"""How much the database holds, what grows, and what a retention rule would delete.

Nothing here reads a big table as a whole: what PostgreSQL's statistics or a few pages of
SQLite's file don't say is estimated from samples, or counted until a time is over.
"""

from __future__ import annotations

from runs.storage.by_job import JobShare, shares
from runs.storage.rules import BUDGET, Preview, preview
from runs.storage.tables import OF_RUNS, Storage, Table, measure

__all__ = [
    "BUDGET",
    "OF_RUNS",
    "JobShare",
    "Preview",
    "Storage",
    "Table",
    "measure",
    "preview",
    "shares",
]
