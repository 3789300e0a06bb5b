"""``make audit``, with a pip-audit that says what the test wants."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import audit

FINE = {"name": "django", "version": "5.2", "vulns": []}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI: ours (1.0)"}
BAD = {
    "name": "jinja2",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": "x"}],
}


def saying(folder: Path, *packages: dict[str, Any], code: int = 0) -> list[str]:
    """A command in the place of pip-audit."""
    answer = {"dependencies": packages, "fixes": []}
    return failing(folder, f"print({json.dumps(answer)!r}); sys.exit({code})")


def failing(folder: Path, code: str) -> list[str]:
    script = folder / "fake.py"
    script.write_text(f"import sys\n{code}\n")
    return [sys.executable, str(script)]


def test_no_vulnerability_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.audit(saying(tmp_path, FINE)) == 0
    assert capsys.readouterr().out == "1 of 1 packages audited: 0 found\n"


def test_a_vulnerability_fails_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.audit(saying(tmp_path, FINE, BAD, UNKNOWN, code=1)) == 1
    told = capsys.readouterr().out
    assert "jinja2 1.0: PYSEC-1, fixed by 1.1" in told
    assert "2 of 3 packages audited: 1 found" in told


def test_a_package_that_is_not_on_pypi_is_said_and_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.audit(saying(tmp_path, FINE, UNKNOWN)) == 0
    told = capsys.readouterr().out
    assert "Not audited: ours. The last of them: Dependency not found on PyPI" in told
    assert "1 of 2 packages audited: 0 found" in told


@pytest.mark.parametrize("code", ["sys.exit('the service is away')", "print('[]')", ""])
def test_a_service_that_is_away_is_said_and_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    assert audit.audit(failing(tmp_path, code)) == 0
    assert capsys.readouterr().out.startswith("Not audited: ")


def test_it_asks_about_all_that_is_pinned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit.audit(failing(tmp_path, "sys.exit(' '.join(sys.argv))"))
    told = capsys.readouterr().out
    assert all(name in told for name in audit.REQUIREMENTS)


def test_a_pip_audit_that_can_not_be_had_is_said_and_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "PIP_AUDIT", "./no-such-file.whl")
    assert audit.main() == 0
    assert "can't be installed" in capsys.readouterr().out
