"""Django's admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from runs import trigger
from runs.admin.base import BoundedPaginator
from runs.engine.jobsync import sync_jobs
from runs.models import Job, Label, LogEntry, Run, RunEvent, Step, Worker

pytestmark = pytest.mark.django_db
MODELS = (Job, Run, Step, LogEntry, RunEvent, Label, Worker)
RUNS = "/admin/runs/run/"


@pytest.fixture
def run() -> Run:
    """A failed run with something of everything."""
    sync_jobs()
    made = trigger("process-order", {"order_id": "order_1"}, labels={"shop": "berlin"})
    now = timezone.now()
    Run.objects.filter(pk=made.pk).update(
        status="failed",
        error_type="PaymentDeclinedError",
        error_message="No",
        error_traceback="boom",
        finished_at=now,
        due_at=None,
        output={"big": "x" * 50_000},
    )
    Step.objects.create(
        run=made, name="fetch", status="completed", index=0, seq=2, started_at=now,
        finished_at=now, output="result",
    )  # fmt: skip
    LogEntry.objects.create(run=made, level="info", message="Hello", created_at=now, seq=3)
    Worker.objects.create(host="h", pid=1, concurrency=4, started_at=now, heartbeat_at=now)
    return Run.objects.get(pk=made.pk)


def staff(client: Client, *permissions: str) -> User:
    """Sign in as staff with these permissions of ``runs``."""
    user = User.objects.create_user("ann", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return user


def act(client: Client, action: str, *runs: Run) -> list[str]:
    """Apply an action; what the page then says."""
    chosen = {"action": action, "_selected_action": [str(run.pk) for run in runs]}
    answer = client.post(RUNS, chosen, follow=True)
    assert answer.status_code == 200
    return [str(message) for message in answer.context["messages"]]


def test_strangers_are_sent_to_the_one_sign_in(client: Client) -> None:
    User.objects.create_superuser("root", password="secret")
    form = client.get("/admin/", follow=True)
    assert form.redirect_chain[-1] == ("/login/?next=/admin/", 302)
    answer = client.post("/login/?next=/admin/", {"username": "root", "password": "secret"})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert client.get("/admin/").status_code == 200
    assert client.get("/admin/password_change/")["Location"] == "/password/"


def test_the_admin_s_own_form_takes_no_password(client: Client) -> None:
    User.objects.create_superuser("root", password="secret")
    client.post("/admin/login/", {"username": "root", "password": "secret"})
    assert client.get("/admin/").status_code == 302


def test_who_is_signed_in_but_not_staff_is_told_so(client: Client) -> None:
    client.force_login(User.objects.create_user("eve"))
    refused = client.get("/admin/", follow=True)
    assert refused.status_code == 403
    assert "eve may not use the admin" in refused.content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_list_and_a_page(admin_client: Client, run: Run, model: Any) -> None:
    meta = model._meta
    listing = admin_client.get(reverse(f"admin:runs_{meta.model_name}_changelist"))
    assert listing.status_code == 200
    assert listing.context["cl"].result_count >= 1
    row = model.objects.first()
    page = admin_client.get(reverse(f"admin:runs_{meta.model_name}_change", args=(row.pk,)))
    assert page.status_code == 200
    assert b'name="_save"' not in page.content


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_added_changed_or_deleted_past_the_engine(
    admin_client: Client, run: Run, model: Any
) -> None:
    name, row = model._meta.model_name, model.objects.first()
    assert admin_client.get(reverse(f"admin:runs_{name}_add")).status_code == 403
    for view in ("change", "delete"):
        url = reverse(f"admin:runs_{name}_{view}", args=(row.pk,))
        assert admin_client.post(url, {"post": "yes"}).status_code == 403
    listing = reverse(f"admin:runs_{name}_changelist")
    chosen = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
    admin_client.post(listing, chosen)
    assert model.objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize("model", MODELS)
def test_no_list_counts_its_table_or_loads_payloads(
    admin_client: Client, run: Run, model: Any, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(8) as captured:
        admin_client.get(reverse(f"admin:runs_{model._meta.model_name}_changelist"))
    asked = [q["sql"] for q in captured if f'FROM "{model._meta.db_table}"' in q["sql"]]
    counts = [sql for sql in asked if "COUNT(" in sql]
    assert len(counts) <= 1
    assert all("LIMIT" in sql for sql in counts)
    for payload in ("input", "output", "error_traceback", "data"):
        column = f'"{model._meta.db_table}"."{payload}"'
        assert not any(column in sql for sql in asked if model is not RunEvent)


def test_no_filter_counts_its_choices(admin_client: Client, run: Run) -> None:
    listing = admin_client.get(RUNS, {"_facets": "True"})
    assert not listing.context["cl"].add_facets


def test_a_list_ends_somewhere(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr("runs.admin.base.LISTED", 2)
    for _ in range(3):
        trigger("process-order", {"order_id": "order_1"})
    assert BoundedPaginator(Run.objects.order_by("-id"), 50).count == 2


def test_a_runs_page_shows_its_payloads_cut(admin_client: Client, run: Run) -> None:
    page = admin_client.get(f"{RUNS}{run.pk}/change/").content.decode()
    assert "&quot;order_id&quot;: &quot;order_1&quot;" in page
    assert "more characters cut" in page
    assert "PaymentDeclinedError: No" in page
    assert len(page) < 60_000


def test_a_runs_page_leads_to_its_steps_log_and_history(admin_client: Client, run: Run) -> None:
    other = trigger("process-order", {"order_id": "order_2"})
    page = admin_client.get(f"{RUNS}{run.pk}/change/").content.decode()
    for name in ("step", "logentry", "runevent"):
        link = f"/admin/runs/{name}/?run={run.pk}"
        assert link in page
        listing = admin_client.get(link)
        assert listing.context["cl"].result_count == 1
        assert str(other.pk) not in listing.content.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [("shop:berlin", 1), ("shop:paris", 0), ("process-order", 2), ("nothing", 0), ("", 2)],
)
def test_runs_are_found_by_label_and_job(
    admin_client: Client, run: Run, query: str, found: int
) -> None:
    trigger("process-order", {"order_id": "order_2"})
    assert admin_client.get(RUNS, {"q": query}).context["cl"].result_count == found


def test_runs_are_found_by_id_and_filtered(admin_client: Client, run: Run) -> None:
    other = trigger("slow-report", {})
    for query in ({"q": str(other.pk)}, {"status__exact": "pending"}, {"job": "slow-report"}):
        assert list(admin_client.get(RUNS, query).context["cl"].result_list) == [other]


class TestActions:
    def test_retry_queues_a_run_again_in_the_name_of_the_user(
        self, admin_client: Client, run: Run
    ) -> None:
        assert act(admin_client, "retry", run) == ["Queued again: 1 run."]
        run.refresh_from_db()
        assert (run.status, run.attempt) == ("pending", 2)
        assert RunEvent.objects.get(run=run, kind="retried").actor == "admin"

    def test_run_again_makes_a_new_run(self, admin_client: Client, run: Run) -> None:
        act(admin_client, "run_again", run)
        assert Run.objects.get(source_id=run.pk).triggered_by == "admin"

    def test_cancel_stops_a_pending_run(self, admin_client: Client) -> None:
        pending = trigger("process-order", {"order_id": "order_1"})
        assert act(admin_client, "cancel", pending) == ["Cancelled: 1 run."]
        pending.refresh_from_db()
        assert pending.status == "cancelled"

    def test_delete_removes_a_run_with_what_hangs_on_it(
        self, admin_client: Client, run: Run
    ) -> None:
        assert act(admin_client, "delete", run) == ["Deleted: 1 run."]
        assert not any(model.objects.exists() for model in (Run, Step, LogEntry, RunEvent, Label))

    def test_what_one_run_refuses_is_said_and_leaves_the_others_alone(
        self, admin_client: Client, run: Run
    ) -> None:
        pending = trigger("process-order", {"order_id": "order_1"})
        said = act(admin_client, "retry", run, pending)
        assert said[0] == "Queued again: 1 run."
        assert said[1].startswith(f"Run {pending.pk} is pending")

    def test_many_refusals_are_not_all_named(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("runs.admin.runs.NAMED_ERRORS", 1)
        pending = [trigger("process-order", {"order_id": "order_1"}) for _ in range(3)]
        said = act(admin_client, "delete", *pending)
        assert said[1:] == ["Refused as well: 2 runs."]

    def test_an_action_takes_on_a_bounded_number(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("runs.admin.runs.ACTED_ON", 2)
        pending = [trigger("process-order", {"order_id": "order_1"}) for _ in range(3)]
        said = act(admin_client, "cancel", *pending)
        assert said[0] == "Cancelled: 2 runs."
        assert Run.objects.filter(status="pending").count() == 1


class TestPermissions:
    def test_without_the_permission_to_see_runs_there_is_nothing(
        self, client: Client, run: Run
    ) -> None:
        staff(client)
        for model in MODELS:
            url = reverse(f"admin:runs_{model._meta.model_name}_changelist")
            assert client.get(url).status_code == 403

    def test_who_may_see_runs_sees_what_belongs_to_them_and_no_action(
        self, client: Client, run: Run
    ) -> None:
        user = staff(client, "view_run")
        for model in MODELS:
            url = reverse(f"admin:runs_{model._meta.model_name}_changelist")
            assert client.get(url).status_code == 200
        act(client, "retry", run)
        act(client, "delete", run)
        run.refresh_from_db()
        assert run.status == "failed"
        assert user.has_perm("runs.view_run")

    @pytest.mark.parametrize(
        ("permission", "allowed"),
        [("operate_run", {"retry", "run_again", "cancel"}), ("delete_run", {"delete"})],
    )
    def test_actions_are_those_that_the_user_may_do(
        self, client: Client, rf: Any, run: Run, permission: str, allowed: set[str]
    ) -> None:
        request = rf.get(RUNS)
        request.user = staff(client, "view_run", permission)
        model_admin = django_admin.site.get_model_admin(Run)
        assert set(model_admin.get_actions(request)) == allowed
