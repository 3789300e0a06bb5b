"""The services that some tests need, and where they are.

``python -m tests.services postgres`` prints the URL of the server, or says on stderr that
there is none and exits with 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from urllib.parse import quote

import psycopg
import pytest
import redis


class Missing(Exception):
    """A service is not here; the message says where it was looked for."""


def postgres_url() -> str:
    """A PostgreSQL server where databases may be made, by DATABASE_URL or PGHOST and its kind."""
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        user = quote(os.environ.get("PGUSER", "postgres"), safe="")
        password = quote(os.environ.get("PGPASSWORD", ""), safe="")
        host = quote(os.environ.get("PGHOST", "127.0.0.1"), safe="")
        port = os.environ.get("PGPORT", "5432")
        database = quote(os.environ.get("PGDATABASE", "postgres"), safe="")
        login = f"{user}:{password}" if password else user
        url = f"postgres://{login}@{host}:{port}/{database}"
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError as error:
        where = url.rpartition("@")[2]
        raise Missing(f"no PostgreSQL at {where}: {str(error).splitlines()[0]}") from error
    return url


def redis_url() -> str:
    """A Redis server, by REDIS_URL."""
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=3) as client:
            client.ping()
    except redis.RedisError as error:
        raise Missing(f"no Redis at {url.rpartition('@')[2]}: {error}") from error
    return url


def chromium_path() -> str:
    """The browser's executable, by CHROMIUM or any of its usual names."""
    # The shell is the same engine without a window, and takes two thirds of the time.
    names = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
    for name in filter(None, [os.environ.get("CHROMIUM", ""), *names]):
        if path := shutil.which(name):
            return path
    raise Missing("no Chromium on PATH (or named by CHROMIUM)")


def nginx_path() -> str:
    """The web server that the documentation puts in front of the product."""
    for name in ("nginx", "/usr/sbin/nginx"):
        if path := shutil.which(name):
            return path
    raise Missing("no nginx on PATH")


def pgbouncer_path() -> str:
    """The pooler that the documentation puts in front of PostgreSQL."""
    for name in ("pgbouncer", "/usr/sbin/pgbouncer"):
        if path := shutil.which(name):
            return path
    raise Missing("no pgbouncer on PATH")


def curl_path() -> str:
    """What the documentation calls the API with."""
    if path := shutil.which("curl"):
        return path
    raise Missing("no curl on PATH")


def npm_path() -> str:
    """npm, which comes with Node.js."""
    if (path := shutil.which("npm")) and shutil.which("node"):
        return path
    raise Missing("no npm and node on PATH")


def network_namespaces() -> None:
    """Hosts of their own on this machine."""
    name = f"durably-probe-{os.getpid()}"
    try:
        for word in ("add", "del"):
            subprocess.run(["ip", "netns", word, name], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise Missing("no ip on PATH (Debian's package iproute2)") from error
    except subprocess.CalledProcessError as error:
        raise Missing(f"network namespaces: {error.stderr.strip()}") from error


def skip_or_fail(missing: Missing) -> None:
    """Skip the test on a developer's machine; fail it in CI, where everything must be."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{missing}. CI=true allows no skip.", pytrace=False)
    pytest.skip(str(missing))


def main() -> int:
    find = {"postgres": postgres_url, "redis": redis_url, "chromium": chromium_path}
    try:
        sys.stdout.write(find[sys.argv[1]]() + "\n")
    except Missing as missing:
        sys.stderr.write(f"Skipped: {missing}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
