"""Executes the blocks of one page, in order, as a reader would."""

from __future__ import annotations

import ast
import configparser
import contextlib
import csv
import importlib
import io
import json
import re
import runpy
import shlex
import string
import subprocess
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.core.management import (
    CommandError,
    ManagementUtility,
    get_commands,
    load_command_class,
)
from django.db import connections, transaction

import jobs
from runs import testing
from runs.engine import bulk
from runs.registry import registry
from tests import processes, services
from tests.docs.blocks import ROOT, Block
from tests.support.web import Web

SETTINGS_FILE = ROOT / "durably_site" / "settings.py"

#: Commands that run until they are stopped, or ask questions: their arguments are parsed.
_NOT_ENDING = frozenset({"up", "web", "worker", "bench", "createsuperuser", "changepassword"})
_ASSIGNMENT = re.compile(r"^([A-Z][A-Z0-9_]*)=(.*)$", re.DOTALL)
_CAPTURE = re.compile(r"^([a-z_]+)=\$\((.*)\)$")
_ACTIVATE = [".", ".venv/bin/activate"]

#: Where the reader's own server answers.
_ADDRESS = "127.0.0.1:8000"


def environment_names() -> set[str]:
    """The variables that the settings module reads."""
    return set(re.findall(r'\benv\.\w+\(\s*"(\w+)"', SETTINGS_FILE.read_text()))


class Page:
    """The state that the blocks of one page share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace: dict[str, Any] = {"__name__": "__docs__"}
        self.variables: dict[str, str] = {}
        #: What blocks set for the product's settings, to be checked together.
        self.environment: dict[str, str] = {}
        self._modules = set(sys.modules)
        self._jobs = set(registry.names())
        self._web: Web | None = None
        (folder / "jobs").mkdir()
        sys.path.append(str(folder))
        jobs.__path__.append(str(folder / "jobs"))

    def close(self) -> None:
        """Forget the jobs and modules that the page made, and end its server."""
        if self._web is not None:
            processes.end(self._web.process)
        sys.path.remove(str(self.folder))
        jobs.__path__.remove(str(self.folder / "jobs"))
        for name in set(registry.names()) - self._jobs:
            registry.remove(name)
        for name in set(sys.modules) - self._modules:
            if name.startswith(("jobs.", "durably_client")):
                del sys.modules[name]
        importlib.invalidate_caches()

    def run(self, block: Block) -> None:
        """Execute or check one block. Raises AssertionError that says what is wrong."""
        if "file" in block.markers:
            self._write(block)
        if "same as" in block.markers:
            source = block.markers["same as"]
            assert block.text == (ROOT / source).read_text(), f"{block.place}: {source} differs"
            return
        handlers = {
            "python": self._python,
            "sh": self._shell,
            "console": self._console,
            "json": lambda found: json.loads(found.text),
            "csv": lambda found: list(csv.reader(found.text.splitlines(), strict=True)),
            "ini": self._unit,
            "nginx": self._nginx,
        }
        assert block.language in handlers, (
            f"{block.place}: nobody knows how to check {block.language or 'a block of no language'}"
        )
        with background_worker() if block.markers.get("with") == "worker" else _nothing():
            handlers[block.language](block)

    # Python

    def _python(self, block: Block) -> None:
        if "file" in block.markers:
            self._module(block)
            return
        text = self._as_here(block.text) if _ADDRESS in block.text else block.text
        self.namespace |= self.variables
        tree = ast.parse("\n" * (block.line - 1) + text, str(block.page))
        code = compile(tree, str(block.page), "exec", dont_inherit=True)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, self.namespace)
        said, found = _said_to_print(tree, block), printed.getvalue().splitlines()
        assert len(said) == len(found), f"{block.place}: {len(said)} lines promised: {found}"
        _compare(said, found, block)

    def _module(self, block: Block) -> None:
        """Import a job module as the worker would, or run the tests of a test module."""
        path = block.markers["file"]
        if path.startswith("jobs/"):
            importlib.invalidate_caches()
            importlib.import_module(path.removesuffix(".py").replace("/", "."))
            return
        module = types.ModuleType(Path(path).stem)
        exec(compile(block.text, str(self.folder / path), "exec", dont_inherit=True), vars(module))
        tests = [fn for name, fn in vars(module).items() if name.startswith("test_")]
        assert tests, f"{block.place}: neither a job nor a test"
        for test in tests:
            _as_in_the_db_fixture(test)

    def _write(self, block: Block) -> None:
        """Put a file where the page says it is; ``var/data`` is the data directory."""
        from runs.files import data_root

        name = block.markers["file"]
        path = self.folder / name
        if name.startswith("var/data/"):
            path = data_root() / name.removeprefix("var/data/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    # Shell

    def _shell(self, block: Block) -> None:
        commands = block.text.replace("\\\n", " ").splitlines()
        wanted = int(block.markers.get("exits", "0"))
        commands = [line for line in commands if line.strip() and not line.startswith("#")]
        for number, command in enumerate(commands, start=1):
            code, _ = self.command(command, block)
            expected = wanted if number == len(commands) else 0
            assert code == expected, f"{block.place}: {command!r} ended with {code}"

    def _console(self, block: Block) -> None:
        """Commands after ``$ ``, each followed by what it prints; ``…`` stands for anything."""
        session: list[tuple[str, list[str]]] = []
        for line in block.text.splitlines():
            if line.startswith("$ "):
                session.append((line[2:], []))
            else:
                session[-1][1].append(line)
        wanted = int(block.markers.get("exits", "0"))
        for number, (command, expected) in enumerate(session, start=1):
            code, output = self.command(command, block)
            assert code == (wanted if number == len(session) else 0), (
                f"{block.place}: {command!r} ended with {code}: {output}"
            )
            _compare(expected, output.splitlines(), block)

    def command(self, text: str, block: Block, stdin: str = "") -> tuple[int, str]:
        """One line of a shell block: its exit code and all that it printed."""
        capture = _CAPTURE.match(text)
        if capture:
            code, output = self.command(capture[2], block)
            self.variables[capture[1]] = output.splitlines()[-1]
            return code, ""
        first, pipe, rest = text.partition(" | ")
        if pipe:
            _, output = self.command(first, block, stdin)
            return self.command(rest, block, output)
        words = shlex.split(string.Template(text).substitute(self.variables), comments=True)
        words, target = (words[:-2], words[-1]) if words[-2:-1] == [">"] else (words, None)
        while words and (assignment := _ASSIGNMENT.match(words[0])):
            self._remember(assignment[1], assignment[2], block)
            words.pop(0)
        code, output = self._dispatch(words, block, stdin) if words else (0, "")
        if target is not None:
            (self.folder / target).write_text(output)
            output = ""
        return code, output

    def _dispatch(self, words: list[str], block: Block, stdin: str) -> tuple[int, str]:
        if words[0] in (".venv/bin/python", "python") and words[1] == "manage.py":
            return self._manage(words[2:], block, stdin)
        if words[0] == "make":
            return self._make(words[1:], block)
        if words[0] == "export":
            for word in words[1:]:
                name, _, value = word.partition("=")
                self._remember(name, value, block)
            return 0, ""
        if words == _ACTIVATE:
            return 0, ""
        if words[0] == "curl":
            return self._outside([services.curl_path(), *words[1:]])
        if words[0] == "openapi-python-client":
            return self._outside([sys.executable, "-m", "openapi_python_client", *words[1:]])
        if words[:2] == ["jq", "-r"]:
            return 0, str(json.loads(stdin)[words[2].removeprefix(".")])
        assert words[0] in {"echo", "cat", "mkdir", "cp", "seq", "printf"}, (
            f"{block.place}: nobody knows how to check {words[0]!r}"
        )
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def _outside(self, words: list[str]) -> tuple[int, str]:
        """A program that asks the reader's server; here it asks one on the test's database."""
        words = [self._as_here(word) for word in words]
        done = subprocess.run(
            words, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60
        )
        said = done.stdout or done.stderr
        return done.returncode, said.replace(self._as_here(_ADDRESS), _ADDRESS)

    def _as_here(self, text: str) -> str:
        if self._web is None:
            self._web = Web(self.folder / "web.log")
        return text.replace(_ADDRESS, f"127.0.0.1:{self._web.port}")

    def _manage(self, words: list[str], block: Block, stdin: str) -> tuple[int, str]:
        if words[:2] == ["check", "--deploy"]:
            return self._check_deploy(words)
        known = get_commands()
        assert words[0] in known, f"{block.place}: there is no command {words[0]!r}"
        if words[0] in _NOT_ENDING or "--help" in words:
            parser = load_command_class(_app(known[words[0]]), words[0]).create_parser(
                "manage.py", words[0]
            )
            said = io.StringIO()
            try:
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    parser.parse_args(words[1:])
            except SystemExit as end:  # --help
                return int(end.code or 0), said.getvalue()
            except CommandError as error:
                return 2, str(error)
            return 0, ""
        with background_worker() if "--wait" in words else _nothing():
            return _in_this_process(words, stdin)

    def _check_deploy(self, words: list[str]) -> tuple[int, str]:
        """The checks for production, in a process with what the page has set."""
        here = {"VAR_DIR": str(self.folder / "var")}
        environment = processes.environment(**(self.environment | here))
        code, out, errors = processes.manage(*words, env=environment)
        return code, out + errors

    def _make(self, words: list[str], block: Block) -> tuple[int, str]:
        assignments = [word for word in words if _ASSIGNMENT.match(word)]
        for word in words:
            assert word in assignments or re.search(
                rf"^{re.escape(word)}:", (ROOT / "Makefile").read_text(), re.MULTILINE
            ), f"{block.place}: make knows no {word!r}"
        done = subprocess.run(
            ["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.returncode, ""

    def _unit(self, block: Block) -> None:
        """A systemd unit: its commands and variables are ours."""
        unit = configparser.RawConfigParser(strict=False)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(block.text)
        service = dict(unit["Service"]) if unit.has_section("Service") else {}
        for line in block.text.splitlines():
            if line.startswith("Environment="):
                name, _, value = line.removeprefix("Environment=").strip('"').partition("=")
                self._remember(name, value, block)
        if "ExecStart" in service:
            words = shlex.split(service["ExecStart"])
            place = [word.endswith("manage.py") for word in words].index(True)
            code, said = self._manage(words[place + 1 :], block, "")
            assert code == 0, f"{block.place}: {words} ended with {code}: {said}"

    def _nginx(self, block: Block) -> None:
        """Servers of nginx, which tests/docs/test_proxy.py runs: here, whether braces match."""
        depth = 0
        for line in block.text.splitlines():
            depth += line.count("{") - line.count("}")
            assert depth >= 0, f"{block.place}: unexpected }} in {line!r}"
        assert depth == 0, f"{block.place}: a }} is missing"

    def _remember(self, name: str, value: str, block: Block) -> None:
        assert name in environment_names(), f"{block.place}: the settings read no {name}"
        self.environment[name] = value


def read_settings(environment: dict[str, str], monkeypatch: Any) -> dict[str, Any]:
    """What the settings module makes of an environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return {k: v for k, v in runpy.run_path(str(SETTINGS_FILE)).items() if k.isupper()}


@contextlib.contextmanager
def background_worker() -> Iterator[None]:
    """Executes what is due, in a thread, as a worker beside the reader's shell would."""
    stop = threading.Event()
    owner = uuid.uuid4()

    def work() -> None:
        try:
            while not stop.is_set():
                testing.drain()
                bulk.advance(owner, seconds=1)
                time.sleep(0.01)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _in_this_process(words: list[str], stdin: str) -> tuple[int, str]:
    """A management command with its standard streams; output and errors together."""
    output = io.StringIO()
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin.encode()))
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            ManagementUtility(["manage.py", *words]).execute()
    except SystemExit as end:
        return (end.code if isinstance(end.code, int) else int(bool(end.code))), output.getvalue()
    finally:
        sys.stdin = before
    return 0, output.getvalue()


def _said_to_print(tree: ast.Module, block: Block) -> list[str]:
    """The comments behind calls of ``print``, each a line that is printed, in order."""
    lines = block.page.read_text().splitlines()
    said = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            assert node.end_lineno is not None
            _, mark, comment = lines[node.end_lineno - 1].rpartition("  # ")
            assert mark, f"{block.page.name}:{node.lineno}: say what it prints, in a comment"
            said[node.lineno] = comment.strip()
    return [said[line] for line in sorted(said)]


def _compare(expected: list[str], found: list[str], block: Block) -> None:
    """``expected`` lines are among those found, in order; ``…`` stands for anything."""
    rest = iter(found)
    for line in expected:
        parts = line.rstrip().split("…")
        pattern = re.compile(".*".join(re.escape(part) for part in parts))
        assert any(pattern.fullmatch(text.rstrip()) for text in rest), (
            f"{block.place}: {line!r} is not printed (in this order). Printed: {found}"
        )


def _as_in_the_db_fixture(test: Callable[[], object]) -> None:
    """In a transaction that never commits, as pytest-django's ``db`` fixture does it."""
    around = transaction.atomic()
    around._from_testcase = True  # type: ignore[attr-defined]
    with around:
        test()
        transaction.set_rollback(True)


def _app(app: Any) -> str:
    return app if isinstance(app, str) else str(app.name)


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield
