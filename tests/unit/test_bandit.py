"""bandit, as ``make lint`` calls it: what it is let off leaves what it is there for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

CONFIGURATION = str(Path(settings.BASE_DIR) / "pyproject.toml")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from django.utils.safestring import mark_safe\nx = mark_safe(y)\n", "B703"),
        ("import subprocess\nsubprocess.run(x, shell=True)\n", "B602"),
        ("import pickle\nx = pickle.loads(y)\n", "B301"),
        ("from django.utils.safestring import mark_safe\nx = mark_safe('y')\n", ""),
    ],
)
def test_a_risk_is_found(tmp_path: Path, source: str, found: str) -> None:
    (tmp_path / "code.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", "bandit", "-q", "-c", CONFIGURATION, tmp_path / "code.py"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == bool(found), done.stderr
    assert found in done.stdout
