"""Web and workers behind PgBouncer in transaction mode: each transaction has another session."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runs.models import Run
from tests import processes
from tests.faults.installation import Installation
from tests.faults.invariants import check_invariants
from tests.faults.servers import RedisServer, free_port, unprivileged
from tests.processes import until
from tests.services import Missing, pgbouncer_path, skip_or_fail
from tests.support.crash import Cluster, trigger

pytestmark = pytest.mark.postgres

#: Fewer than the threads that ask, so that a session serves now this one, now that.
_SESSIONS = 3

_CONFIG = """
[databases]
* = host={host} port={server_port} user={user} {password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 200
"""


class PgBouncer:
    """A pooler before the server of the test's database."""

    def __init__(self, folder: Path) -> None:
        self._program = pgbouncer_path()
        server = urlsplit(processes.database_url())
        port = free_port()
        self.url = f"postgres://somebody@127.0.0.1:{port}{server.path}"
        self._config, self._log = folder / "pgbouncer.ini", folder / "log"
        text = _CONFIG.format(
            host=server.hostname,
            server_port=server.port or 5432,
            user=server.username,
            password=f"password={server.password}" if server.password else "",
            port=port,
            sessions=_SESSIONS,
        )
        self._config.write_text(text)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, str(self._config)], stdout=log, stderr=log, **unprivileged()
            )
        until(lambda: "process up" in self._log.read_text(), "the pooler listens")

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@pytest.fixture
def pooler(transactional_db: None) -> Iterator[PgBouncer]:
    # Not in the test's own folder, into which only who runs the tests may look.
    with tempfile.TemporaryDirectory(prefix="durably-pooler-") as folder:
        Path(folder).chmod(0o755)
        try:
            found = PgBouncer(Path(folder))
        except Missing as missing:
            skip_or_fail(missing)
            raise
        try:
            found.start()
            yield found
        finally:
            found.stop()


def test_runs_complete_behind_a_pooler_also_when_a_worker_dies(
    pooler: PgBouncer, redis: RedisServer, cluster: Cluster
) -> None:
    behind = {"DATABASE_URL": pooler.url, "DATABASE_POOLER": "1", "HUEY_URL": redis.url}
    code, _, said = processes.manage("migrate", env=processes.environment(**behind))
    assert code == 0, said
    with Installation(cluster, **behind, LEASE_SECONDS="3") as site:
        other = cluster.start("--concurrency", "4")
        long = [trigger(*[0.1] * 20) for _ in range(8)]
        cluster.body(long[0], 3)
        for _ in range(10):
            answer = site.post("/api/jobs/crash-plan/trigger", {"input": {"steps": [{}] * 5}})
            assert answer.status == 201, answer
        other.kill()
        assert site.get("/runs/").status == 200
        runs = list(Run.objects.all())
        assert len(runs) == 18
        cluster.completed(*runs)
    cluster.check_durable(runs)
    check_invariants()
    for log in (site.worker.log, other.log, site.web_log):
        assert "prepared statement" not in log.read_text()
