"""The web application, for any ASGI server."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from durably_site.one_thread import Application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "durably_site.settings")


def pool_connections(size: int) -> None:
    """Let requests on PostgreSQL share up to ``size`` connections; 0 gives each one its own.

    Each request runs in a thread of its own, so that a connection of its own would be opened
    and closed with it.
    """
    database: Any = settings.DATABASES["default"]
    if size and database["ENGINE"].endswith("postgresql"):
        # The check replaces a connection that the server has closed meanwhile.
        database["CONN_HEALTH_CHECKS"] = True
        # Who gets none for so many seconds is answered 503. As long the pool tries to connect,
        # with growing pauses, before it gives up until the next request asks: left to itself,
        # it would pause for minutes, also when the server is back.
        options = {"min_size": 1, "max_size": size, "timeout": 5, "reconnect_timeout": 5}
        database["OPTIONS"] = {**database.get("OPTIONS", {}), "pool": options}


def behind_proxies(application: Any, trusted: list[str]) -> Any:
    """The application, which takes address and scheme of a client from these proxies' headers."""
    return ProxyHeadersMiddleware(application, trusted) if trusted else application


# Seconds. A request's thread gives its turn away whenever it waits for the database. Threads that
# have much to compute, such as the one that sends to streams, would keep it five times as long.
_SWITCH_INTERVAL = 0.001

sys.setswitchinterval(_SWITCH_INTERVAL)
django.setup(set_prefix=False)
pool_connections(settings.DATABASE_POOL_SIZE)
# What is loaded by now stays to the end: a full garbage collection need not look through it each
# time, during which, for a quarter of a second, nobody would be answered.
import_module(settings.ROOT_URLCONF)
gc.collect()
gc.freeze()
application = behind_proxies(Application(), settings.TRUSTED_PROXIES)
