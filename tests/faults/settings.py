"""The product's settings and the jobs of this folder, for the processes that its tests start."""

from __future__ import annotations

from tests.support.crash_settings import *  # noqa: F403
from tests.support.crash_settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults"]
