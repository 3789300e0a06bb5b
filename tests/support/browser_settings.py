"""The product's settings and the jobs of the browser tests, for the processes they start."""

from __future__ import annotations

from durably_site.settings import *  # noqa: F403
from durably_site.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.browserapp"]

# The tests make the passwords, with the hasher of tests.settings.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# The React app of tests/durably_react is served from the same origin, as the client needs.
ROOT_URLCONF = "tests.support.browser_urls"
