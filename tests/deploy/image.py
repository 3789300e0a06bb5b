"""What the Dockerfile makes, without Docker: its instructions, done in a folder."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.docs.blocks import ROOT

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@dataclass
class Image:
    """The instructions that say what is in it, and how it starts."""

    base: str = ""
    copied: list[tuple[str, str]] = field(default_factory=list)
    run: list[list[str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    other: dict[str, str] = field(default_factory=dict)

    @classmethod
    def described(cls) -> Image:
        """That of the Dockerfile. Raises AssertionError at what nobody here understands."""
        found = cls()
        for line in (ROOT / "Dockerfile").read_text().splitlines():
            if line and not line.startswith("#"):
                found._take(*line.split(maxsplit=1))
        return found

    def _take(self, instruction: str, rest: str) -> None:
        if instruction == "FROM":
            self.base = rest
        elif instruction == "COPY":
            source, target = rest.split()
            self.copied.append((source, target))
        elif instruction == "RUN":
            self.run.append(shlex.split(rest))
        elif instruction == "ENV":
            name, _, value = rest.partition("=")
            self.environment[name] = value
        elif instruction in ("ENTRYPOINT", "CMD"):
            words = json.loads(rest)
            self.entrypoint, self.command = (
                (words, self.command) if instruction == "ENTRYPOINT" else (self.entrypoint, words)
            )
        else:
            assert instruction in {"USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL"}
            self.other[instruction] = rest

    def build(self, folder: Path) -> None:
        """Copy what it has into a folder, and run what needs no network and no root."""
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        names = [line.removeprefix("**/") for line in ignored if line and line[0] != "#"]

        def leave_out(_: str, found: list[str]) -> set[str]:
            return {name for name in found if any(fnmatch.fnmatch(name, each) for each in names)}

        for source, target in self.copied:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target, ignore=leave_out)
            else:
                shutil.copy(ROOT / source, folder / target)
        for words in self.run:
            if words[0] == "python":
                # The packages are here already: pip then asks nobody for them.
                dry = ["--dry-run", "--quiet"] if "install" in words else []
                subprocess.run(self.here([*words, *dry]), cwd=folder, check=True)

    def start(self, command: list[str]) -> list[str]:
        """What a container of it with this command runs."""
        return self.here([*self.entrypoint, *command])

    @staticmethod
    def here(words: list[str]) -> list[str]:
        """A command of the image, with the Python that the tests use."""
        return [sys.executable, *words[1:]] if words[0] == "python" else words


def compose(**variables: str) -> dict[str, Any]:
    """compose.yaml, with these variables in the environment. Raises KeyError for a missing one."""

    def value(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if kind == "-":
            return variables.get(name) or str(text)
        return variables[name]

    found: dict[str, Any] = yaml.safe_load(
        _VARIABLE.sub(value, (ROOT / "compose.yaml").read_text())
    )
    return found
