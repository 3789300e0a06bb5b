"""The first minute of an installation: a database that fits, and somebody who may sign in."""

from __future__ import annotations

import errno
import socket

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection

OPERATOR = "operator"


class StartupError(Exception):
    """Something outside the program keeps it from starting; the message says what."""


def prepare_database() -> None:
    """Bring the tables up to date. Raises StartupError if that can't be done."""
    where = describe_database()
    try:
        connection.ensure_connection()
    except (DatabaseError, ValueError) as error:
        raise StartupError(
            f"Can't open the database {where}: {first_line(error)} (see DATABASE_URL)."
        ) from error
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except Exception as error:
        raise StartupError(
            f"Can't bring the database {where} up to date: {first_line(error)}. "
            "`manage.py migrate` shows more."
        ) from error


def ensure_operator() -> User | None:
    """The operator's account, made if nobody has an account yet; None if it is gone.

    It has no password: its owner signs in with a one-time link, and may set one.
    """
    if not User.objects.exists():
        return User.objects.create_superuser(OPERATOR, password=None)
    return User.objects.filter(username=OPERATOR, is_active=True).first()


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Raises StartupError that names PORT."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)  # which also fails if another process listens there
    except OSError as error:
        found.close()
        reason = getattr(error, "strerror", None) or str(error)
        remedy = f"Stop what uses it, or choose another port: PORT={settings.PORT + 1}"
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            remedy = "Give --host an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all"
        raise StartupError(f"Can't listen on {host}:{port}: {reason}. {remedy}") from error
    return found


def describe_database() -> str:
    """Where the database is, without the password."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return str(found["NAME"])
    return f"{found['NAME']} at {found['HOST'] or 'localhost'}:{found['PORT'] or 5432}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
