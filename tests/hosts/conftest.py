"""Three hosts on a network of their own, with PostgreSQL on a fourth."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command

from tests import processes
from tests.hosts.network import Host, Network
from tests.hosts.servers import Postgres
from tests.support import crash

#: The shortest lease that the settings allow, in seconds.
LEASE = "3"


class Machines:
    """The network, the server, and the workers on the hosts."""

    def __init__(self, network: Network, cluster: crash.Cluster, hosts: list[Host]) -> None:
        self.network = network
        self.cluster = cluster
        self.hosts = hosts

    def work(self, host: Host, *arguments: str, **environment: str) -> crash.Process:
        """Start a worker on a host, and wait until it is there."""
        worker = self.begin_work(host, *arguments, **environment)
        self.cluster.until(lambda: worker.row, f"the worker on {host.name}")
        return worker

    def begin_work(self, host: Host, *arguments: str, **environment: str) -> crash.Process:
        """Start a worker on a host."""
        mine = {"VAR_DIR": str(host.var), **environment}
        return self.cluster.start(*arguments, ready=False, prefix=host.prefix, **mine)

    def serve(self, host: Host, **environment: str) -> subprocess.Popen[bytes]:
        """Start a web server on a host, at port 8000, and wait until it is ready."""
        mine = {"ALLOWED_HOSTS": "*", **environment}
        command = [sys.executable, processes.MANAGE, "web", "--host", host.address]
        web = self.popen(host, *command, "--port", "8000", **mine)
        assert web.stdout is not None
        assert b"Serving" in web.stdout.readline()
        return web

    def popen(self, host: Host, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start anything on a host; it ends with the host."""
        mine = {**self.cluster.environment, "VAR_DIR": str(host.var), **environment}
        return subprocess.Popen(
            [*host.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=processes.environment(**mine),
            cwd=settings.BASE_DIR,
        )


@pytest.fixture(scope="module")
def lan() -> Iterator[tuple[Network, Postgres]]:
    """The network and its server, with an empty installation."""
    folder = Path(tempfile.mkdtemp(prefix="durably-hosts-"))
    network = Network(folder)
    try:
        data = folder / "postgres"
        data.mkdir()
        shutil.chown(data, "postgres")
        folder.chmod(0o755)
        server = Postgres(network.server, data)
        try:
            yield network, server
        finally:
            server.stop()
    finally:
        network.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def installation(lan: tuple[Network, Postgres], django_db_blocker: Any) -> Iterator[Network]:
    """The network; this process uses the database of its server."""
    network, server = lan
    with django_db_blocker.unblock(), server.for_this_process():
        call_command("migrate", verbosity=0)
        crash.register_jobs()
        try:
            yield network
        finally:
            crash.forget_jobs()


@pytest.fixture
def machines(installation: Network, tmp_path: Path) -> Iterator[Machines]:
    """Three hosts, whose workers end with the test."""
    cluster = crash.Cluster(
        tmp_path, DATABASE_URL=Postgres.url, HUEY_URL="", LEASE_SECONDS=LEASE, SECRET_KEY="k" * 50
    )
    hosts = [installation.add() for _ in range(3)]
    try:
        yield Machines(installation, cluster, hosts)
    finally:
        cluster.close()
        for host in hosts:
            installation.remove(host)
