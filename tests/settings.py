"""The product's settings, with everything that is written in a temporary directory.

Each test process has a directory of its own (``main``, or the name of its xdist worker),
which the processes that it starts share.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

if "DURABLY_TEST_DIR" not in os.environ:
    os.environ["DURABLY_TEST_DIR"] = tempfile.mkdtemp(prefix="durably-tests-")
_process = os.environ.get("PYTEST_XDIST_WORKER", "main")
os.environ["VAR_DIR"] = str(Path(os.environ["DURABLY_TEST_DIR"]) / _process)

from durably_site.settings import *  # noqa: E402, F403 (after the directory is set)

# Hashing a password well takes a tenth of a second; here nobody attacks it.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
