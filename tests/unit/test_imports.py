"""Who may import whom, and who may write a run."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)

#: From the ground up. A module imports its own layer and those below.
LAYERS = ("foundation", "models", "engine", "interfaces")
FOUNDATION = {
    "__init__", "apps", "conf", "connections", "discovery", "errors", "fields", "payloads",
    "registry", "signals", "typed_dicts", "annotations", "files", "tasks", "checks", "vacuum",
}  # fmt: skip
ENGINE_ADJACENT = {"testing", "filters", "access"}

#: Models whose rows only the engine writes.
ENGINE_MODELS = {"Run", "Step", "LogEntry", "RunEvent", "Label", "Worker", "Job"}
WRITES = {
    "create", "bulk_create", "update", "bulk_update", "update_or_create", "get_or_create",
    "delete", "save", "_raw_delete",
}  # fmt: skip


#: Who writes them: the engine, and the benchmark, into databases of its own.
THEIR_OWN = ("runs.engine.", "runs.bench.")


@functools.cache
def modules(folder: str) -> list[tuple[str, ast.Module]]:
    """Dotted name and syntax tree of each module."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if "migrations" in path.parts:
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found.append((name, ast.parse(path.read_text(encoding="utf-8"), str(path))))
    return found


def layer(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] != "runs" or len(parts) == 1:
        return None
    if parts[1] in FOUNDATION:
        return "foundation"
    if parts[1] == "models":
        return "models"
    if parts[1] == "engine" or parts[1] in ENGINE_ADJACENT:
        return "engine"
    return "interfaces"


def imported_at_start(tree: ast.Module) -> Iterator[str]:
    """What the module imports when it is imported; not inside functions or for types alone."""
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            stack += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        stack += ast.iter_child_nodes(node)


def test_imports_go_one_way() -> None:
    wrong = []
    for name, tree in modules("runs"):
        own = layer(name)
        if own is None:
            continue
        for target in imported_at_start(tree):
            other = layer(target)
            if other is not None and LAYERS.index(other) > LAYERS.index(own):
                wrong.append(f"{name} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_runs_never_imports_jobs_or_the_site() -> None:
    wrong = []
    for name, tree in modules("runs"):
        for node in ast.walk(tree):
            targets: list[str] = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                targets = [node.module or ""]
            wrong += [
                f"{name} imports {target}"
                for target in targets
                if target.split(".")[0] in ("jobs", "durably_site", "tests")
            ]
    assert not wrong, "\n".join(wrong)


def test_jobs_import_the_package_s_front_door_only() -> None:
    wrong = []
    for name, tree in modules("jobs"):
        wrong += [
            f"{name} imports {target}"
            for target in imported_at_start(tree)
            if target.startswith(("runs.engine", "runs.models", "runs.dashboard", "runs.api"))
        ]
    assert not wrong, "\n".join(wrong)


def written_models(tree: ast.Module) -> Iterator[str]:
    """Calls such as ``Run.objects.filter(…).update(…)``, and ``Run(…).save()``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in WRITES:
            continue
        inner: ast.AST = node.func.value
        while isinstance(inner, ast.Call | ast.Attribute):
            inner = inner.func if isinstance(inner, ast.Call) else inner.value
        if isinstance(inner, ast.Name) and inner.id in ENGINE_MODELS:
            yield f"{inner.id}….{node.func.attr} in line {node.lineno}"


def test_nothing_outside_the_engine_writes_its_models() -> None:
    wrong = []
    for folder in ("runs", "jobs", "durably_site"):
        for name, tree in modules(folder):
            if not name.startswith(THEIR_OWN):
                wrong += [f"{name}: {found}" for found in written_models(tree)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "Run.objects.filter(pk=1).update(status='x')",
        "Run.objects.all().delete()",
        "Step(name='x').save()",
        "LogEntry.objects.bulk_create([])",
    ],
)
def test_a_write_is_recognised(text: str) -> None:
    assert list(written_models(ast.parse(text)))


def test_raw_statements_that_write_are_the_engine_s() -> None:
    wrong = []
    verbs = ("INSERT INTO", "UPDATE", "DELETE FROM")
    for folder in ("runs", "jobs", "durably_site"):
        for name, tree in modules(folder):
            if name.startswith(THEIR_OWN):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    text = " ".join(node.value.split()).upper()
                    if any(f"{verb} RUNS_" in text for verb in verbs):
                        wrong.append(f"{name}: {text[:60]}")
    assert not wrong, "\n".join(wrong)


def printed_by(code: str) -> str:
    """What a new process says."""
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )
    return found.stdout


def test_importing_the_package_needs_no_django() -> None:
    """Job modules import it while Django is still loading its apps."""
    code = "import runs, sys; runs.job; print('runs.models' in sys.modules)"
    assert printed_by(code) == "False\n"


def test_a_worker_loads_neither_the_api_nor_the_pages() -> None:
    """14 MB in each, for what only a web process serves."""
    code = (
        "import sys, django; django.setup();"
        "from runs.management.commands.worker import Command;"
        "Command().check(tags=Command.requires_system_checks);"
        "import runs.engine.worker;"
        "print([name for name in ('ninja', 'runs.api', 'runs.dashboard') if name in sys.modules])"
    )
    assert printed_by(code) == "[]\n"
