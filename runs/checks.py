"""System checks: every setting is usable, before anything starts that would trip over it.

E001 a value out of range · E002 SQLITE_SYNCHRONOUS · E003 HUEY_URL's scheme · E004 one
SQLite file for Huey and the database · E005 the database's engine · E006 PORT · E007
ALLOWED_HOSTS · E008 TRUSTED_PROXIES · E009 SECURE_PROXY_SSL_HEADER · E010 limits of sign-ins
and sessions · E011 HSTS_SECONDS · E012 ACCESS_POLICY · E013 Huey behind a pooler · E014
CSRF_TRUSTED_ORIGINS · W001 HTTPS
that nobody speaks · W002 a PostgreSQL that does not vacuum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from inspect import iscoroutinefunction
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.db import DEFAULT_DB_ALIAS, OperationalError
from django.utils.module_loading import import_string

from runs import conf, vacuum

SYNCHRONOUS = ("FULL", "NORMAL", "EXTRA")
HUEY_SCHEMES = ("sqlite", "redis", "rediss", "postgres", "postgresql")
_HUEY_REMEDY = (
    "Use redis://host:6379/0, postgres://user@host/name or sqlite:////path/to/huey.sqlite3, "
    "or leave it empty."
)


@register("runs")
def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """All of them: the errors name the setting and the remedy."""
    groups = (_values, _database, _huey, _port, _hosts, _proxies, _sign_in, _policy)
    return [message for group in groups for message in group()]


@register(Tags.security, deploy=True)
def check_https(**_kwargs: Any) -> list[CheckMessage]:
    """For ``check --deploy``: whether browsers that are led to HTTPS can get there."""
    believed = settings.TRUSTED_PROXIES or settings.SECURE_PROXY_SSL_HEADER
    if not settings.SECURE_SSL_REDIRECT or believed:
        return []
    problem = "HTTPS is asked for, but no proxy is believed that a request came by it."
    hint = "Name the proxy's address in TRUSTED_PROXIES, or each page redirects to itself."
    return [CheckWarning(problem, hint=hint, id="runs.W001")]


@register(Tags.database)
def check_vacuum(databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """For ``migrate`` and ``check --database default``: whether tables will grow without end."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        found = vacuum.neglect()
    except OperationalError:  # one that is away, of which others complain
        return []
    if not found:
        return []
    problem = f"{found.problem} Tables grow without end, whatever is deleted."
    hint = f"As an administrator of the server: {' '.join(found.remedy)}"
    return [CheckWarning(problem, hint=hint, id="runs.W002")]


def _values() -> Iterator[CheckMessage]:
    for setting in conf.SETTINGS.values():
        try:
            setting.read()
        except (ValueError, TypeError, OverflowError) as error:
            yield Error(
                f"{setting.name} can't be used: {error}.",
                hint=f"Correct the setting, or unset it for its default, {setting.default!r}.",
                id="runs.E001",
            )


def _database() -> Iterator[CheckMessage]:
    database = settings.DATABASES["default"]
    engine = str(database["ENGINE"]).rpartition(".")[2]
    if engine not in ("sqlite3", "postgresql"):
        yield Error(
            f"DATABASE_URL names a database that is not supported: {engine}.",
            hint="Use postgres://user@host/name or sqlite:////path/to/db.sqlite3.",
            id="runs.E005",
        )
    if engine != "sqlite3":
        return
    if ":memory:" in str(database["NAME"]):
        yield Error(
            "DATABASE_URL names a database in memory, which web server and worker can't share.",
            hint="Use a file: sqlite:////path/to/db.sqlite3.",
            id="runs.E005",
        )
    synchronous = getattr(settings, "SQLITE_SYNCHRONOUS", "FULL")
    if synchronous not in SYNCHRONOUS:
        yield Error(
            f"SQLITE_SYNCHRONOUS can't be {synchronous!r}.",
            hint=f"One of {', '.join(SYNCHRONOUS)}. Below FULL, a power loss may undo the last "
            "checkpoints; anything less could lose the database, and is refused.",
            id="runs.E002",
        )


def _huey() -> Iterator[CheckMessage]:
    url = conf.huey_url()
    if not url and getattr(settings, "DATABASE_POOLER", False):
        yield Error(
            "HUEY_URL is empty, and Huey can't listen for messages through a pooler.",
            hint="Name Redis, or PostgreSQL itself without the pooler.",
            id="runs.E013",
        )
    try:
        scheme = urlsplit(url).scheme
        _ = urlsplit(url).port
    except ValueError:  # whose text may be a part of the password
        remedy = "Write what is special in a password as %23 for #, %2F for /, and so on."
        yield Error("HUEY_URL is no URL.", hint=remedy, id="runs.E003")
        return
    if url and scheme not in HUEY_SCHEMES:
        yield Error(
            f"HUEY_URL can't be used: its scheme is none of {', '.join(HUEY_SCHEMES)}.",
            hint=_HUEY_REMEDY,
            id="runs.E003",
        )
    elif scheme in ("redis", "rediss") and not re.fullmatch(r"/?\d*", urlsplit(url).path):
        yield Error(
            "HUEY_URL can't be used: after the host comes the number of a Redis database.",
            hint=_HUEY_REMEDY,
            id="runs.E003",
        )
    elif scheme == "sqlite" and not urlsplit(url).path.strip("/"):
        yield Error("HUEY_URL names no file.", hint=_HUEY_REMEDY, id="runs.E003")
    elif scheme == "sqlite" and _is_database_file(urlsplit(url).path):
        yield Error(
            "HUEY_URL names the database's own file: a trigger inside a transaction would "
            "wait for itself.",
            hint="Give Huey a file of its own, or leave HUEY_URL empty.",
            id="runs.E004",
        )


def _is_database_file(path: str) -> bool:
    """Whether a URL's path is the database's file, with or without the slash before it."""
    database = settings.DATABASES["default"]
    if not str(database["ENGINE"]).endswith("sqlite3"):
        return False
    name = Path(database["NAME"]).resolve()
    return name in (Path(path).resolve(), Path(path[1:]).resolve())


def _port() -> Iterator[CheckMessage]:
    port = getattr(settings, "PORT", 8000)
    if not isinstance(port, int) or not 1 <= port <= 65535:
        yield Error(
            f"PORT can't be {port!r}.", hint="A whole number from 1 to 65535.", id="runs.E006"
        )


def _hosts() -> Iterator[CheckMessage]:
    for host in settings.ALLOWED_HOSTS:
        if host != "*" and not re.fullmatch(r"\.?[\w.-]+|\[[0-9a-fA-F:]+\]", host):
            yield Error(
                f"ALLOWED_HOSTS can't contain {host!r}.",
                hint="Host names alone, without scheme, port or path: runs.example.org.",
                id="runs.E007",
            )
    for origin in settings.CSRF_TRUSTED_ORIGINS:
        if not re.fullmatch(r"https?://(\*\.)?([\w.-]+|\[[0-9a-fA-F:]+\])(:\d+)?", origin):
            yield Error(
                f"CSRF_TRUSTED_ORIGINS can't contain {origin!r}.",
                hint="Scheme and host, and a port if it is not the usual one, without a path: "
                "https://runs.example.org.",
                id="runs.E014",
            )


def _proxies() -> Iterator[CheckMessage]:
    for proxy in getattr(settings, "TRUSTED_PROXIES", []):
        try:
            ip_network(proxy)
        except ValueError as error:
            yield Error(
                f"TRUSTED_PROXIES can't contain {proxy!r}: {error}.",
                hint="Addresses or networks, such as 127.0.0.1,10.0.0.0/8.",
                id="runs.E008",
            )
    header = settings.SECURE_PROXY_SSL_HEADER
    if header and not (re.fullmatch(r"HTTP_[A-Z0-9_]+", header[0]) and header[1]):
        yield Error(
            f"SECURE_PROXY_SSL_HEADER can't be {':'.join(header)!r}.",
            hint="A header and its value, such as X-Forwarded-Ssl:on.",
            id="runs.E009",
        )


def _sign_in() -> Iterator[CheckMessage]:
    century = timedelta(days=36_500)
    values = {
        "LOGIN_ATTEMPTS": settings.AXES_FAILURE_LIMIT >= 1,
        "LOGIN_LOCKOUT": timedelta(seconds=1) <= settings.AXES_COOLOFF_TIME <= century,
        "SESSION_AGE": 1 <= settings.SESSION_COOKIE_AGE <= century.total_seconds(),
    }
    for name in (name for name, usable in values.items() if not usable):
        form = "A whole number." if name == "LOGIN_ATTEMPTS" else "A time such as 15m, 12h or 14d."
        limit = "" if name == "LOGIN_ATTEMPTS" else f", and at most {century.days} days"
        yield Error(f"{name} has to be above zero{limit}.", hint=form, id="runs.E010")
    if settings.HSTS_SECONDS < 0:
        yield Error("HSTS_SECONDS can't be below zero.", hint="0 turns it off.", id="runs.E011")


def _policy() -> Iterator[CheckMessage]:
    try:
        name = conf.access_policy()
    except ValueError:
        return  # which is said already
    if problem := _problem_of_policy(name):
        yield Error(
            f"ACCESS_POLICY can't be used: {problem}.",
            hint="Name a subclass of runs.access.AccessPolicy, such as "
            "runs.access.tenants.TenantPolicy. Until then nobody sees a run.",
            id="runs.E012",
        )


def _problem_of_policy(name: str) -> str:
    from runs.access import AccessPolicy

    try:
        policy = import_string(name)
        if not (isinstance(policy, type) and issubclass(policy, AccessPolicy)):
            return f"{name} is no subclass of runs.access.AccessPolicy"
        policy()
    except Exception as error:  # whatever the module does when it is imported
        return f"{name}: {type(error).__name__}: {error}"
    hooks = ("may_trigger", "may_access", "scope_runs")
    waiting = [hook for hook in hooks if iscoroutinefunction(getattr(policy, hook))]
    return f"{waiting[0]} of {name} is async, and would deny everything" if waiting else ""
