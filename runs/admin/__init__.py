"""Django's admin: everything to look at, and the operations as actions.

Code owns these rows, so nothing is added, changed or deleted here except through the
engine. The tables grow large: no page counts one, sorts by what has no index, or loads
the payloads of a list.
"""

from __future__ import annotations

from runs.admin import access, others, runs

__all__ = ["access", "others", "runs"]
