"""Every route, for every role, about what is one's own and what is another tenant's."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import AsyncClient, Client
from django.urls import URLPattern, URLResolver, get_resolver

from runs.access import DELETE, OPERATE, TRIGGER, VIEW, tokens
from runs.api.app import api
from runs.models import BulkAction, Run
from runs.registry import JobDefinition
from tests.access.groups import make_groups
from tests.access.people import TENANTS, token
from tests.access.routes import (
    API,
    COVERED,
    DJANGO,
    DURABLY,
    PAGES,
    STREAMS,
    Case,
    Row,
    admin_path,
    admin_rows,
    encoded,
)
from tests.pages import factories
from tests.support.streams import session_of

OWN, OTHER = {"tenant": "acme"}, {"tenant": "other"}


@dataclass(frozen=True)
class Role:
    """Somebody who asks."""

    name: str
    permissions: frozenset[str] = frozenset()
    user: User | None = None
    secret: str = ""
    client: Client = field(default_factory=Client)

    @property
    def reference(self) -> str:
        """As a bulk action has it; for these tests programs order none."""
        return f"user:{self.user.pk}" if self.user else ""

    def holds(self, row: Row) -> bool:
        return self.permissions.issuperset(row.needs)


def _person(name: str, group: str = "") -> Role:
    """Somebody of acme, in a group of the product's; staff if in one."""
    user = User.objects.create_user(f"the-{name}", is_staff=bool(group))
    user.groups.add(Group.objects.get_or_create(name="tenant:acme")[0])
    if group:
        user.groups.add(Group.objects.get(name=group))
    user = User.objects.get(pk=user.pk)
    role = Role(name, frozenset(user.get_all_permissions()), user)
    role.client.force_login(user)
    return role


def people() -> list[Role]:
    make_groups()
    groups = [_person(name, name) for name in ("viewer", "operator", "admin")]
    return [Role("anonymous"), _person("nothing"), *groups]


def programs() -> list[Role]:
    """A token for each permission, and one that is revoked."""
    made = []
    for permission in (VIEW, TRIGGER, OPERATE, DELETE):
        _, secret = token(f"may {permission}", permission, labels=OWN)
        client = Client(headers={"Authorization": f"Bearer {secret}"})
        made.append(Role(f"token {permission}", frozenset({permission}), None, secret, client))
    row, secret = token("revoked", labels=OWN)
    tokens.revoke(row)
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    return [*made, Role("anonymous", secret=secret, client=client)]


def a_case(row: Row, role: Role, labels: dict[str, str]) -> Case:
    """Fresh rows: the request before may have changed others."""
    print_of = {"acme": "a" * 32, "other": "c" * 32}[labels["tenant"]]
    if row.status == "failed":
        run = factories.failed_run(labels=labels, error_fingerprint=print_of)
    else:
        run = factories.run(row.status, labels=labels)
    factories.step(run, "one")
    factories.log(run, "hello")
    factories.event(run, "started")
    action = BulkAction.objects.create(
        kind="retry",
        actor=role.name,
        actor_reference=role.reference if labels == OWN else "user:0",
        bound=uuid.uuid4(),
        expected=1,
        created_at=run.created_at,
    )
    return Case(run, action, labels)


def expected(row: Row, role: Role, case: Case, anonymous: int, denied: int = 403) -> int:
    """The status that the table says."""
    if row.always is not None:
        return row.always["anonymous" if role.name == "anonymous" else "other"]
    if role.name == "anonymous":
        return anonymous
    hidden = case.labels == OTHER and row.foreign is not None
    if not role.holds(row):
        # Where one has to see a run to do anything to it, a hidden one is not there first of all.
        looks_first = hidden and row.foreign == 404 and VIEW in row.needs
        return 404 if looks_first and VIEW in role.permissions else denied
    return row.foreign if hidden and row.foreign is not None else row.ok


Ask = Callable[[Role, Row, Case], int]


def surprises(rows: Iterable[Row], roles: list[Role], ask: Ask, anonymous: int) -> list[str]:
    """Answers that are not those of the table, and foreign rows that were changed."""
    found = []
    looked_at: dict[tuple[str, str], Case] = {}
    for row in rows:
        for role in roles:
            for labels in (OWN, OTHER) if row.foreign is not None else (OWN,):
                # What was only looked at can be looked at again; the rest has to be fresh.
                key = (f"{role.name} {role.reference}", labels["tenant"])
                case = looked_at.get(key) if row.method == "GET" else None
                if case is None:
                    case = a_case(row, role, labels)
                if row.method == "GET":
                    looked_at[key] = case
                before = _rows(case.run, case.action) if labels == OTHER else []
                status = ask(role, row, case)
                wanted = expected(row, role, case, anonymous)
                what = f"{row.method} {row.route} {row.data or ''} as {role.name}, {labels}"
                if status != wanted:
                    found.append(f"{what}: {status}, not {wanted}")
                if before and _rows(case.run, case.action) != before:
                    found.append(f"{what} changed what is another tenant's")
                if labels == OTHER and Run.objects.filter(source_id=case.run.pk).exists():
                    found.append(f"{what} repeated another tenant's run")
    return found


def _rows(*rows: Model) -> list[Any]:
    return [type(row)._default_manager.filter(pk=row.pk).values().first() for row in rows]


@pytest.fixture(autouse=True)
def policy(settings: Any, example: JobDefinition) -> Iterator[None]:
    settings.ACCESS_POLICY = TENANTS
    return iter([None])


def ask_page(role: Role, row: Row, case: Case) -> int:
    client = role.client
    if row.route == "logout/":  # of a session of its own
        client = Client()
        if role.user:
            client.force_login(role.user)
    send = client.get if row.method == "GET" else client.post
    return int(send(row.path(case), row.body(case)).status_code)


_numbers = count()


def ask_api(role: Role, row: Row, case: Case) -> int:
    headers = {"Sec-Fetch-Site": "same-origin"}  # as a browser says of a page of this site
    number = next(_numbers)  # an address for each request: who fails too often has to wait
    origin: Any = {"REMOTE_ADDR": f"10.0.{number // 250}.{number % 250}"}
    answer = role.client.generic(
        row.method, row.path(case), headers=headers, **encoded(row, case), **origin
    )
    return int(answer.status_code)


def ask_admin(role: Role, row: Row, case: Case) -> int:
    path = admin_path(row, case) if row.route.startswith("admin/runs/") else f"/{row.route}"
    return int(role.client.get(path).status_code)


@pytest.mark.django_db
def test_pages() -> None:
    assert surprises(PAGES, people(), ask_page, anonymous=302) == []


@pytest.mark.django_db
def test_the_api() -> None:
    assert surprises([*API, *DURABLY], [*people(), *programs()], ask_api, anonymous=401) == []


@pytest.mark.django_db
def test_the_admin() -> None:
    # Whoever isn't staff is led to sign in.
    staff = [role for role in people() if role.name in ("anonymous", "viewer", "admin")]
    rows = [*admin_rows(), *DJANGO]
    assert surprises(rows, staff, ask_admin, anonymous=302) == []


@pytest.mark.django_db
def test_only_staff_is_let_into_the_admin() -> None:
    outsider = [role for role in people() if role.name == "nothing"]
    for row in admin_rows():
        case = a_case(row, outsider[0], OWN)
        assert ask_admin(outsider[0], row, case) == 302, row.route


@pytest.mark.django_db(transaction=True)
def test_streams() -> None:
    """Only whether they begin; ``/live/`` says 403 to who isn't signed in, too."""
    found = []
    roles = [*people(), *programs()]
    for row in STREAMS:
        for role in roles:
            if row.route == "live/" and role.secret:
                continue
            for labels in (OWN, OTHER):
                case = a_case(row, role, labels)
                status = asyncio.run(_begin(role, row.path(case)))
                anonymous = 403 if row.route == "live/" else 401
                wanted = expected(row, role, case, anonymous)
                if status != wanted:
                    found.append(f"{row.route} as {role.name}, {labels}: {status}, not {wanted}")
    assert found == []


async def _begin(role: Role, path: str) -> int:
    client = AsyncClient()
    headers = {"Authorization": f"Bearer {role.secret}"} if role.secret else {}
    if role.user:
        client.cookies["sessionid"] = await sync_to_async(session_of)(role.user)
    answer = await client.get(path, headers=headers)
    if answer.streaming:
        content: Any = aiter(answer.streaming_content)  # type: ignore[attr-defined]
        await anext(content)
        await content.aclose()
    await sync_to_async(answer.close)()
    return int(answer.status_code)


def _routes(resolver: Any, prefix: str = "") -> Iterator[str]:
    for each in resolver.url_patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _routes(each, route)
        else:
            assert isinstance(each, URLPattern)
            yield route


def test_every_route_is_in_the_table() -> None:
    table = {row.route for row in [*PAGES, *API, *DURABLY, *STREAMS, *DJANGO, *admin_rows()]}
    table = {re.sub(r"{(\w+)}", r"<\1>", route) for route in table} | COVERED.keys()
    others = re.compile(r"admin/(auth|jobs)/\w+/<")  # a row of a model that is none of this site's
    missing = {route for route in _routes(get_resolver()) if not others.match(route)} - table
    assert missing == set(), "Add a Row to tests/access/routes.py for each"


def test_every_operation_of_the_api_is_in_the_table() -> None:
    described = {
        (method.upper(), path.strip("/"))
        for path, methods in api.get_openapi_schema()["paths"].items()
        for method in methods
    }
    table = {(row.method, row.route) for row in [*PAGES, *API, *STREAMS]}
    assert described - table == set(), "Add a Row to tests/access/routes.py for each"


def test_nothing_in_the_table_is_gone() -> None:
    there = set(_routes(get_resolver()))
    table = {row.route for row in [*PAGES, *API, *DURABLY, *STREAMS, *DJANGO, *admin_rows()]}
    gone = {re.sub(r"{(\w+)}", r"<\1>", route) for route in table} - there
    assert gone == set()
