"""Programs that call the API, and hold each answer against its description."""

from __future__ import annotations

import json
from functools import cache
from itertools import count
from typing import Any

import jsonschema_rs
from django.test import Client
from django.urls import Resolver404, resolve

from runs.api.app import api
from tests.access import people

PROBLEM = "application/problem+json"
_numbers = count(1)


class Caller:
    """A client whose every answer has to be one that the OpenAPI document announces."""

    def __init__(self, **headers: str) -> None:
        self.client = Client(
            headers={"host": "localhost", **headers},
            enforce_csrf_checks=True,
            raise_request_exception=True,
        )

    @classmethod
    def with_token(cls, *permissions: str, name: str = "", **options: Any) -> Caller:
        """A program with a token that holds these permissions (of none named: all)."""
        secret = people.token(name or f"program-{next(_numbers)}", *permissions, **options)[1]
        return cls(authorization=f"Bearer {secret}")

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        text = b"" if body is None else json.dumps(body).encode()
        return self.send("POST", path, text, "application/json", **headers)

    def delete(self, path: str, **headers: str) -> Answer:
        return self.send("DELETE", path, **headers)

    def send(
        self, method: str, path: str, body: bytes = b"", kind: str = "", /, **headers: str
    ) -> Answer:
        """A request as it is. Headers are named with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = Answer(
            self.client.generic(method, f"/api{path}", body, content_type=kind, headers=named)
        )
        answer.check(method, f"/api{path}")
        return answer

    def trigger(self, job: str = "anything", input: Any = None, **options: Any) -> str:
        """The id of a new run."""
        answer = self.post(f"/jobs/{job}/trigger", {"input": input, **options})
        assert answer.status == 201, answer
        return str(answer.json["id"])

    def run(self, id: str) -> Any:
        """A run as the API gives it."""
        return self.get(f"/runs/{id}").json


class Answer:
    """What came back."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers = response.headers
        self.text: str = response.content.decode()
        self.kind: str = response.headers.get("Content-Type", "")

    def __repr__(self) -> str:
        return f"<{self.status} {self.kind} {self.text[:300]}>"

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """Of a problem."""
        assert self.kind == PROBLEM, self
        return str(self.json["code"])

    @property
    def errors(self) -> dict[str, str]:
        """Of a problem, message by path."""
        return {each["path"]: each["message"] for each in self.json.get("errors", [])}

    @property
    def ids(self) -> list[str]:
        """Of a page of runs."""
        return [each["id"] for each in self.json["items"]]

    def check(self, method: str, path: str) -> None:
        """That the answer is one that the document announces; problems look alike everywhere."""
        if self.status >= 400:
            assert self.kind == PROBLEM, self
            assert self.json["status"] == self.status
            _validator("#/components/schemas/Problem").validate(self.json)
        described = _described(method, path)
        if described is None or self.status == 405:
            return
        assert str(self.status) in described["responses"], self
        content = described["responses"][str(self.status)].get("content", {})
        if not content:
            assert self.text == ""
            return
        assert self.kind in content, self
        schema = content[self.kind]["schema"]
        if "text/event-stream" not in content:
            _validator(json.dumps(schema)).validate(self.json)


def _described(method: str, path: str) -> Any:
    """The operation that answers, as the document has it; None for an address of no operation."""
    try:
        route = "/" + resolve(path.partition("?")[0]).route
    except Resolver404:
        return None
    template = route.replace("<", "{").replace(">", "}")
    return document()["paths"].get(template, {}).get(method.lower())


@cache
def document() -> Any:
    """The OpenAPI document, as it is sent."""
    return json.loads(json.dumps(api.get_openapi_schema()))


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    """Of a schema of the document as JSON, or a reference to one."""
    wanted = {"$ref": schema} if schema.startswith("#") else json.loads(schema)
    return jsonschema_rs.Draft202012Validator(
        {"components": document()["components"], **wanted}, validate_formats=True
    )
