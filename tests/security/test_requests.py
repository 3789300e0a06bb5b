"""What a request may not bring about: more than its fields, a place outside, another's session."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client

from runs.access import VIEW, tokens
from runs.dashboard.signin import one_time_path
from runs.models import ApiToken, BulkAction, Run
from runs.registry import JobDefinition
from tests.access.people import token
from tests.pages import factories
from tests.security.hostile import NASTY, multipart
from tests.security.surfaces import Things, make_things

pytestmark = pytest.mark.django_db

#: Addresses elsewhere, as browsers understand them and as they might.
ELSEWHERE = (
    "https://evil.example", "//evil.example", "///evil.example", "/\\evil.example",
    "\\\\evil.example", "https:evil.example", "https:///evil.example",
    "javascript:alert(1)", " //evil.example", "\t//evil.example", "/\t/evil.example",
    "\x00//evil.example", "http://localhost@evil.example/",
    "//localhost\\@evil.example", "//localhost:8000@evil.example", "http://localhost.evil.example",
    "ftp://localhost/", "data:text/html,x", "/%09/evil.example\r\nLocation: //evil.example",
)  # fmt: skip

#: Columns that a form or body has no business with, and values that would matter.
FOREIGN_FIELDS: dict[str, Any] = {
    "id": "00000000-0000-7000-8000-000000000000", "pk": "1", "job": "process-order",
    "status": "completed", "attempt": "7", "output": "{}", "error_type": "X", "triggered_by": "eve",
    "actor": "eve", "actor_reference": "user:0", "created_by": "eve", "user": "1", "user_id": "1",
    "created_at": "2001-01-01", "started_at": "2001-01-01", "due_at": "2001-01-01",
    "lease_owner": "00000000-0000-7000-8000-000000000000", "lease_generation": "9",
    "held_key": "x", "recoveries": "9", "seq": "9", "step_count": "9", "code_version": "x",
    "release": "x", "parent_id": "00000000-0000-7000-8000-000000000000", "expected": "9",
    "done": "9", "digest": "0" * 64, "hint": "x", "expires_at": "2099-01-01", "revoked_at": "",
    "is_superuser": "1", "is_staff": "on", "groups": "1", "user_permissions": "1", "count": "9",
}  # fmt: skip

#: What differs between two rows that were made alike.
_ITS_OWN = re.compile(r"(^id|_at|^bound|^digest|^hint|^name|^password|^last_login)$")


@pytest.fixture
def things(parcel_job: JobDefinition) -> Things:
    return make_things()


@pytest.fixture
def ann(client: Client, things: Things) -> User:
    """Somebody who may do everything with runs, signed in."""
    names = ("view_run", "trigger_run", "operate_run", "delete_run")
    user = factories.user("ann", *names)
    client.force_login(user)
    return user


def columns(row: Model) -> dict[str, Any]:
    """What is stored of a row, but for what is its own."""
    [found] = type(row)._default_manager.filter(pk=row.pk).values()
    return {name: value for name, value in found.items() if not _ITS_OWN.search(name)}


class TestMassAssignment:
    def test_a_form_that_triggers_sets_what_it_has_a_field_for(
        self, client: Client, ann: User
    ) -> None:
        form = {"input": '{"name": "x"}', "labels": "a:b", "priority": "3"}
        made = [
            client.post("/jobs/parcel/", {**extra, **form})["Location"].split("/")[2]
            for extra in ({}, FOREIGN_FIELDS)
        ]
        plain, stuffed = (columns(Run.objects.get(pk=id)) for id in made)
        assert stuffed == plain
        assert stuffed["triggered_by"] == "ann"

    def test_so_does_one_that_steers_a_run(self, client: Client, ann: User, things: Things) -> None:
        other = make_things()
        for run, extra in ((things.run, {}), (other.run, FOREIGN_FIELDS)):
            client.post(f"/runs/{run.pk}/", {**extra, "do": "retry"})
        assert columns(other.run) == columns(things.run)
        assert Run.objects.get(pk=other.run.pk).attempt == 2

    def test_so_does_a_bulk_action(self, client: Client, ann: User, things: Things) -> None:
        form = {"do": "retry", "confirm": "1", "run": str(things.run.pk)}
        before = set(BulkAction.objects.values_list("pk", flat=True))
        for extra in ({}, FOREIGN_FIELDS):
            client.post("/bulk/", {**extra, **form})
        plain, stuffed = BulkAction.objects.exclude(pk__in=before).order_by("pk")
        assert columns(stuffed) == columns(plain)
        assert stuffed.actor_reference == f"user:{ann.pk}"

    def test_so_does_a_token(self, client: Client, ann: User) -> None:
        form = {"permission": [VIEW], "lifetime": "30"}
        for name, extra in (("one", {}), ("two", FOREIGN_FIELDS)):
            client.post("/tokens/", {**extra, **form, "name": name})
        plain, stuffed = ApiToken.objects.order_by("pk")
        assert columns(stuffed) == columns(plain)
        assert (stuffed.user, stuffed.created_by) == (ann, "ann")
        assert stuffed.expires_at
        assert plain.expires_at
        assert abs((stuffed.expires_at - plain.expires_at).total_seconds()) < 60

    def test_so_do_sign_in_password_and_preferences(self, client: Client, ann: User) -> None:
        before = columns(ann)
        new = {
            "old_password": "pass",
            "new_password1": "x-a new one",
            "new_password2": "x-a new one",
        }
        client.post("/password/", {**FOREIGN_FIELDS, **new})
        Client().post("/login/", {**FOREIGN_FIELDS, "username": "ann", "password": "x-a new one"})
        assert columns(ann) == before
        answer = client.post("/preferences/", {**FOREIGN_FIELDS, "theme": "dark", "sessionid": "x"})
        assert set(answer.cookies) == {"theme"}

    @pytest.mark.parametrize(
        "path",
        ["jobs/parcel/trigger", "jobs/parcel/trigger-batch", "runs/{id}/retry",
         "runs/{id}/retrigger", "runs/{id}/cancel", "jobs/parcel/pause", "jobs/parcel/resume"],
    )  # fmt: skip
    @pytest.mark.parametrize("name", ["status", "id", "triggered_by", "created_at", "actor"])
    def test_a_body_of_the_api_is_refused(self, things: Things, path: str, name: str) -> None:
        client = Client(headers={"Authorization": f"Bearer {token('robot')[1]}"})
        bodies: dict[str, Any] = {
            "jobs/parcel/trigger": {"input": {"name": "x"}, name: "x"},
            "jobs/parcel/trigger-batch": {"items": [{"input": {"name": "x"}, name: "x"}]},
        }
        before = list(Run.objects.order_by("pk").values())
        answer = client.post(
            "/api/" + path.format(id=things.run.pk),
            json.dumps(bodies.get(path, {name: "x"})),
            content_type="application/json",
        )
        assert answer.status_code == 400, answer.content
        assert name in answer.content.decode()
        assert list(Run.objects.order_by("pk").values()) == before

    def test_what_the_react_client_s_protocol_does_not_know_sets_nothing(
        self, things: Things
    ) -> None:
        client = Client(headers={"Authorization": f"Bearer {token('robot')[1]}"})
        body = {"jobName": "parcel", "input": {"name": "x"}}
        made = []
        for extra in ({}, FOREIGN_FIELDS, {"runId": FOREIGN_FIELDS["id"], "priority": 9}):
            sent = json.dumps({**extra, **body})
            answer = client.post("/api/durably/trigger", sent, content_type="application/json")
            made.append(columns(Run.objects.get(pk=answer.json()["runId"])))
        assert made[1] == made[2] == made[0]

    def test_nothing_can_be_changed_in_the_admin(
        self, admin_client: Client, things: Things
    ) -> None:
        before = columns(things.run)
        for page in ("add/", f"{things.run.pk}/change/"):
            assert admin_client.post(f"/admin/runs/run/{page}", FOREIGN_FIELDS).status_code == 403
        # A list that could be edited would take these.
        form = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "_save": "Save"}
        row = {"form-0-id": str(things.run.pk), "form-0-status": "completed"}
        admin_client.post("/admin/runs/run/", {**form, **row})
        assert columns(things.run) == before


class TestPlaces:
    @pytest.mark.parametrize(
        "name",
        ["../durably_site/settings.py", "..%2fdurably_site%2fsettings.py", "%2e%2e/manage.py",
         "runs/../../manage.py", "runs/..%5c..%5cmanage.py", "/etc/passwd", "%2fetc%2fpasswd",
         "//etc/passwd", "runs/%00", "....//manage.py", "runs", "", ".", "%ff", "C:/x"],
    )  # fmt: skip
    def test_static_files_are_those_that_there_are(self, client: Client, name: str) -> None:
        answer = client.get(f"/static/{name}")
        assert answer.status_code in (301, 302, 400, 404)
        text = b"" if answer.streaming else answer.content
        assert b"SECRET_KEY" not in text
        assert b"root:" not in text
        assert not answer.headers.get("Location", "/").startswith(("//", "http"))

    def test_static_files_can_t_be_listed(self, client: Client) -> None:
        assert client.get("/static/runs/page.js").status_code == 200
        assert client.get("/static/runs/").status_code == 404

    @pytest.mark.parametrize("name", NASTY)
    def test_a_download_leads_to_the_run_s_own_values(
        self, client: Client, ann: User, things: Things, name: str
    ) -> None:
        sendable = name.encode("utf-8", "replace").decode()[:5_000]
        for path in (f"/runs/{things.run.pk}/step.json", f"/runs/{things.run.pk}/output.json"):
            answer = client.get(path, {"name": sendable})
            assert answer.status_code == 404
            assert "attachment" not in answer.headers.get("Content-Disposition", "")

    @pytest.mark.parametrize("query", ["as=txt", "as=jsonl", "as=txt%0d%0aX-Evil:1", "as=../x"])
    def test_the_name_of_a_download_is_the_site_s_own(
        self, client: Client, ann: User, things: Things, query: str
    ) -> None:
        things.run.steps.filter(name="one").update(name='x"\r\nX-Evil: 1')
        paths = [f"/runs/{things.run.pk}/log/?{query}", f"/runs/{things.run.pk}/input.json"]
        step = "step.json?name=x%22%0d%0aX-Evil:%201"
        for path in (*paths, f"/runs/{things.run.pk}/{step}"):
            answer = client.get(path)
            assert "X-Evil" not in answer.headers
            named = answer.headers.get("Content-Disposition")
            assert named is None or re.fullmatch(r'attachment; filename="[\w.-]+"', named)

    @pytest.mark.parametrize(
        "name",
        ["../secret", "/etc/passwd", "uploads/../../secret", "..\\secret", "file:///etc/passwd",
         "x\x00.csv", "~/secret", "%2e%2e/secret", "link"],
    )  # fmt: skip
    def test_a_file_outside_is_no_input(
        self, client: Client, ann: User, settings: Any, tmp_path: Path, name: str
    ) -> None:
        settings.DATA_DIR = tmp_path / "data"
        settings.DATA_DIR.mkdir()
        (tmp_path / "secret").write_text("the secret")
        (settings.DATA_DIR / "link").symlink_to(tmp_path / "secret")
        before = Run.objects.count()
        answers = [
            client.post("/jobs/parcel/", {"input.name": "x", "input.letter": name}),
            client.post("/jobs/parcel/", {"input": json.dumps({"name": "x", "letter": name})}),
        ]
        for answer in answers:
            assert answer.status_code == 400
            assert "the secret" not in answer.content.decode()
        assert Run.objects.count() == before

    @pytest.mark.parametrize(
        "name",
        ["../../evil.py", "/etc/cron.d/evil", "..\\evil", "a\x00b", "a b;c.csv", ".htaccess"],
    )
    def test_an_upload_lands_below_the_data_directory(
        self, client: Client, ann: User, settings: Any, tmp_path: Path, name: str
    ) -> None:
        settings.DATA_DIR = tmp_path / "data"
        before = set(_files(tmp_path))
        form = [("input.name", "x"), ("input.count", "1"), ("input.size", '"small"')]
        body, kind = multipart(form, "upload.letter", name)
        answer = client.generic("POST", "/jobs/parcel/", body, content_type=kind)
        assert answer.status_code == 302
        [new] = set(_files(tmp_path)) - before
        assert re.fullmatch(r"data/uploads/[\d-]{10}/[0-9a-f]{12}-[^/\s\"\\]+", new)


def _files(folder: Path) -> Iterator[str]:
    return (str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


class TestRedirects:
    @pytest.mark.parametrize("there", ELSEWHERE)
    def test_nobody_is_led_elsewhere(self, client: Client, ann: User, there: str) -> None:
        form = {"username": "ann", "password": "pass"}
        answers = [
            Client().post("/login/", {**form, "next": there}),
            Client().post("/login/?" + urlencode({"next": there}), form),
            client.get("/login/", {"next": there}),  # of who is signed in already
            client.post("/preferences/", {"theme": "dark", "next": there}),
            client.post("/bulk/", {"do": "retry", "filters": there}),
            Client().get("/admin/login/", {"next": there}),
            Client().get("/runs/", {"next": there}),
            client.post("/logout/", {"next": there}),
        ]
        for answer in answers:
            location = answer.headers["Location"]
            assert re.match(r"/(?![/\\])", location), location
            assert "\n" not in location

    @pytest.mark.parametrize("path", ["//evil.example/runs", "//evil.example/", "/\\evil.example"])
    def test_nor_by_an_address_that_lacks_its_slash(self, client: Client, path: str) -> None:
        answer = client.get("/", PATH_INFO=path)
        assert not answer.headers.get("Location", "/").startswith(("//", "/\\", "http"))

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "localhost@evil"])
    def test_a_host_that_is_not_ours_is_not_answered(self, host: str) -> None:
        answer = Client(headers={"host": host}).get("/login/")
        assert answer.status_code == 400
        assert "Location" not in answer.headers

    def test_the_form_carries_on_where_one_was_and_nowhere_else(self, client: Client) -> None:
        """``next`` goes through the page of the form before it is checked."""
        page = client.get("/login/", {"next": "//evil.example"}).content.decode()
        assert "evil.example" not in page


class TestSessions:
    def plant(self, client: Client) -> str:
        """A session that somebody else knows of, in the browser of whoever signs in."""
        session = client.session
        session["planted"] = "x"
        session.save()
        client.cookies["sessionid"] = str(session.session_key)
        return str(session.session_key)

    def test_each_way_to_sign_in_makes_a_new_one(self, things: Things) -> None:
        factories.user("ann", "view_run")
        by_password, by_link = Client(), Client()
        for client in (by_password, by_link):
            planted = self.plant(client)
            if client is by_password:
                client.post("/login/", {"username": "ann", "password": "pass"})
            else:
                client.get(one_time_path(User.objects.get(username="ann")))
            assert client.cookies["sessionid"].value != planted
            assert client.get("/runs/").status_code == 200
            other = Client()
            other.cookies["sessionid"] = planted
            assert other.get("/runs/").status_code == 302

    def test_a_session_of_somebody_else_is_not_gone_on_with(self, things: Things) -> None:
        client = Client()
        client.force_login(factories.user("eve", "view_run"))
        session = client.session
        session["hers"] = "x"
        session.save()
        client.get(one_time_path(factories.user("ann", "view_run")))
        assert "hers" not in client.session
        assert client.session["_auth_user_id"] == str(User.objects.get(username="ann").pk)

    def test_signing_in_changes_the_csrf_token(self, things: Things) -> None:
        factories.user("ann", "view_run")
        client = Client()
        client.get("/login/")
        before = client.cookies["csrftoken"].value
        client.post("/login/", {"username": "ann", "password": "pass"})
        assert client.cookies["csrftoken"].value != before

    def test_signing_out_ends_it_in_the_server(self, client: Client, ann: User) -> None:
        key = client.cookies["sessionid"].value
        client.post("/logout/")
        other = Client()
        other.cookies["sessionid"] = key
        assert other.get("/runs/").status_code == 302

    def test_a_key_that_the_server_never_gave_is_not_taken(self, things: Things) -> None:
        factories.user("ann", "view_run")
        client = Client()
        client.cookies["sessionid"] = "a" * 32
        client.post("/login/", {"username": "ann", "password": "pass"})
        assert client.cookies["sessionid"].value != "a" * 32


def test_a_token_in_an_address_lets_nobody_in(things: Things) -> None:
    """Addresses end up in logs and in the browser's history."""
    secret = token("robot")[1]
    for name in ("token", "access_token", "api_key", "key", "authorization"):
        assert Client().get("/api/runs", {name: secret}).status_code == 401
    client = Client()
    client.cookies["token"] = secret
    assert client.get("/api/runs").status_code == 401
    assert tokens.authenticate(secret) is not None
