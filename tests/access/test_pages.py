"""Pages of somebody who sees a part of the runs tell nothing of the others."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, reverse

from runs.access import Actor
from runs.access.policy import scope
from runs.dashboard import stalled
from runs.dashboard.shell import Kept
from runs.dashboard.urls import urlpatterns
from runs.models import BulkAction, Run, RunQuerySet
from runs.registry import JobDefinition
from tests.access.people import TENANTS, OwnRuns, person
from tests.access.world import FINGERPRINT, KEY, OTHER_FINGERPRINT, OWN, World, secrets_in
from tests.pages import factories

pytestmark = pytest.mark.django_db

Address = Callable[[World], str]


def of_own(name: str, status: str, query: str = "") -> Address:
    return lambda world: reverse(name, args=[world.own[status].pk]) + query


PAGES: dict[str, list[str | Address]] = {
    "home": ["/", "/?fragment=1", "/?range=week"],
    "runs": [
        "/runs/", "/runs/?status=failed&status=pending", "/runs/?job=example&q=a",
        "/runs/?label=tenant:canary-co", f"/runs/?failure={OTHER_FINGERPRINT}", "/runs/?q=anary",
        "/runs/?since=24h", f"/runs/?cursor=older-{uuid.UUID(int=2**128 - 1)}",
    ],
    "runs-live": [lambda world: "/runs/live/?top=" + "".join(f"&shown={r.pk}" for r in every())],
    "runs-counts": ["/runs/counts/", "/runs/counts/?job=example"],
    "run": [
        *(of_own("run", status) for status in ("pending", "running", "completed", "cancelled")),
        of_own("run", "failed"),
        of_own("run", "completed", "?steps=table&step=own-step"),
        lambda world: f"/runs/{world.blocked.pk}/",
        lambda world: f"/runs/{world.copy.pk}/",
    ],
    "run-live": [of_own("run-live", "running"), lambda w: f"/runs/{w.blocked.pk}/live/"],
    "run-log": [of_own("run-log", "completed"), of_own("run-log", "running", "?as=jsonl")],
    "run-payload": [lambda world: f"/runs/{world.own['completed'].pk}/input.json"],
    "bulk": ["/bulk/"],
    "failures": ["/failures/", "/failures/?q=anary&seen=all", "/failures/?fragment=1"],
    "failure": [f"/failures/{FINGERPRINT}/"],
    "workers": ["/workers/", "/workers/?fragment=1"],
    "jobs": ["/jobs/"],
    "job": ["/jobs/example/", "/jobs/example/?from=last"],
    "job-live": ["/jobs/example/live/"],
}  # fmt: skip

#: Of a hidden run there is nothing at any of its addresses.
HIDDEN: dict[str, list[Address]] = {
    "run": [lambda world: f"/runs/{world.hidden['failed'].pk}/"],
    "run-live": [lambda world: f"/runs/{world.hidden['running'].pk}/live/"],
    "run-log": [
        lambda world: f"/runs/{world.hidden['failed'].pk}/log/",
        lambda world: f"/runs/{world.hidden['failed'].pk}/log/?as=txt",
    ],
    "run-payload": [
        lambda world: f"/runs/{world.hidden['completed'].pk}/output.json",
        lambda world: f"/runs/{world.hidden['completed'].pk}/step.json?name=canary-step",
    ],
    "failure": [lambda _: f"/failures/{OTHER_FINGERPRINT}/"],
    "bulk-action": [lambda world: f"/bulk/{world.action.pk}/"],
    "bulk-live": [lambda world: f"/bulk/{world.action.pk}/live/"],
}

#: These show nothing of runs, or nothing to who sees a part of them.
WITHOUT_RUNS = {
    "login", "login-once", "logout", "live", "password", "preferences", "tokens", "storage",
}  # fmt: skip


def every() -> list[Run]:
    return list(Run.objects.order_by("-id")[:50])


@pytest.fixture(autouse=True)
def policy(settings: Any) -> Iterator[None]:
    settings.ACCESS_POLICY = TENANTS
    Kept.forget()
    stalled.watch.forget()
    yield
    Kept.forget()
    stalled.watch.forget()


@pytest.fixture
def world(example: JobDefinition) -> World:
    return World()


@pytest.fixture
def ann(client: Client) -> Client:
    """Somebody of acme who may do everything there."""
    client.force_login(person("ann", tenants=("acme",)).user)
    return client


def get(client: Client, path: str, status: int = 200) -> str:
    response = client.get(path)
    assert response.status_code == status, path
    content = b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]
    return content.decode()


def without_the_question(text: str) -> str:
    """A page without what was asked for, which it may repeat."""
    text = re.sub("tenant(:|%3A)canary-co", "", text)
    return re.sub(r'id="run-[^"]+" class="gone"|shown=[0-9a-f-]+', "", text)


def test_no_page_tells_of_hidden_runs(ann: Client, world: World) -> None:
    secrets = world.secrets
    told = {}
    for addresses in PAGES.values():
        for address in addresses:
            path = address if isinstance(address, str) else address(world)
            if found := secrets_in(without_the_question(get(ann, path)), secrets):
                told[path] = found
    assert told == {}


def test_the_same_pages_tell_all_to_who_sees_all(client: Client, world: World) -> None:
    """Or the test above would find nothing whatever the pages did."""
    client.force_login(User.objects.create_superuser("root"))
    for path in ("/", "/runs/", "/failures/", "/workers/", "/bulk/", f"/runs/{world.blocked.pk}/"):
        assert secrets_in(get(client, path), world.secrets), path


def test_who_sees_no_run_at_all_has_pages(client: Client, world: World) -> None:
    client.force_login(person("ann", tenants=()).user)
    for name, addresses in PAGES.items():
        for address in addresses:
            path = address if isinstance(address, str) else address(world)
            is_of_a_run = name.startswith("run-") or name in ("run", "failure")
            get(client, path, 404 if is_of_a_run else 200)


def test_nothing_is_at_the_addresses_of_a_hidden_run(ann: Client, world: World) -> None:
    for addresses in HIDDEN.values():
        for address in addresses:
            text = get(ann, address(world), 404)
            assert "canary" not in text.lower()


def test_every_page_is_among_them() -> None:
    names = {pattern.name for pattern in urlpatterns if isinstance(pattern, URLPattern)}
    assert names == PAGES.keys() | HIDDEN.keys() | WITHOUT_RUNS


def test_figures_are_of_one_s_own_runs(ann: Client, world: World) -> None:
    overview = get(ann, "/")
    tiles = re.findall(r'<span class="glyph (\w+)"></span>.*?<b[^>]*>([^<]+)</b>', overview)
    own = {"running": "1", "pending": "2", "waiting": "1", "failed": "1", "completed": "2"}
    assert own | {"cancelled": "1"} == dict(tiles[:6])
    assert "You see a part of the runs" in overview
    assert 'id="activity"' not in overview
    assert 'title="1 running now"' in overview
    assert "1 run of example failed with OwnError" in overview
    counts = get(ann, "/runs/counts/")
    assert "All<span>8</span>" in counts
    job = get(ann, "/jobs/example/")
    assert re.search(r"<dt>Now</dt>.*?>1</a>.*?>2 waiting<", job, re.DOTALL)
    assert "Counted from the newest of the runs that you may see" in job
    failures = get(ann, "/failures/")
    assert failures.count('<tr id="failure-') == 1
    assert "OwnError" in failures
    assert "own-message" in get(ann, f"/failures/{FINGERPRINT}/")
    assert "Runs that you may not see are not listed" in get(ann, "/workers/")


def test_a_key_that_a_hidden_run_holds_is_taken_by_nobody_in_particular(
    ann: Client, world: World
) -> None:
    sentence = f"Key {KEY} is held by a run that you may not see"
    assert sentence in get(ann, f"/runs/{world.blocked.pk}/")
    assert sentence.lower() in get(ann, "/runs/?status=pending").lower()
    form = ann.post("/jobs/example/", {"as": "json", "input": "{}", "concurrency_key": KEY})
    assert str(world.holder.pk) not in form.content.decode()


def test_a_place_in_the_queue_is_not_told(ann: Client, world: World) -> None:
    page = get(ann, f"/runs/{world.own['pending'].pk}/")
    assert "Waits for a free worker" in page
    assert "ahead" not in page
    assert "slots free" not in page


def test_nothing_can_be_done_to_a_hidden_run(ann: Client, world: World) -> None:
    before = list(Run.objects.order_by("id").values())
    hidden = world.hidden["failed"]
    for action in ("retry", "retrigger", "cancel", "delete"):
        assert ann.post(f"/runs/{hidden.pk}/", {"do": action}).status_code == 404
    for form in ({"run": str(hidden.pk)}, {"all": "1", "filters": "label=tenant:canary-co"}):
        asked = ann.post("/bulk/", {"do": "delete", **form}).content.decode()
        assert "No run matches" in asked
        assert not secrets_in(without_the_question(asked), {"canary"})
        ann.post("/bulk/", {"do": "delete", "confirm": "1", "action": str(uuid.uuid4()), **form})
    assert ann.post(f"/bulk/{world.action.pk}/", {"do": "abort"}).status_code == 404
    assert {a.expected for a in BulkAction.objects.exclude(pk=world.action.pk)} == {0}
    assert list(Run.objects.order_by("id").values()) == before


def test_a_run_of_one_s_own_label_can_be_triggered(ann: Client, world: World) -> None:
    page = get(ann, "/jobs/example/")
    assert "tenant:acme" in page  # filled in, as every run of theirs needs it
    form = {"input": "{}", "labels": "tenant:acme"}
    assert ann.post("/jobs/example/", form).status_code == 302
    assert Run.objects.newest_first().first().labels == OWN  # type: ignore[union-attr]
    for labels in ("", "tenant:canary-co"):
        refused = ann.post("/jobs/example/", {"input": "[1, 2]", "labels": labels})
        assert refused.status_code == 403
        assert "ann may not trigger example with these labels" in refused.content.decode()
        assert "[1, 2]" in refused.content.decode()


def test_a_run_can_t_be_filled_from_or_linked_to_a_hidden_one(ann: Client, world: World) -> None:
    hidden = world.hidden["completed"]
    page = get(ann, f"/jobs/example/?from={hidden.pk}")
    assert "The run to start from is not there" in page
    assert "canary-input" not in page
    form = {"input": "{}", "labels": "tenant:acme", "source": str(hidden.pk)}
    ann.post("/jobs/example/", form)
    newest = Run.objects.newest_first().first()
    assert newest is not None
    assert newest.source_id is None


def test_who_sees_a_part_can_t_pause_a_job_for_everybody(ann: Client, world: World) -> None:
    assert "Pause…" not in get(ann, "/jobs/example/")
    for action in ("pause", "resume"):
        refused = ann.post("/jobs/example/", {"do": action})
        assert refused.status_code == 403
        assert "for everybody&#x27;s runs" in refused.content.decode()


def test_one_sees_one_s_own_bulk_actions(ann: Client, world: World) -> None:
    form = {"do": "delete", "confirm": "1", "all": "1", "filters": "status=failed"}
    made = ann.post("/bulk/", form)
    assert "Delete 1 run" in get(ann, made["Location"])
    assert re.findall(r'class="name" href="([^"]+)"', get(ann, "/bulk/")) == [made["Location"]]


@pytest.mark.parametrize("policy_name", [TENANTS, f"{OwnRuns.__module__}.OwnRuns"])
def test_cursors_of_a_search_name_no_hidden_run(
    ann: Client, settings: Any, monkeypatch: pytest.MonkeyPatch, policy_name: str
) -> None:
    settings.ACCESS_POLICY = policy_name
    monkeypatch.setattr("runs.listing.LIST_BUDGET", 0)
    monkeypatch.setattr("runs.scan._LEAST", 1)
    monkeypatch.setattr("runs.scan._FIRST", 3)
    for number in range(30):
        labels = OWN if number % 10 == 0 else {"tenant": "canary-co"}
        status, who = "failed" if number % 2 else "completed", "ann" if labels == OWN else "bob"
        factories.run(status, labels=labels, job="example", triggered_by=who)
    hidden = {str(run.pk) for run in Run.objects.all() if run.labels != OWN}
    seen: list[str] = []
    path = "/runs/?status=completed"
    for _ in range(40):
        page = get(ann, path)
        seen += re.findall(r'<tr id="run-([0-9a-f-]+)"', page)
        assert not secrets_in(page, hidden)
        assert not re.search(r"Searched [\d,]+ runs|the \d+ runs looked at", page)
        older = re.search(r'rel="next" href="\?([^"]+)"', page)
        if older is None:
            break
        path = "/runs/?" + older[1].replace("&amp;", "&")
    own = [str(run.pk) for run in Run.objects.newest_first() if run.labels == OWN]
    assert seen == own


def test_who_sees_all_runs_costs_no_query_more(
    client: Client, world: World, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the default policy nothing is asked about what somebody may see."""
    settings.ACCESS_POLICY = "runs.access.AccessPolicy"
    client.force_login(person("vic").user)
    narrowed: list[str] = []

    def watched(actor: Actor, runs: RunQuerySet) -> RunQuerySet:
        left = scope(actor, runs)
        narrowed.extend(["runs"] if left is not runs else [])
        return left

    monkeypatch.setattr("runs.access.guard.scope", watched)
    for addresses in PAGES.values():
        for address in addresses:
            get(client, address if isinstance(address, str) else address(world))
    assert narrowed == []
