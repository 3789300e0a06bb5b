"""The time that a check takes says nothing of a secret: none is compared as it is.

A stored secret is a digest, found by its index; what has to be compared is compared in constant
time. Measuring would prove nothing: these look at how it is done.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.crypto import constant_time_compare

from runs.access import tokens
from runs.dashboard.signin import one_time_path, user_of_link
from runs.models import ApiToken
from tests.access.people import token
from tests.pages import factories

#: What is called so is not compared by ``==``.
_SECRET = re.compile(
    r"secret|password|digest|signature|bearer|session_key|api_key|token", re.IGNORECASE
)

#: Of what is found, what a token may; all see that.
_HARMLESS = {"permission not in self.token.permissions"}


def compared(source: str) -> Iterator[str]:
    """Comparisons of what is called a secret, and of nothing."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            for operator in node.ops:
                if isinstance(operator, ast.Eq | ast.NotEq | ast.In | ast.NotIn):
                    text = ast.unparse(node)
                    names = [
                        ast.unparse(each)
                        for each in (node.left, *node.comparators)
                        if isinstance(each, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
                    ]
                    if text not in _HARMLESS and any(_SECRET.search(name) for name in names):
                        yield text


def test_no_code_compares_a_secret() -> None:
    found = []
    for folder in ("runs", "durably_site"):
        for path in sorted((Path(settings.BASE_DIR) / folder).rglob("*.py")):
            found += [f"{path.name}: {text}" for text in compared(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    ("source", "is_one"),
    [
        ("if given == token.secret: pass", True),
        ("if given == token: pass", True),
        ("ok = digest(given) in known", True),
        ("if user.password != '': pass", True),
        ("if len(name) == 3: pass", False),
        ("if permission not in self.token.permissions: pass", False),
        ("found = rows.filter(digest=digest(given))", False),
    ],
)
def test_a_comparison_would_be_found(source: str, is_one: bool) -> None:
    assert bool(list(compared(source))) is is_one


@pytest.mark.django_db
def test_a_token_is_looked_up_by_its_digest_in_one_query() -> None:
    row, secret = token("robot")
    tokens.authenticate(secret)  # the first use of a minute is noted
    near = secret[:-1] + ("x" if secret[-1] != "x" else "y")
    asked = []
    for each in (secret, near, tokens.PREFIX + "x" * 43):
        with CaptureQueriesContext(connection) as captured:
            tokens.authenticate(each)
        [query] = captured.captured_queries
        assert tokens.digest(each) in query["sql"]
        assert each.removeprefix(tokens.PREFIX) not in query["sql"]
        asked.append(query["sql"].replace(tokens.digest(each), "?"))
    assert re.sub(r"'\d{4}-[^']+'", "?", asked[0]) == re.sub(r"'\d{4}-[^']+'", "?", asked[1])
    assert len({re.sub(r"'\d{4}-[^']+'", "?", sql) for sql in asked}) == 1
    assert row.digest == tokens.digest(secret)


def test_the_digest_has_an_index_of_its_own() -> None:
    assert ApiToken._meta.get_field("digest").unique


@pytest.mark.django_db
def test_a_one_time_link_is_compared_in_constant_time() -> None:
    user = factories.user("ann")
    *_, uid, secret, _ = one_time_path(user).split("/")
    where = "django.contrib.auth.tokens.constant_time_compare"
    with mock.patch(where, side_effect=constant_time_compare) as compare:
        assert user_of_link(uid, secret) == user
        assert user_of_link(uid, secret[:-1] + "x") is None
    assert compare.call_count >= 2
