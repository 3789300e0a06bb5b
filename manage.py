#!/usr/bin/env python
"""Django's command line for this project."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run a command. What is wrong with the environment or the jobs is one line, no traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "durably_site.settings")
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from runs.errors import JobDefinitionError

    try:
        settings.INSTALLED_APPS  # noqa: B018 (reads the environment)
    except ValueError as error:  # environs' own errors are ValueErrors too
        sys.exit(f"The settings can't be used: {error}")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"The settings can't be used: {error}")
    except JobDefinitionError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
