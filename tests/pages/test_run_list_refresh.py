"""A run list that is open: it refreshes its rows, announces others, and offers its buttons."""

from __future__ import annotations

import re
import uuid

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from runs import listing
from runs.models import Run
from tests.pages import factories
from tests.pages.run_list import get, ids, link, shown

pytestmark = pytest.mark.django_db


def refresh_path(page: str) -> str:
    [path] = re.findall(r'hx-get="(/runs/live/[^"]*)"', page)
    return str(path).replace("&amp;", "&")


def test_an_open_list_refreshes_the_rows_it_has_and_announces_others(operator: Client) -> None:
    first, second = factories.run("running"), factories.run("running")
    path = refresh_path(get(operator, "status=running"))
    Run.objects.filter(pk=first.pk).update(
        status="completed", finished_at=timezone.now(), due_at=None
    )
    factories.run("running")
    factories.run("completed")
    refreshed = operator.get(path).content.decode()
    assert shown(refreshed) == ids(second, first)
    assert "Show 1 new run<" in refreshed
    assert "Completed" in refreshed


def test_a_run_that_was_deleted_keeps_its_place_in_an_open_list(operator: Client) -> None:
    runs = [factories.run() for _ in range(3)][::-1]
    path = refresh_path(get(operator))
    gone = str(runs[1].id)
    runs[1].delete()
    refreshed = operator.get(path).content.decode()
    assert shown(refreshed) == [str(runs[0].id), gone, str(runs[2].id)]
    assert f"Run …{gone[-4:]} was deleted" in refreshed


def test_an_open_list_that_was_empty_announces_the_first_run(operator: Client) -> None:
    path = refresh_path(get(operator))
    factories.run()
    assert "Show 1 new run<" in operator.get(path).content.decode()


def test_an_older_page_announces_nothing(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "runs.dashboard.runs.load_page", lambda f, **k: listing.load_page(f, 1, **k)
    )
    for _ in range(2):
        factories.run()
    path = refresh_path(get(operator, link(get(operator), "next")))
    factories.run()
    assert "new run" not in operator.get(path).content.decode()


def test_buttons_for_a_selection_are_for_those_who_may(operator: Client, viewer: Client) -> None:
    run = factories.failed_run()
    page = get(operator, "status=failed")
    assert f'name="run" value="{run.id}" data-status="failed"' in page
    assert 'name="filters" value="status=failed"' in page
    assert re.findall(r'name="do" value="(\w+)"', page) == [
        "retry",
        "retrigger",
        "cancel",
        "delete",
    ]
    assert 'name="do"' not in get(viewer)
    assert 'name="run"' not in get(viewer)
    only_delete = Client()
    only_delete.force_login(factories.user("del", "view_run", "delete_run"))
    assert re.findall(r'name="do" value="(\w+)"', get(only_delete)) == ["delete"]


def test_refreshes_take_as_many_queries_for_many_rows(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(10):
        factories.run("pending", concurrency_key=str(uuid.uuid4()), labels={"a": "b"})
        factories.run("running", progress={"current": 1, "total": 2})
    path = refresh_path(get(operator))
    with django_assert_max_num_queries(14):
        operator.get(path)
    with django_assert_max_num_queries(14):
        operator.get("/runs/counts/")
