"""The React app of the tests, built with the client's own package from the npm registry."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from django.conf import settings

from tests import services
from tests.support.browser_urls import REACT

SOURCE = Path(settings.BASE_DIR) / "tests" / "durably_react" / "app"


def build() -> None:
    """Bundle the app into the folder that web processes serve. Raises ``services.Missing``."""
    npm = services.npm_path()
    modules = _installed(npm)
    shutil.rmtree(REACT, ignore_errors=True)
    shutil.copytree(SOURCE, REACT)
    (REACT / "node_modules").symlink_to(modules)
    _run([npm, "run", "build"], REACT)


def _installed(npm: str) -> Path:
    """The packages, installed once for each version of the list, outside of the repository."""
    listed = SOURCE / "package.json"
    version = hashlib.sha256(listed.read_bytes()).hexdigest()[:12]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "durably-tests"
    folder = caches / f"react-{version}"
    if not folder.exists():
        caches.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=caches))
        shutil.copy(listed, draft)
        try:
            # All versions are exact, and no package may run anything.
            _run([npm, "install", "--ignore-scripts", "--no-package-lock", "--no-audit"], draft)
            draft.rename(folder)
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip().splitlines()[-1:]
            raise services.Missing(f"npm can't install the React client: {said}") from error
        except OSError:  # another process was quicker
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder / "node_modules"


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=100)
