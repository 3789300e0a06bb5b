"""What docs/guarantees.md names as a proof is there: each test, and whether it is a long one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.docs.blocks import ROOT, prose

PAGE = ROOT / "docs" / "guarantees.md"

#: A test as the page names it, and the mark of those that only ``make soak`` runs.
_TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`( \(soak\))?")

#: Where the promises end.
_NOT_PROMISED = "\n## What is not promised\n"


def promises() -> str:
    """The part of the page that is about what is promised."""
    promised, heading, _ = prose(PAGE).partition(_NOT_PROMISED)
    assert heading
    return promised


def named() -> list[str]:
    """Each test that the page names, once."""
    return sorted({f"{path}::{name}" for path, name, _ in _TEST.findall(PAGE.read_text())})


def rows() -> Iterator[list[str]]:
    """The cells of each row of each table, heads left out."""
    for line in promises().splitlines():
        if line.startswith("|") and not line.startswith(("| Promise |", "| --- |")):
            yield [cell.strip() for cell in line.strip("|").split("|")]


@cache
def defined_in(path: str) -> dict[str, bool]:
    """The tests that pytest finds in a file, and whether only ``make soak`` runs them."""
    found: dict[str, bool] = {}

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                collect(node.body, f"{prefix}{node.name}::")
            elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = {ast.unparse(decorator) for decorator in node.decorator_list}
                found[prefix + node.name] = "pytest.mark.soak" in marks

    collect(ast.parse((ROOT / path).read_text()).body, "")
    return found


@pytest.mark.parametrize("test", named())
def test_every_test_that_is_named_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert (ROOT / path).is_file(), path
    assert name in defined_in(path), f"{path} has no {name}"


def test_what_only_a_soak_runs_is_marked() -> None:
    for path, name, mark in _TEST.findall(PAGE.read_text()):
        assert defined_in(path).get(name) is bool(mark), f"{path}::{name}{mark}"


def test_every_promise_has_a_fault_and_a_proof() -> None:
    assert len(list(rows())) > 100
    for row in rows():
        assert len(row) == 3, row
        promise, fault, proof = row
        assert promise, row
        assert fault, row
        assert _TEST.search(proof), row
        assert not re.sub(r"[ ,]", "", _TEST.sub("", proof)), f"no test: {proof}"


def test_no_promise_stands_there_twice() -> None:
    said = [row[0] for row in rows()]
    assert sorted(said) == sorted(set(said))


def test_folders_and_tables_that_are_named_exist() -> None:
    for path in re.findall(r"`(tests/[\w/.]+)`", prose(PAGE)):
        assert (ROOT / path).exists(), path
