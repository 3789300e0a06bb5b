"""What a job may do to its worker, as a table: ``HOSTILE``, by name.

Each entry says how its run must end. What every entry has in common is checked by
``test_hostile_handlers``: it is executed once, the worker lives on, and the next run on its
thread finds everything as if it were the first. To add one, add a function here::

    @hostile("raises what it likes", error="ValueError: .*")
    def raises(step: Step) -> None: ...
"""

from __future__ import annotations

from tests.faults.hostile import leaving, raising, returning, talking  # noqa: F401 (they fill it)
from tests.faults.hostile.table import HOSTILE, Hostile

__all__ = ["HOSTILE", "Hostile"]
