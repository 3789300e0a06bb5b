"""The admin's page of imported rows."""

from __future__ import annotations

import uuid

import pytest
from django.test import Client

from jobs.models import ImportedRow

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("search", "shown"), [("", "AnnBob"), ("own", "Ann"), ("nonsense", ""), ("0", "")]
)
def test_rows_of_a_run_are_found_by_its_id(admin_client: Client, search: str, shown: str) -> None:
    run_id = uuid.uuid4()
    ImportedRow.objects.create(run_id=run_id, line_number=2, data={"name": "Ann"})
    ImportedRow.objects.create(run_id=uuid.uuid4(), line_number=2, data={"name": "Bob"})
    term = str(run_id) if search == "own" else search
    page = admin_client.get("/admin/jobs/importedrow/", {"q": term}).content.decode()
    assert "".join(name for name in ("Ann", "Bob") if name in page) == shown
