"""Thousands of requests made from the OpenAPI document, as people with different rights.

Whatever is sent, the answer is one that the document announces, none is a 5xx, and what the
document forbids is refused. The short form sends a few to each operation; ``make soak`` sends
10,000 to each, or ``FUZZ_INPUTS``: half of them good, half bad where there is anything to forbid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from runs import access
from runs.engine import pauses
from runs.models import Run
from runs.registry import JobDefinition
from tests.access import people
from tests.api.callers import document
from tests.pages import factories
from tests.security.hostile import LONG

ROLES: dict[str, Sequence[str]] = {
    "viewer": (access.VIEW,),
    "program": (access.TRIGGER,),
    "operator": (access.VIEW, access.TRIGGER, access.OPERATE),
    "blind operator": (access.OPERATE, access.DELETE),
    "admin": access.ALL,
    "nobody": (),
}

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


#: Operations that answer at once, by method and path; a stream has tests of its own.
OPERATIONS = [
    f"{method.upper()} {path}"
    for path, described in document()["paths"].items()
    for method, operation in described.items()
    if "text/event-stream" not in str(operation)
]

#: What comes of so many requests to each operation that announces it.
OFTEN = {304, 401, 403, 404}


def operations() -> dict[str, Any]:
    """The same as schemathesis has them."""
    schema = schemathesis.openapi.from_dict(document())
    schema.app = get_wsgi_application()
    schema.config.update(base_url="http://localhost")
    found = {}
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        found[f"{operation.method.upper()} {operation.path}"] = operation
    return {name: found[name] for name in OPERATIONS}


@pytest.fixture(autouse=True)
def keep_connection() -> Iterator[None]:
    """Requests here share the test's connection and its transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.django_db
def test_every_answer_is_announced(jobs: dict[str, JobDefinition]) -> None:
    statuses: Counter[int] = Counter()
    callers = people_of_all_roles()
    for operation in operations().values():
        statuses += fuzz(operation, 8, callers, derandomize=True)
    assert {200, 400, 401, 403, 404} <= statuses.keys()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.django_db
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_of_thousands_is_announced(jobs: dict[str, JobDefinition], name: str) -> None:
    operation = operations()[name]
    statuses = fuzz(operation, LONG, people_of_all_roles())
    print(f"{name}: {statuses.total():,} inputs, {dict(sorted(statuses.items()))}")  # noqa: T201
    assert statuses.total() >= 0.95 * LONG  # what can be made up may run out
    announced = {int(status) for status in operation.definition.raw["responses"]}
    assert announced & OFTEN <= statuses.keys()
    assert statuses.keys() & {200, 201, 204}, "nothing was right"
    assert 400 in statuses or not _can_be_wrong(operation)


def people_of_all_roles() -> dict[str, dict[str, str]]:
    """The headers of each."""
    callers: dict[str, dict[str, str]] = {role: {} for role in ROLES}
    for role, permissions in ROLES.items():
        if permissions:
            secret = people.token(role, *permissions)[1]
            callers[role] = {"Authorization": f"Bearer {secret}"}
    return callers


def fuzz(
    operation: Any, count: int, callers: dict[str, dict[str, str]], *, derandomize: bool = False
) -> Counter[int]:
    """Send so many requests to an operation; the statuses that came."""
    modes = [GenerationMode.POSITIVE]
    if _can_be_wrong(operation):
        modes.append(GenerationMode.NEGATIVE)
    profile = settings(
        max_examples=count // len(modes),
        derandomize=derandomize,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    statuses: Counter[int] = Counter()
    for mode in modes:
        _fuzz(operation, mode, profile, callers, statuses)
    return statuses


def _fuzz(
    operation: Any,
    mode: GenerationMode,
    profile: settings,
    callers: dict[str, dict[str, str]],
    statuses: Counter[int],
) -> None:
    @profile
    @given(
        case=operation.as_strategy(generation_mode=mode),
        role=st.sampled_from(list(ROLES)),
        choice=st.integers(0, 20),
        etag=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    )
    def send(case: Any, role: str, choice: int, etag: str) -> None:
        before = transaction.savepoint()
        if mode is GenerationMode.POSITIVE:
            _aim(case, choice, etag)
        response = case.call_and_validate(headers=callers[role], checks=CHECKS)
        statuses[response.status_code] += 1
        transaction.savepoint_rollback(before)

    send()


def _can_be_wrong(operation: Any) -> bool:
    """Whether there is anything to send that the document forbids."""
    return bool(operation.body or operation.query)


def _aim(case: Any, choice: int, etag: str) -> None:
    """At a run or a job that there is, in most cases."""
    failed = factories.failed_run(job="parcel", input={"name": "x"})
    runs: list[Run] = [failed, factories.run("pending", job="anything")]
    parameters = case.path_parameters
    if "id" in parameters and choice < 15:
        parameters["id"] = str(runs[choice % 2].pk)
    if case.method == "GET":
        case.headers["If-None-Match"] = "*" if choice in (0, 1) else etag
    if "name" in parameters and choice < 15:
        parameters["name"] = ("anything", "parcel", "process-order")[choice % 3]
    if case.path.endswith("/resume") and choice < 10:
        pauses.pause_job(parameters["name"])
