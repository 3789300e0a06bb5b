"""Real workers to kill, and what their jobs did, as witnessed outside the engine."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from runs.engine.worker import WorkerProcess
from runs.models import EventKind, Run, RunEvent, RunStatus, Step, StepStatus, Worker
from runs.registry import registry
from tests import processes
from tests.support.crashapp import jobs
from tests.support.crashapp.jobs import Plan, StepPlan
from tests.support.promises import BROKEN, await_end


@dataclass
class Body:
    """One execution of a step's body."""

    run: UUID
    step: str
    attempt: int
    pid: int
    token: str
    started: float
    #: The same by the clock on the wall, which the database's times go by.
    started_clock: float
    ended: float | None = None


@dataclass
class Handler:
    """One execution of a run's handler."""

    run: UUID
    attempt: int
    pid: int
    entered: float
    #: When it returned or raised; else the last that was seen of it.
    left: float
    #: "return", the type of what it raised, or None if the process died first.
    how: str | None = None


@dataclass
class Evidence:
    """What the file says."""

    bodies: list[Body] = field(default_factory=list)
    handlers: list[Handler] = field(default_factory=list)

    def of(self, run: Run, step: int | None = None) -> list[Body]:
        """The bodies of a run, or of its n-th step, in the order of their start."""
        name = None if step is None else f"step-{step}"
        return [b for b in self.bodies if b.run == run.pk and name in (None, b.step)]

    def handlers_of(self, run: Run) -> list[Handler]:
        return [h for h in self.handlers if h.run == run.pk]


class Cluster:
    """Workers of one installation, on the database of the test that starts them."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.evidence_file = folder / "evidence.jsonl"
        self.environment = {
            "VAR_DIR": str(folder / "var"),
            "DJANGO_SETTINGS_MODULE": "tests.support.crash_settings",
            "CRASH_EVIDENCE": str(self.evidence_file),
            **environment,
        }
        #: When each process that got a SIGKILL was alive for certain, for the last time. After
        #: thousands of kills an id may come again.
        self.killed: defaultdict[int, list[float]] = defaultdict(list)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, *arguments: str, ready: bool = True, prefix: Sequence[str] = (), **environment: str
    ) -> Process:
        """Start ``manage.py worker``; wait until it takes runs, unless told not to.

        ``prefix`` is a command that starts the one behind it, and becomes it.
        """
        log = self.folder / f"worker-{len(self._processes)}.log"
        env = processes.environment(**{**self.environment, **environment})
        command = [*prefix, sys.executable, processes.MANAGE, "worker", *arguments]
        with log.open("ab") as out:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        self._processes.append(popen)
        worker = Process(self, popen, log)
        if ready:
            worker.await_ready()
        return worker

    def kill(self, pid: int) -> None:
        """SIGKILL; the caller sees to it that this is a process of this cluster."""
        self.killed[pid].append(now())
        os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """End every process that was started."""
        for popen in self._processes:
            if popen.poll() is not None:
                continue  # after thousands of them, the id may be somebody else's by now
            for pid in [*children(popen.pid), popen.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            popen.wait()

    def evidence(self) -> Evidence:
        """What the jobs have left so far."""
        found = Evidence()
        bodies: dict[str, Body] = {}
        handlers: dict[tuple[int, str, int], Handler] = {}
        last: dict[tuple[int, str], Handler] = {}
        for line in self._lines():
            at, pid, run = line["at"], line["pid"], UUID(line["run"])
            place = (pid, line["run"])
            if line["event"] == "enter":
                handler = Handler(run, line["attempt"], pid, at, at)
                handlers[*place, line["thread"]] = last[place] = handler
                found.handlers.append(handler)
                continue
            last[place].left = at
            if line["event"] == "leave":
                handler = handlers.pop((*place, line["thread"]))
                handler.left, handler.how = at, line["how"]
            elif line["event"] == "start":
                body = Body(
                    run, line["step"], line["attempt"], pid, line["token"], at, line["clock"]
                )
                bodies[body.token] = body
                found.bodies.append(body)
            else:
                bodies[line["token"]].ended = at
        return found

    def _lines(self) -> list[dict[str, Any]]:
        if not self.evidence_file.exists():
            return []
        return [json.loads(line) for line in self.evidence_file.read_text().splitlines()]

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 20) -> Any:
        """Wait until ``condition`` holds and return its value; else fail, with the logs."""
        deadline = now() + timeout
        while True:
            if found := condition():
                return found
            if now() > deadline:
                raise AssertionError(f"Not within {timeout:g} s: {what}\n{self.logs()}")
            time.sleep(0.02)

    def body(self, run: Run, step: int, *, count: int = 1, timeout: float = 20) -> Body:
        """Wait for the start of the ``count``-th body of a run's n-th step."""
        self.until(
            lambda: len(self.evidence().of(run, step)) >= count,
            f"body {count} of step {step} of run {run.pk}, which is {state(run)}",
            timeout,
        )
        return self.evidence().of(run, step)[count - 1]

    def completed(self, *runs: Run, timeout: float = 30) -> None:
        """Wait until all of these runs have ended, and see that they are completed."""
        ids = {run.pk for run in runs}
        self.ended(Run.objects.filter(pk__in=ids), timeout)
        completed = Run.objects.filter(pk__in=ids, status=RunStatus.COMPLETED)
        assert completed.count() == len(ids), f"{BROKEN}: {self.unfinished(ids)}"

    def ended(self, runs: QuerySet[Run], timeout: float) -> None:
        """Wait until all of these runs have ended; those to which nothing happens are lost."""
        lease = float(self.environment.get("LEASE_SECONDS", settings.LEASE_SECONDS))
        await_end(runs, timeout, lease=lease, about=self.logs)

    def unfinished(self, ids: Iterable[UUID]) -> str:
        rows = Run.objects.filter(pk__in=list(ids)).exclude(status=RunStatus.COMPLETED)
        return "\n".join([*(state(run) for run in rows), self.logs()])

    def logs(self) -> str:
        """The end of each worker's output."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-2500:]}"
            for path in sorted(self.folder.glob("worker-*.log"))
        )

    def check_durable(self, runs: Iterable[Run]) -> int:
        """Every run ended completed, once; no checkpointed step ran again; no run had two
        workers at once. Returns how many bodies were lost to kills and ran again.
        """
        evidence = self.evidence()
        bodies: dict[tuple[UUID, str], list[Body]] = defaultdict(list)
        for body in evidence.bodies:
            bodies[body.run, body.step].append(body)
        lost = 0
        for run in runs:
            run.refresh_from_db()
            about = f"{BROKEN}: {state(run)}"
            assert run.status == RunStatus.COMPLETED, about
            ends = RunEvent.objects.filter(run=run, kind=EventKind.COMPLETED).count()
            assert ends == 1, f"{about} was completed {ends} times"
            steps = list(Step.objects.filter(run=run).order_by("index"))
            assert [step.index for step in steps] == list(range(len(run.output))), about
            assert [step.output for step in steps] == run.output, about
            for step in steps:
                assert step.status == StepStatus.COMPLETED, about
                lost += self._check_step(step, bodies[run.pk, step.name])
            self._check_one_at_a_time(evidence.handlers_of(run))
        return lost

    def _check_step(self, step: Step, bodies: list[Body]) -> int:
        about = f"{step.name} of run {step.run_id}: {bodies}"
        assert bodies, f"{BROKEN}: completed without a body, {about}"
        # The stored result is that of the last body: none started after the checkpoint.
        assert bodies[-1].token == step.output, f"{BROKEN}: ran again after its checkpoint, {about}"
        lost = bodies[:-1]
        for body in lost:
            assert body.pid in self.killed, f"{BROKEN}: ran again without a kill, {about}"
        extra = f"{BROKEN}: two extra for one kill, {about}"
        assert len({body.pid for body in lost}) == len(lost), extra
        return len(lost)

    def _check_one_at_a_time(self, handlers: list[Handler]) -> None:
        for earlier, later in pairwise(handlers):
            kills = self.killed.get(earlier.pid, [])
            alive_until = min((at for at in kills if at > earlier.left), default=earlier.left)
            about = f"{BROKEN}: two workers: {earlier}, {later}"
            if earlier.how is None:
                assert earlier.pid in self.killed, f"{about}: the process of the first is alive"
                assert later.entered >= alive_until, about
            else:
                assert later.entered >= earlier.left, about


class Process:
    """One started worker."""

    def __init__(self, cluster: Cluster, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.cluster = cluster
        self.popen = popen
        self.pid = popen.pid
        self.log = log
        self.started = now()

    def await_ready(self) -> None:
        """Wait until it takes runs: its row is there, as is its lock file."""

        def is_ready() -> bool:
            assert self.popen.poll() is None, f"it has ended\n{self.cluster.logs()}"
            return bool(self.row and self.is_locked)

        self.cluster.until(is_ready, f"worker {self.pid} is ready")

    @property
    def row(self) -> Worker | None:
        return Worker.objects.filter(pid=self.pid, stopped_at__isnull=True).last()

    @property
    def is_locked(self) -> bool:
        folder = Path(self.cluster.environment["VAR_DIR"]) / "workers"
        return any(folder.glob(f"{self.row.pk}.lock")) if self.row else False

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.cluster.kill(self.pid)
        self.popen.wait()

    def send(self, number: int) -> None:
        self.popen.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 20) -> tuple[int, float]:
        """Send SIGTERM or another signal; the exit code, and how many seconds it took."""
        begun = now()
        self.send(number)
        return self.exit_code(timeout), now() - begun

    def exit_code(self, timeout: float = 20) -> int:
        """Wait for the end."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"Worker {self.pid} has not ended after {timeout:g} s\n{self.cluster.logs()}"
            ) from None


def plan(*steps: StepPlan | float) -> Plan:
    """A plan of steps; a number is a step that takes so many seconds."""
    return Plan(steps=[s if isinstance(s, StepPlan) else StepPlan(seconds=float(s)) for s in steps])


def trigger(*steps: StepPlan | float, asynchronous: bool = False, **options: Any) -> Run:
    """Trigger a run with this plan."""
    definition = jobs.crash_plan_async if asynchronous else jobs.crash_plan
    return definition.trigger(plan(*steps), **options)


def register_jobs() -> None:
    """Make the jobs known to this process too, so that it can trigger them."""
    for definition in jobs.JOBS:
        registry.add(definition)


def forget_jobs() -> None:
    """Leave no trace in the registry for other tests."""
    for definition in jobs.JOBS:
        registry.remove(definition.name)


def state(run: Run) -> str:
    """A run in words, for failures."""
    run.refresh_from_db()
    history = ", ".join(f"{event.kind} {event.actor}" for event in RunEvent.objects.filter(run=run))
    return (
        f"{run.pk} {run.status} owner={run.lease_owner} due={run.due_at} "
        f"recoveries={run.recoveries} attempt={run.attempt} step_count={run.step_count} "
        f"error={run.error} [{history}]"
    )


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are there still."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except (OSError, ValueError):
        return []


def now() -> float:
    """The clock of the evidence."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def drain_in_thread(process: WorkerProcess) -> None:
    """Execute runs in a thread of the test's own process, as one of a worker's threads does."""
    try:
        process.drain()
    finally:
        connection.close()


@contextmanager
def locked_tables(database_url: str = "") -> Iterator[None]:
    """Nobody else can write meanwhile (SQLite), or use the tables of runs (PostgreSQL)."""
    url = database_url or processes.database_url()
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)) as lite:
            lite.isolation_level = None
            lite.execute("BEGIN IMMEDIATE")
            yield
            lite.execute("ROLLBACK")
        return
    with psycopg.connect(url) as server:
        server.execute("LOCK TABLE runs_run, runs_worker IN ACCESS EXCLUSIVE MODE")
        yield
        server.rollback()
