"""Thousands of requests made from the OpenAPI document, as people with different rights.

Whatever is sent, the answer is one that the document announces, none is a 5xx, and what the
document forbids is refused.
"""

from __future__ import annotations

import os
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
from runs.models import Run
from runs.registry import JobDefinition
from tests.access import people
from tests.api.callers import document
from tests.pages import factories

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


def operations() -> list[Any]:
    """Those that answer at once; a stream has tests of its own."""
    schema = schemathesis.openapi.from_dict(document())
    schema.app = get_wsgi_application()
    schema.config.update(base_url="http://localhost")
    found = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if "text/event-stream" not in str(operation.definition.raw):
            found.append(operation)
    return found


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
    statuses = fuzz(4, derandomize=True)
    assert {200, 400, 401, 403, 404} <= statuses.keys()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.django_db
def test_every_answer_of_thousands_is_announced(jobs: dict[str, JobDefinition]) -> None:
    statuses = fuzz(int(os.environ.get("FUZZ_EXAMPLES", "400")))
    assert statuses.total() > 5_000
    assert {200, 201, 204, 304, 400, 401, 403, 404, 409} <= statuses.keys()


def fuzz(examples: int, *, derandomize: bool = False) -> Counter[int]:
    """Send so many good and so many bad requests to each operation; the statuses that came."""
    profile = settings(
        max_examples=examples,
        derandomize=derandomize,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    callers: dict[str, dict[str, str]] = {role: {} for role in ROLES}
    for role, permissions in ROLES.items():
        if permissions:
            secret = people.token(role, *permissions)[1]
            callers[role] = {"Authorization": f"Bearer {secret}"}
    statuses: Counter[int] = Counter()
    for operation in operations():
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.POSITIVE or _can_be_wrong(operation):
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
    )
    def send(case: Any, role: str, choice: int) -> None:
        before = transaction.savepoint()
        if mode is GenerationMode.POSITIVE:
            _aim(case, choice)
        response = case.call_and_validate(headers=callers[role], checks=CHECKS)
        statuses[response.status_code] += 1
        transaction.savepoint_rollback(before)

    send()


def _can_be_wrong(operation: Any) -> bool:
    """Whether there is anything to send that the document forbids."""
    return bool(operation.body or operation.query)


def _aim(case: Any, choice: int) -> None:
    """At a run or a job that there is, in most cases."""
    runs: list[Run] = [factories.failed_run(job="parcel"), factories.run("pending", job="anything")]
    parameters = case.path_parameters
    if "id" in parameters and choice < 15:
        parameters["id"] = str(runs[choice % 2].pk)
    if case.method == "GET" and choice in (0, 1):
        case.headers["If-None-Match"] = "*"
    if "name" in parameters and choice < 15:
        parameters["name"] = ("anything", "parcel", "process-order")[choice % 3]
