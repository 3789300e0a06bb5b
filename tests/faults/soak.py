"""What goes wrong while an installation is at work, and what it uses meanwhile."""

from __future__ import annotations

import http.client
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from django.db import connection

from runs.engine.database import utc_now
from runs.models import LogEntry, Run, Step
from tests.faults.installation import Installation
from tests.support.crash import Process, locked_tables
from tests.support.sse import Event, Parser

#: Of all workers, so that what is frozen for longer is taken over.
LEASE_SECONDS = 3.0

PAGES = ("/", "/runs/", "/runs/?status=failed", "/failures/", "/jobs/toil/", "/workers/",
         "/api/runs", "/api/jobs", "/api/runs?status=running")  # fmt: skip


class Site:
    """Three workers and two web processes, of which one each is never ended."""

    def __init__(self, installation: Installation, dice: random.Random) -> None:
        self.installation = installation
        self.cluster = installation.cluster
        self.steady = installation.worker
        self.steady_web = installation.another_web()
        self.others = [self.cluster.start() for _ in range(2)]
        self.dice = dice

    def _replace(self) -> Process:
        """One of those that may be ended; another one comes in its place."""
        victim = self.others.pop(self.dice.randrange(len(self.others)))
        self.others.append(self.cluster.start(ready=False))
        return victim

    def kills_a_worker(self) -> None:
        self._replace().kill()

    def stops_a_worker(self) -> None:
        assert self._replace().stop()[0] == 0

    def freezes_a_worker(self) -> None:
        """For longer than its lease."""
        worker = self.dice.choice([self.steady, *self.others])
        worker.send(signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + 1)
        worker.send(signal.SIGCONT)

    def restarts_web(self) -> None:
        self.installation.restart_web()

    def loses_the_queue(self) -> None:
        """Whatever Huey has stored."""
        if connection.vendor == "sqlite":
            url = self.cluster.environment["HUEY_URL"]
            for file in Path(url.removeprefix("sqlite:///")).parent.glob("queue.sqlite3*"):
                file.unlink(missing_ok=True)
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'huey%'")
            for [table] in cursor.fetchall():
                cursor.execute(f"DELETE FROM {table}")

    def cuts_off_the_database(self) -> None:
        """On SQLite it is locked for a while; on PostgreSQL all lose their connections."""
        if connection.vendor == "sqlite":
            with locked_tables():
                time.sleep(2)
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND backend_type = 'client backend'"  # others vacuum, which has to come to an end
            )


FAULTS: tuple[Callable[[Site], None], ...] = (
    Site.kills_a_worker,
    Site.restarts_web,
    Site.cuts_off_the_database,
    Site.stops_a_worker,
    Site.loses_the_queue,
    Site.freezes_a_worker,
)


def vacuum_if_nobody_does() -> None:
    """What autovacuum does once a minute, on a server where it is switched off."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SHOW autovacuum")
            if cursor.fetchone() == ("off",):
                cursor.execute("VACUUM (ANALYZE)")


class Visitor:
    """Somebody who looks at pages, and follows what happens to all runs."""

    def __init__(self, site: Site) -> None:
        self._site = site.installation
        self._ports = (self._site.port, site.steady_web.port)
        self._stop = threading.Event()
        self.statuses: Counter[int] = Counter()
        #: What the stream has told: how often each message, progress left out.
        self.told: Counter[int] = Counter()
        #: The same in short, and since when: of what is committed later, nothing may be missing.
        self.heard: set[tuple[str, str, str]] = set()
        self.since: datetime | None = None
        self._threads = [threading.Thread(target=each) for each in (self._look, self._follow)]
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _look(self) -> None:
        count = 0
        while not self._stop.wait(0.3):
            path, count = PAGES[count % len(PAGES)], count + 1
            for port in self._ports:
                self.statuses[self._site.get(path, port).status] += 1

    def _follow(self) -> None:
        parser = Parser()
        while not self._stop.wait(0.2):
            with suppress(OSError, http.client.HTTPException):
                self._read(parser)

    def _read(self, parser: Parser) -> None:
        """Up to the end of one connection, from where the last one ended."""
        asked = http.client.HTTPConnection("127.0.0.1", self._site.port, timeout=30)
        resumed = {"Last-Event-ID": parser.last_id} if parser.last_id else {}
        asked.request("GET", "/api/events", headers={**self._site.token, **resumed})
        answer = asked.getresponse()
        fresh = Parser(last_id=parser.last_id)
        while answer.status == 200 and not self._stop.is_set():
            part = answer.read1(65536)
            if not part:
                break
            for event in fresh.feed(part):
                self._hear(event)
            parser.last_id = fresh.last_id or parser.last_id
        asked.close()

    def _hear(self, event: Event) -> None:
        if event.event == "progress":
            return
        self.since = self.since or utc_now()
        self.told[hash(event)] += 1
        kind, data = event.event, event.data
        what = {"run": "status", "step": "name", "log": "id"}[kind]
        self.heard.add((kind, data["run_id"], str(data[what])))

    def missed(self) -> set[tuple[str, str, str]]:
        """What the stream has not told of runs that are there and were triggered meanwhile: the
        last status of each, its completed steps and its log lines.
        """
        assert self.since is not None, "the stream has told nothing"
        runs = Run.objects.filter(created_at__gt=self.since)
        steps = Step.objects.filter(run__in=runs, status="completed")
        rows = {
            "run": runs.values_list("pk", "status"),
            "step": steps.values_list("run_id", "name"),
            "log": LogEntry.objects.filter(run__in=runs).values_list("run_id", "pk"),
        }
        return {
            (kind, str(run), str(what)) for kind, found in rows.items() for run, what in found
        } - self.heard


@dataclass
class Gauge:
    """Samples of what is used: of each kind of thing, in order."""

    site: Site
    samples: dict[str, list[float]] = field(default_factory=dict)

    def read(self) -> None:
        """Take a sample."""
        found = {**self._of_processes(), **self._of_database()}
        for name, value in found.items():
            self.samples.setdefault(name, []).append(value)

    def _of_processes(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, pid in (
            ("worker", self.site.steady.pid),
            ("web", self.site.steady_web.process.pid),
        ):
            status = dict(
                line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            )
            found[f"{name}: memory, MB"] = int(status["VmRSS"].split()[0]) / 1024
            found[f"{name}: threads"] = int(status["Threads"])
            found[f"{name}: file handles"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return found

    def _of_database(self) -> dict[str, float]:
        if connection.vendor == "sqlite":
            file = Path(str(connection.settings_dict["NAME"]))
            log = file.with_name(f"{file.name}-wal")
            sizes = {"database": file, "its log": log}
            return {f"{name}, MB": path.stat().st_size / 2**20 for name, path in sizes.items()}
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_database_size(current_database()) / 1048576.0, "
                "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())"
            )
            [size, connections] = map(float, cursor.fetchone())
        return {"database, MB": size, "connections": connections}

    def halves(self) -> dict[str, tuple[float, float]]:
        """What was usual in the second quarter, and in the last one.

        The first quarter is left out: then caches fill, and nothing is old enough to be purged.
        """
        found = {}
        for name, values in self.samples.items():
            quarter = len(values) // 4
            early, late = values[quarter : 2 * quarter], values[-quarter:]
            found[name] = (statistics.median(early), statistics.median(late))
        return found
