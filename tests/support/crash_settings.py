"""The product's settings and the jobs of the crash tests, for the workers that they start."""

from __future__ import annotations

import os

from durably_site.settings import *  # noqa: F403
from durably_site.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.crashapp"]

if "CRASH_SQLITE_TIMEOUT" in os.environ and "sqlite3" in DATABASES["default"]["ENGINE"]:
    # So that a test need not wait for the 20 s.
    DATABASES["default"]["OPTIONS"]["timeout"] = float(os.environ["CRASH_SQLITE_TIMEOUT"])

if "CRASH_SQLITE_PAGES" in os.environ:
    # So that the log is moved into the database often.
    _options = DATABASES["default"]["OPTIONS"]
    _options["init_command"] += f"PRAGMA wal_autocheckpoint={os.environ['CRASH_SQLITE_PAGES']};"
