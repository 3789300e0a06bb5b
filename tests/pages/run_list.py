"""The run list as a person gets it."""

from __future__ import annotations

import re

from django.test import Client

from runs.models import Run


def shown(page: str) -> list[str]:
    """Ids of the rows, in order."""
    return re.findall(r'<tr id="run-([0-9a-f-]{36})"', page)


def get(client: Client, query: str = "") -> str:
    """The page of the list."""
    response = client.get(f"/runs/?{query}")
    assert response.status_code == 200
    return str(response.content.decode())


def link(page: str, rel: str) -> str:
    """The query string of the pager's link, empty if there is none."""
    found = re.search(rf'rel="{rel}" href="\?([^"]*)"', page)
    return found[1].replace("&amp;", "&") if found else ""


def ids(*runs: Run) -> list[str]:
    """Their ids, as the page has them."""
    return [str(run.id) for run in runs]
