"""What somebody sends is logged, and makes up no line of the log."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils.module_loading import import_string

from runs.access import DELETE, VIEW, denied
from runs.models import DeniedAttempt
from tests.access.people import person

#: A line as another record would look, on whatever ends a line somewhere.
MADE_UP = "".join(
    f"{end}2026-01-01 00:00:00 INFO x: made up" for end in ("\n", "\r", "\u2028", "\x85")
)


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Any:
    """What the console says."""
    formatters: Any = settings.LOGGING["formatters"]
    line = formatters["line"]
    formatter = import_string(line["class"])(line["format"], style=line["style"])
    return lambda: "\n".join(formatter.format(record) for record in caplog.records)


@pytest.mark.django_db
def test_a_name_that_is_tried_makes_up_no_line(written: Any) -> None:
    Client().post("/login/", {"username": f"eve{MADE_UP}\x1b[2J", "password": "x"})
    denied.memory.forget()
    text = written()
    assert "made up" in text
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01 00:00:00")]
    assert "\x1b" not in text


def test_nor_does_an_error_or_its_traceback(written: Any, caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError(f"wrong{MADE_UP}")
    except ValueError:
        logging.getLogger("runs").exception("Of a job: %s", MADE_UP)
    lines = written().splitlines()
    assert len(lines) > 5
    assert [line for line in lines if not line.startswith("  ")] == [lines[0]]
    assert lines[-1].startswith("  ")


@pytest.mark.django_db
def test_a_name_that_can_t_be_stored_does_not_keep_a_refusal_from_the_record(
    client: Client,
) -> None:
    client.force_login(person("ann", VIEW).user)
    form = {"name": "ci", "permission": [f"{DELETE}\x00"], "lifetime": "30"}
    assert client.post("/tokens/", form).status_code == 403
    denied.memory.forget()
    [row] = DeniedAttempt.objects.all()
    assert (row.actor, row.operation) == ("ann", f"{DELETE}\ufffd")
