"""Which site may send what changes something, by what browsers say of it."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from runs.models import Run
from tests.durably_react.conftest import Caller
from tests.pages import factories

pytestmark = pytest.mark.django_db

OWN = "http://testserver"
TRUSTED = "https://app.example.com"


@pytest.mark.parametrize(
    ("origin", "site", "allowed"),
    [
        (OWN, "same-origin", True),
        (OWN, None, True),  # a browser without Sec-Fetch-Site, or plain HTTP
        (None, "same-origin", True),
        (None, None, False),
        (None, "cross-site", False),
        (None, "same-site", False),
        (None, "none", False),
        ("null", None, False),
        ("null", "same-origin", False),
        ("", None, False),
        (OWN, "cross-site", False),
        (OWN, "none", False),
        (OWN + ":81", None, False),
        ("https://testserver", None, False),
        ("http://testserver.evil.com", None, False),
        ("https://evil.com", None, False),
        ("https://evil.com", "same-origin", False),
        ("https://evil.com", "cross-site", False),
        (TRUSTED, "cross-site", True),
        (TRUSTED, "same-site", True),
        (TRUSTED, None, True),
        ("http://app.example.com", None, False),
        ("https://a.wild.example.com", "same-site", True),
        ("https://wild.example.com.evil.com", None, False),
        ("https://evil.com/.wild.example.com", None, False),
        ("https://[", None, False),
    ],
)
def test_origins(
    settings: Settings, caller: Caller, origin: str | None, site: str | None, allowed: bool
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [TRUSTED, "https://*.wild.example.com"]
    run = factories.run("pending")
    headers = {"Origin": origin, "Sec-Fetch-Site": site}
    sent = {name: value for name, value in headers.items() if value is not None}
    requests = [
        caller.client.post(
            f"/api/durably/cancel?runId={run.pk}", "", content_type="", headers=sent
        ),
        caller.client.delete(f"/api/durably/run?runId={run.pk}", headers=sent),
        caller.client.post(
            "/api/durably/trigger", {}, content_type="application/json", headers=sent
        ),
    ]
    found = [response.status_code for response in requests]
    assert found == ([200, 200, 400] if allowed else [403, 403, 403])
    assert Run.objects.exists() != allowed


def test_reading_needs_no_origin(caller: Caller) -> None:
    assert caller.client.get("/api/durably/runs").status_code == 200
    headers = {"Origin": "https://evil.com", "Sec-Fetch-Site": "cross-site"}
    response = caller.client.get("/api/durably/runs", headers=headers)
    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers  # so its page can't read it
