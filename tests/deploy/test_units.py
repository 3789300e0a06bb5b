"""The documented units of systemd, as systemd itself reads them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks

_PAGE = ROOT / "docs" / "how-to" / "deploy.md"
_FILES = {block.markers.get("file", ""): block.text for block in blocks(_PAGE)}
_UNITS = {name: text for name, text in _FILES.items() if name.endswith(".service")}

#: Where the page says that the product lies.
_FOLDER, _PYTHON = "/srv/durably", "/srv/durably/.venv/bin/python"


def test_there_is_one_for_each_process() -> None:
    assert set(_UNITS) == {"durably-web.service", "durably-worker@.service"}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on PATH")
@pytest.mark.parametrize("name", _UNITS)
def test_systemd_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    text = _UNITS[name].replace(_PYTHON, sys.executable).replace(_FOLDER, str(ROOT))
    unit = tmp_path / name
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if name in line]
    assert (done.returncode, said) == (0, []), done
