"""Bodies of requests: JSON, read strictly."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser
from pydantic_core import from_json

from runs.api.problems import MediaTypeError
from runs.errors import ValidationError

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


class StrictParser(Parser):
    """JSON as RFC 8259 has it: no NaN, no lone surrogates, and not nested beyond reason."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Raises MediaTypeError, and ValidationError that says where the text is wrong.

        No body at all never comes here; it means every field's default.
        """
        kind = (request.content_type or "").lower()
        if kind in _FORMS and not request.POST and not request.FILES:
            return {}  # a form without fields, as some clients send for want of a body
        if kind != "application/json" and not kind.endswith("+json"):
            raise MediaTypeError(
                f"The body must be application/json, not {kind or 'without a Content-Type'}"
            )
        try:
            return from_json(request.body, allow_inf_nan=False)
        except ValueError as error:
            raise ValidationError(f"The body is not JSON: {error}") from error
