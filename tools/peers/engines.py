"""The engines, their versions, and how each is installed and started."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ADAPTERS = Path(__file__).parent / "adapters"

#: For each engine what is installed, the first package being the one that is measured.
PYTHON = {
    "dbos": ["dbos==3.4.0", "pysqlite3-binary==0.5.4.post2"],
    "absurd": ["absurd-sdk==0.5.1", "absurdctl==0.5.1"],
}
NODE = {
    "@coji/durably": "0.15.0",
    "better-sqlite3": "12.6.2",
    "kysely": "0.27.6",
    "pg": "8.16.3",
    "zod": "4.1.12",
}


@dataclass(frozen=True)
class Engine:
    """One that can be measured: the command of its adapter, and where that runs."""

    name: str
    version: str
    command: tuple[str, ...]
    folder: Path
    on_sqlite: bool = True


def ours() -> Engine:
    """This repository."""
    command = (sys.executable, "-m", "tools.peers.adapters.ours")
    return Engine("ours", "this checkout", command, ROOT)


def install(folder: Path) -> tuple[list[Engine], list[str]]:
    """Install the others below a folder, if they aren't there; those that could be, and why not."""
    found, problems = [], []
    for make in (_durably, _dbos, _absurd):
        try:
            found.append(make(folder))
        except (OSError, subprocess.CalledProcessError) as error:
            problems.append(f"{make.__name__.strip('_')} is left out: {_last_line(error)}")
    return found, problems


def _dbos(folder: Path) -> Engine:
    python = _environment(folder, "dbos")
    command = (python, "-m", "tools.peers.adapters.dbos_adapter")
    return Engine("dbos", PYTHON["dbos"][0], command, ROOT)


def _absurd(folder: Path) -> Engine:
    python = _environment(folder, "absurd")
    command = (python, "-m", "tools.peers.adapters.absurd_adapter")
    return Engine("absurd", PYTHON["absurd"][0], command, ROOT, on_sqlite=False)


def _environment(folder: Path, name: str) -> str:
    place = folder / name
    python = str(place / "bin" / "python")
    if not (place / "installed").exists():
        _run(sys.executable, "-m", "venv", str(place))
        _run(python, "-m", "pip", "install", "--quiet", "psycopg[binary]==3.3.9", *PYTHON[name])
        (place / "installed").touch()
    return python


def _durably(folder: Path) -> Engine:
    place = folder / "durably"
    if not (place / "installed").exists():
        place.mkdir(parents=True, exist_ok=True)
        package = {"private": True, "type": "module", "dependencies": NODE}
        (place / "package.json").write_text(json.dumps(package))
        _run("npm", "install", "--no-audit", "--no-fund", "--silent", cwd=place)
        (place / "installed").touch()
    # Beside its modules, where Node.js looks for them.
    shutil.copy(ADAPTERS / "durably.mjs", place / "durably.mjs")
    version = f"@coji/durably@{NODE['@coji/durably']}"
    # glibc 2.36 loses wake-ups among V8's helper threads: with them, Node.js may hang.
    command = ("node", "--v8-pool-size=0", str(place / "durably.mjs"))
    return Engine("durably", version, command, place)


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)


def _last_line(error: Exception) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return (str(said).strip().splitlines() or ["it said nothing"])[-1]
