from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.dashboard import bulk as pages
from runs.dashboard.shell import Kept
from runs.engine import bulk, targets
from runs.models import BulkAction, BulkItem, Run, new_id
from tests.pages import factories

pytestmark = pytest.mark.django_db


def ask(client: Client, **data: Any) -> str:
    response = client.post("/bulk/", data)
    assert response.status_code == 200
    return str(response.content.decode())


def hidden(page: str) -> dict[str, Any]:
    """What the form on the page would send."""
    form = page.split('class="confirm')[1]
    found: dict[str, list[str]] = {}
    for tag in re.findall(r'<input type="hidden"[^>]*>', form):
        match = re.search(r'name="([^"]*)" value="([^"]*)"', tag)
        assert match
        found.setdefault(match[1], []).append(match[2].replace("&amp;", "&"))
    return found


def finish(action: BulkAction) -> BulkAction:
    while bulk.advance(uuid.uuid4(), 60):
        pass
    return bulk.get(action.pk)


# -- asking


def test_it_asks_with_the_real_number_and_says_what_will_be_refused(operator: Client) -> None:
    for _ in range(3):
        factories.failed_run()
    factories.run("running")
    page = ask(operator, do="delete", all="1", filters="job=example")
    assert "<h1>Delete 4 runs?</h1>" in page
    assert re.search(r"Failed.*?>3<.*?will be deleted", page, re.DOTALL)
    assert re.search(r"Running.*?>1<.*?will be refused: a running run", page, re.DOTALL)
    assert '<a href="/runs/?status=failed&amp;job=example">3</a>' in page
    assert ">Delete</button>" in page
    assert Run.objects.count() == 4
    assert not BulkAction.objects.exists()


@pytest.mark.parametrize(
    ("kind", "question", "button"),
    [
        ("retry", "Retry 1 run?", "Retry"),
        ("retrigger", "Run 1 run again?", "Run again"),
        ("delete", "Delete 1 run?", "Delete"),
    ],
)
def test_a_selection_is_asked_about_and_ordered(
    operator: Client, kind: str, question: str, button: str
) -> None:
    run, other = factories.failed_run(), factories.failed_run()
    page = ask(operator, do=kind, run=str(run.pk), filters="status=failed")
    assert f"<h1>{question}</h1>" in page
    assert f">{button}</button>" in page
    assert 'href="/runs/?status=failed">Back to the runs' in page
    sent = hidden(page) | {"reason": "because"}
    response = operator.post("/bulk/", sent)
    action = BulkAction.objects.get()
    assert response["Location"] == f"/bulk/{action.pk}/"
    assert (action.kind, action.actor, action.reason) == (kind, "ann", "because")
    assert action.selection == [str(run.pk)]
    assert str(other.pk) not in action.selection


def test_all_that_match_are_those_there_were_when_it_asked(operator: Client) -> None:
    first = factories.run("pending")
    sent = hidden(ask(operator, do="cancel", all="1", filters="?status=pending"))
    factories.run("pending")
    operator.post("/bulk/", sent)
    action = finish(BulkAction.objects.get())
    assert (action.expected, action.done) == (1, 1)
    assert Run.objects.get(status="cancelled") == first


def test_a_form_sent_twice_is_one_action(operator: Client) -> None:
    run = factories.failed_run()
    sent = hidden(ask(operator, do="retrigger", run=str(run.pk)))
    one, two = operator.post("/bulk/", sent), operator.post("/bulk/", sent)
    assert one["Location"] == two["Location"]
    assert BulkAction.objects.count() == 1


def test_without_a_button_it_asks_what_to_do(operator: Client, viewer: Client) -> None:
    factories.failed_run()
    page = ask(operator, all="1", filters="status=failed")
    assert "What to do with 1 run" in page
    assert page.count('name="do" value=') == 4
    assert 'name="confirm"' not in page
    assert 'name="do"' not in ask(viewer, all="1", filters="")


def test_nothing_to_do_has_no_button(operator: Client) -> None:
    factories.run("running")
    none = ask(operator, do="retry", all="1", filters="job=example")
    assert "None of these runs can be retried" in none
    empty = ask(operator, do="retry", all="1", filters="job=nothing")
    assert "No run matches" in empty
    for page in (none, empty):
        assert 'name="confirm"' not in page


def test_no_selection_and_nonsense_lead_back_to_the_list(operator: Client) -> None:
    for data, message in (
        ({"do": "retry"}, "no run is selected"),
        ({"do": "retry", "run": "x"}, "is not the id of a run"),
        ({"do": "retry", "all": "1", "filters": "status=lost"}, "There is no status"),
        ({"do": "explode", "run": str(new_id()), "confirm": "1"}, "none of retry"),
    ):
        response = operator.post("/bulk/", data, follow=True)
        assert response.redirect_chain[0][0].startswith("/runs/")
        assert message in response.content.decode()
    assert not BulkAction.objects.exists()


def test_selected_runs_that_are_gone_are_counted(operator: Client) -> None:
    run = factories.failed_run()
    page = ask(operator, do="delete", run=[str(run.pk), str(new_id())])
    assert "<h1>Delete 1 run?</h1>" in page
    assert "1 of the selected runs is gone already" in page


def test_a_bounded_count_says_that_there_are_more(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        factories.failed_run()
    monkeypatch.setattr(targets, "COUNT_LIMIT", 3)
    monkeypatch.setattr(targets, "WINDOW", 2)
    page = ask(operator, do="delete", all="1", filters="")
    assert "<h1>Delete 3+ runs?</h1>" in page
    assert "more than were counted" in page


@pytest.mark.parametrize(
    ("permissions", "kind", "status"),
    [
        (("view_run",), "retry", 403),
        (("view_run",), "delete", 403),
        (("view_run", "operate_run"), "cancel", 200),
        (("view_run", "operate_run"), "delete", 403),
        (("view_run", "delete_run"), "delete", 200),
        (("view_run", "delete_run"), "retrigger", 403),
    ],
)
def test_each_needs_its_permission(
    client: Client, permissions: tuple[str, ...], kind: str, status: int
) -> None:
    client.force_login(factories.user("bob", *permissions))
    data = {"do": kind, "run": str(factories.failed_run().pk)}
    assert client.post("/bulk/", data).status_code == status
    ordered = client.post("/bulk/", {**data, "confirm": "1"})
    assert ordered.status_code == (302 if status == 200 else 403)
    assert BulkAction.objects.count() == int(status == 200)


# -- watching


@pytest.fixture
def half_done() -> BulkAction:
    """A deletion with 60 outcomes, 2 of them refusals."""
    made = [factories.failed_run() for _ in range(58)] + [factories.run("running"), None]
    ids = [run.pk for run in made if run] + [new_id()]
    action = bulk.create("delete", run_ids=ids, actor="ann", reason="tidy <up>")
    now = timezone.now()
    BulkItem.objects.bulk_create(
        BulkItem(
            action=action,
            run_id=id,
            job="example",
            done=number < 58,
            message="" if number < 58 else f"Run {id} is running",
            created_at=now,
        )
        for number, id in enumerate(ids)
    )
    BulkAction.objects.filter(pk=action.pk).update(
        status="running", started_at=now, done=58, refused=2, expected=100
    )
    return bulk.get(action.pk)


def test_the_page_shows_how_far_it_is(operator: Client, half_done: BulkAction) -> None:
    page = operator.get(f"/bulk/{half_done.pk}/").content.decode()
    assert "<h1>Delete 100 runs</h1>" in page
    assert 'max="100" value="60"' in page
    assert "tidy &lt;up&gt;" in page
    assert "No worker is running" in page
    assert 'data-refresh="runs workers"' in page
    assert '<noscript><meta http-equiv="refresh"' in page


def test_outcomes_come_in_pages_and_refusals_alone(
    operator: Client, half_done: BulkAction, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/bulk/{half_done.pk}/"
    first = operator.get(path).content.decode()
    query = re.search(r'rel="next" href="\?([^"]*)"', first)
    assert query
    second = operator.get(f"{path}?{query[1]}").content.decode()
    items = re.findall(r'id="item-(\d+)"', first) + re.findall(r'id="item-(\d+)"', second)
    assert len(set(items)) == len(items) == 60
    refused = operator.get(f"{path}?only=refused").content.decode()
    assert len(re.findall(r'id="item-', refused)) == 2
    assert refused.count(">Is running<") == 2
    monkeypatch.setattr(pages, "_ITEM_WINDOW", 10)
    assert (
        "None among those looked at so far" in operator.get(f"{path}?only=refused").content.decode()
    )


def test_the_live_part_stops_asking_when_it_is_over(operator: Client) -> None:
    run = factories.failed_run()
    action = bulk.create("delete", run_ids=[run.pk], actor="ann")
    assert "data-refresh" in operator.get(f"/bulk/{action.pk}/live/").content.decode()
    finish(action)
    page = operator.get(f"/bulk/{action.pk}/live/").content.decode()
    assert "hx-trigger" not in page
    assert "100 %" in page
    assert f"/runs/{run.pk}/" not in page, "the run is gone"
    assert "Abort" not in page


def test_run_again_links_to_the_new_run(operator: Client, parcel_job: Any) -> None:
    run = factories.failed_run(job="parcel", input={"name": "a"})
    action = finish(bulk.create("retrigger", run_ids=[run.pk], actor="ann"))
    page = operator.get(f"/bulk/{action.pk}/").content.decode()
    assert f"/runs/{action.items.get().result_id}/" in page


def test_abort_is_a_form_for_who_may_operate(
    operator: Client, viewer: Client, half_done: BulkAction
) -> None:
    path = f"/bulk/{half_done.pk}/"
    assert "Abort" not in viewer.get(path).content.decode()
    assert viewer.post(path, {"do": "abort"}).status_code == 403
    page = operator.post(path, {"do": "abort"}, follow=True).content.decode()
    assert "What is done stays done" in page
    assert "Aborted by ann" in page
    again = operator.post(path, {"do": "abort"}, follow=True).content.decode()
    assert "is aborted already" in again


def test_the_list_shows_what_there_was(operator: Client, half_done: BulkAction) -> None:
    page = operator.get("/bulk/").content.decode()
    assert "Delete 100 runs" in page
    assert "tidy &lt;up&gt;" in page
    older = operator.get(f"/bulk/?before={half_done.pk}").content.decode()
    assert "No bulk action yet" in older


def test_queries_do_not_grow_with_the_rows(operator: Client, half_done: BulkAction) -> None:
    def count(path: str) -> int:
        Kept.forget()
        with CaptureQueriesContext(connection) as queries:
            assert operator.get(path).status_code == 200
        return len(queries)

    many = count(f"/bulk/{half_done.pk}/"), count("/bulk/")
    BulkItem.objects.filter(done=True).delete()
    for _ in range(10):
        bulk.create("retry", filters="status=failed")
    assert (count(f"/bulk/{half_done.pk}/"), count("/bulk/")) == many


def test_what_is_not_there_is_404(operator: Client) -> None:
    assert operator.get(f"/bulk/{new_id()}/").status_code == 404
    assert operator.get(f"/bulk/{new_id()}/live/").status_code == 404
    assert Client().get("/bulk/").status_code == 302
