"""A model field for payloads: JSON kept as text.

Text, because PostgreSQL's ``jsonb`` turns 1e16 into an integer, reorders keys and
refuses NUL, and because lists must be able to leave payloads unread and unparsed.
"""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from runs.payloads import JSONText, dumps


class JSONTextField(models.TextField):  # type: ignore[type-arg]
    """Reads as a Python value; writes a Python value, or a ``JSONText`` as it is.

    SQL's NULL and JSON's ``null`` both read as None.
    """

    description = "JSON as text"

    # What django-stubs reads: any value goes in and comes out.
    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def from_db_value(
        self, value: str | None, expression: object, connection: BaseDatabaseWrapper
    ) -> Any:
        return None if value is None else json.loads(value)

    def get_prep_value(self, value: Any) -> str | None:
        if value is None or isinstance(value, JSONText):
            return value
        return dumps(value)

    def value_to_string(self, obj: models.Model) -> str:
        return dumps(self.value_from_object(obj))
