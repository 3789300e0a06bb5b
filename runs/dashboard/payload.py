"""Inputs, outputs and step results: for show read only as far as is shown, or as a file."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from django.db.models import F, QuerySet, TextField
from django.db.models.functions import Length, Substr
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from runs.dashboard.access import find_run, page
from runs.dashboard.format import size
from runs.dashboard.json_tree import LIMIT, Node, json_tree
from runs.dashboard.query import text_of
from runs.models import Run, Step

_MAX_PARSED = 250_000


@dataclass(frozen=True)
class Payload:
    """A stored value: its tree, or the head of its text if it is too large to parse here."""

    size: str
    tree: Node | None = None
    head: str = ""
    cut: bool = False
    text: str = ""  # all of it if it is short, to be copied


def load_payload(rows: QuerySet[Any], field: str) -> Payload | None:
    """The value of ``field`` of the one row, or None if it holds none."""
    measured = rows.order_by().values_list(Length(field), _raw(field, LIMIT))
    length, head = measured.first() or (None, None)
    if length is None or head is None:
        return None
    if length > _MAX_PARSED:
        return Payload(size(length), head=head, cut=True)
    text = head if length <= LIMIT else read_text(rows, field)
    tree, cut = json_tree(json.loads(text or "null"))
    return Payload(size(length), tree, cut=cut, text=head if length <= LIMIT else "")


def read_text(rows: QuerySet[Any], field: str) -> str | None:
    """The JSON text of ``field`` of the one row as it is stored."""
    found: str | None = rows.order_by().values_list(_raw(field, 2**31 - 2), flat=True).first()
    return found


@page
@require_GET
def run_payload(request: HttpRequest, id: uuid.UUID, field: str) -> HttpResponse:
    """The whole input, output or step result, as a JSON file."""
    run = find_run(request, id)
    if field == "step":
        step = Step.objects.filter(run_id=id, name=text_of(request.GET, "name"))
        text = read_text(step, "output")
    else:
        text = read_text(Run.objects.filter(pk=id), field)
    if text is None:
        raise Http404("This run has no such value.")
    response = HttpResponse(text, content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{str(run.id)[-12:]}-{field}.json"'
    return response


def _raw(field: str, length: int) -> Substr:
    return Substr(F(field), 1, length, output_field=TextField())
