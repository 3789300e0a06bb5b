"""Text that looks like markup, in every place that there is: pages, admin, downloads, API.

``tests/browser/test_hostile_text.py`` opens the same in Chromium.
"""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from django.apps import apps
from django.contrib.admin.utils import quote
from django.db.models import CharField, TextField
from django.test import Client

from runs.registry import JobDefinition
from tests.pages import factories
from tests.security.hostile import markup_in, what_is_wrong
from tests.security.surfaces import ADMIN_LISTS, PAGES, Things
from tests.security.world import make_world, rows

pytestmark = pytest.mark.django_db

#: As one text, since it must not be cut before its end: 46 characters.
TEXT = "'\"><zq onzq=1>{{7}}</script></textarea></pre>"

#: Pages that show something of it; the others have nothing to show, or say it another way.
_SILENT = {
    "runs/<uuid:id>/<run_field:field>.json",
    "runs/counts/",
    "password/",
    "login/",
    "login/once/<str:uidb64>/<str:token>/",
    "live/",
    "admin/login/",
}


@pytest.fixture
def world(parcel_job: JobDefinition) -> Things:
    return make_world(TEXT)


@pytest.fixture
def root(world: Things) -> Client:
    """Somebody whose own name is hostile, and who may do everything."""
    client = Client()
    client.force_login(factories.user(f"root {TEXT}", is_staff=True, is_superuser=True))
    return client


def text_of(answer: Any) -> str:
    return (b"".join(answer) if answer.streaming else answer.content).decode()


def test_the_world_is_hostile_everywhere(world: Things) -> None:
    """Each text of each model that isn't one of the product's own words has it."""
    own = {
        "status", "kind", "level", "job", "fingerprint", "error_fingerprint", "digest", "hint",
        "actor_reference", "created_by", "revoked_by", "key", "name", "selection", "permissions",
        "jobs",
    }  # fmt: skip
    for model in apps.get_app_config("runs").get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, CharField | TextField) and field.name not in own:
                found = repr(list(model._default_manager.values_list(field.name, flat=True)))
                assert "<zq" in found, f"{model.__name__}.{field.name}"


@pytest.mark.parametrize("route", [route for route in PAGES if route != "live/"])
def test_no_page_makes_markup_of_it(root: Client, world: Things, route: str) -> None:
    said = 0
    queries: list[dict[str, str]] = [{}, *({name: TEXT} for name in PAGES[route])]
    queries += [
        {"shown": str(world.run.pk), "step": TEXT, "steps": "table"},
        {"as": "json", "from": str(world.run.pk)},
    ]
    for query in queries:
        answer = root.get(f"{world.path(route)}?{urlencode(query)}")
        if "attachment" in answer.headers.get("Content-Disposition", ""):
            continue
        assert what_is_wrong(answer) == [], query
        said += unescape(text_of(answer)).count("<zq onzq=1>")
    assert said or route in _SILENT


@pytest.mark.parametrize("route", ADMIN_LISTS)
def test_no_page_of_the_admin_makes_markup_of_it(root: Client, world: Things, route: str) -> None:
    [row] = [row for base, row in rows() if base == f"/{route}"]
    paths = [f"/{route}", f"/{route}?{urlencode({'q': TEXT})}"]
    paths += [f"/{route}{quote(row.pk)}/{page}/" for page in ("change", "history")]
    paths += [f"/{route}{quote(TEXT)}/change/"]
    for path in paths:
        answer = root.get(path, follow=True)
        assert answer.status_code == 200, path
        assert what_is_wrong(answer) == [], path
    assert "<zq onzq=1>" in unescape(text_of(root.get(paths[0])))  # at least one's own name


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("input.json", "application/json"),
        ("step.json?" + urlencode({"name": TEXT}), "application/json"),
        ("log/?as=txt", "text/plain; charset=utf-8"),
        ("log/?as=jsonl", "application/jsonl; charset=utf-8"),
    ],
)
def test_a_download_is_a_file_and_never_a_page(
    root: Client, world: Things, path: str, kind: str
) -> None:
    """Whatever it holds: no browser shows it as a page of this site, nor guesses its kind."""
    answer = root.get(f"/runs/{world.run.pk}/{path}")
    assert answer.status_code == 200
    assert "<zq onzq=1>" in text_of(answer)  # as it was said: it is data
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r'attachment; filename="[\w.-]+"', answer.headers["Content-Disposition"])
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_line_of_a_download_is_one_line(root: Client, world: Things) -> None:
    """A log line can't make another one up."""
    factories.log(
        world.run, "a\n2026-01-01T00:00:00.000+00:00 error made up\r\nb", data={"a": "\n"}
    )
    text = text_of(root.get(f"/runs/{world.run.pk}/log/?as=jsonl"))
    said = [json.loads(line)["message"] for line in text.rstrip("\n").split("\n")]
    assert said[-1].startswith("a\n2026")


@pytest.mark.parametrize(
    "path",
    ["runs", "runs/{id}", "runs/{id}/steps", "runs/{id}/logs", "runs/{id}/history", "jobs",
     "jobs/parcel", "durably/runs", "durably/run?runId={id}", "durably/steps?runId={id}",
     "runs/%3Czq%20onzq=1%3E", "jobs/%3Czq%20onzq=1%3E", "runs?status=%3Czq%20onzq=1%3E",
     "%3Czq%20onzq=1%3E", "durably/%3Czq%20onzq=1%3E", "durably/run?runId=%3Czq%20onzq=1%3E"],
)  # fmt: skip
def test_an_answer_of_the_api_is_never_a_page(root: Client, world: Things, path: str) -> None:
    answer = root.get("/api/" + path.format(id=world.run.pk))
    assert answer.headers["Content-Type"].partition(";")[0] in (
        "application/json", "application/problem+json",
    )  # fmt: skip
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    json.loads(text_of(answer))


@pytest.mark.parametrize(
    "markup",
    ["<zq>", "<a onzq=1>", '<p title="" onclick="x">', "<script>x</script>", '<p style="x">',
     '<a href=" JavaScript:x">', '<a title="x<y" onzq=1>', '<a title="x>y<z" onzq=1>',
     "<a title='<p>' onzq>", '<a title="<p>"\nonzq>', '<a href="<p>" href="javascript:x">'],
)  # fmt: skip
def test_markup_would_be_seen(markup: str) -> None:
    assert markup_in(f"<p>x</p>{markup}")


@pytest.mark.parametrize(
    "markup",
    ["&lt;zq&gt;", '<p title="&quot;onzq=1">', "<pre>onclick=</pre>", "<p>javascript:</p>"],
)
def test_text_is_no_markup(markup: str) -> None:
    assert not markup_in(markup)
