"""``make audit``: has a package that is pinned here a known vulnerability?

pip-audit says, in an environment of its own, since it brings many packages along. Where it can't
be installed or can't ask, and of a package that is not on PyPI, that is said and no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PIP_AUDIT = "pip-audit==2.10.1"
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")

#: Every package that is needed is pinned, so nothing has to be installed to find out which.
_OPTIONS = (
    "--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off", "--timeout=15",
)  # fmt: skip

_root = Path(__file__).parent.parent


def main() -> int:
    """Ask; 1 if there is a vulnerability."""
    with tempfile.TemporaryDirectory(prefix="durably-audit-") as folder:
        command = install(Path(folder))
        return 0 if command is None else audit([command])


def install(folder: Path) -> str | None:
    """Make an environment with pip-audit; its command, or None if it can't be had."""
    bin_folder = folder / "bin"
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(bin_folder / "python"), "-m", "pip", "install", "--quiet", PIP_AUDIT],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            _say(f"Not audited: {PIP_AUDIT} can't be installed: {_last_line(done.stderr)}")
            return None
    return str(bin_folder / "pip-audit")


def audit(command: Sequence[str]) -> int:
    """Let pip-audit ask about all that is pinned; 1 if there is a vulnerability."""
    files = [part for name in REQUIREMENTS for part in ("--requirement", str(_root / name))]
    done = subprocess.run(
        [*command, *_OPTIONS, *files], check=False, capture_output=True, text=True
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        _say(f"Not audited: {_last_line(done.stderr) or 'pip-audit has said nothing'}")
        return 0
    unknown = [package for package in packages if "skip_reason" in package]
    if unknown:
        names = ", ".join(package["name"] for package in unknown)
        _say(f"Not audited: {names}. The last of them: {unknown[-1]['skip_reason']}")
    found = list(_vulnerabilities(packages))
    for line in found:
        _say(line)
    _say(f"{len(packages) - len(unknown)} of {len(packages)} packages audited: {len(found)} found")
    return 1 if found else 0


def _vulnerabilities(packages: list[dict[str, Any]]) -> Iterator[str]:
    for package in packages:
        for each in package.get("vulns", ()):
            fixed = ", ".join(each.get("fix_versions", ())) or "no version yet"
            yield f"{package['name']} {package['version']}: {each['id']}, fixed by {fixed}"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
