"""A running installation: web and worker processes, people, and jobs that wait for a test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Permission, User
from django.db import transaction

import runs
from runs import models
from runs.engine import jobsync, statistics
from runs.registry import registry
from tests import processes
from tests.processes import until
from tests.support.browserapp import jobs

SETTINGS = "tests.support.browser_settings"
PASSWORD = "a long and good one"

#: What each kind of person may do.
ROLES: dict[str, Sequence[str]] = {
    "operator": ("view_run", "trigger_run", "operate_run", "delete_run"),
    "viewer": ("view_run",),
    "stranger": (),
}

#: All that runs leave behind, workers and jobs excepted.
_TRACES = (
    models.BulkItem,
    models.BulkAction,
    models.FailureActivity,
    models.FailureGroup,
    models.Activity,
    models.LogEntry,
    models.Step,
    models.Label,
    models.RunEvent,
    models.Run,
)

for _definition in jobs.JOBS:
    registry.remove(_definition.name)  # defining them has made them known, also to other tests


class Part:
    """One process of the installation, which can be ended and started again."""

    def __init__(self, *arguments: str, log: Path, settings: str = SETTINGS) -> None:
        self._arguments = arguments
        self._log = log
        self._settings = settings
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return processes.start(
            *self._arguments, log=self._log, DJANGO_SETTINGS_MODULE=self._settings
        )

    def start(self) -> None:
        """Start it again."""
        self.process = self._start()

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM."""
        processes.end(self.process)

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")


class Site:
    """Web and worker on the database of the tests."""

    def __init__(self, folder: Path) -> None:
        for definition in jobs.JOBS:
            registry.add(definition)
        jobsync.sync_jobs()
        self.people = {name: _person(name, may) for name, may in ROLES.items()}
        jobs.GATES.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = int(found.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.web = Part("web", "--port", str(self.port), log=folder / "web.log")
        self.worker = Part("worker", log=folder / "worker.log")
        self._await_parts()

    def _await_parts(self) -> None:
        until(self.answers, "an answer of the web process")
        until(self.works, "a worker that takes runs")

    def restart_web(self) -> None:
        """Start the web process again, and wait until it answers."""
        self.web.start()
        self._await_parts()

    def restart_worker(self) -> None:
        """Start the worker again, and wait until it takes runs."""
        self.worker.start()
        self._await_parts()

    def close(self) -> None:
        """End both processes."""
        (jobs.GATES / jobs.EVERY).touch()
        self.web.stop()
        self.worker.stop()
        for definition in jobs.JOBS:
            registry.remove(definition.name)
        shutil.rmtree(jobs.GATES)

    def answers(self) -> bool:
        """Whether pages come."""
        try:
            with urllib.request.urlopen(f"{self.url}/login/", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def works(self) -> bool:
        """Whether the worker reports."""
        pid = self.worker.process.pid
        return models.Worker.objects.filter(pid=pid, stopped_at__isnull=True).exists()

    def script(self, *parts: jobs.Part | str, **more: Any) -> models.Run:
        """Trigger a scripted run; a text is a part of that name. ``more`` are trigger's options
        and those of the script.
        """
        script = {name: more.pop(name) for name in ("order", "output") if name in more}
        listed = [jobs.Part(name=part) if isinstance(part, str) else part for part in parts]
        return runs.trigger("scripted", jobs.Script(parts=listed, **script), **more)

    def open(self, gate: str) -> None:
        """Let the parts that wait for this gate go on."""
        (jobs.GATES / gate).touch()

    def status(self, run: models.Run | UUID | str) -> str:
        """The run's status now."""
        id = run.pk if isinstance(run, models.Run) else run
        return models.Run.objects.values_list("status", flat=True).get(pk=id)

    def await_status(self, status: str, *found: models.Run) -> None:
        """Wait until all these runs have it."""
        ids = [run.pk for run in found]
        rows = models.Run.objects.filter(pk__in=ids, status=status)
        until(lambda: rows.count() == len(ids), f"{status}: {found}")

    def await_bulk(self, id: UUID) -> None:
        """Wait until a bulk action is over."""
        action = models.BulkAction.objects.filter(pk=id, finished_at__isnull=False)
        until(action.exists, f"bulk action {id} is over")

    def await_released(self, run: models.Run) -> None:
        """Wait until the run's body has stopped."""
        held = models.Run.objects.filter(pk=run.pk, lease_owner__isnull=False)
        until(lambda: not held.exists(), f"{run} is released")

    def await_log(self, run: models.Run, message: str) -> None:
        """Wait until the run has logged it."""
        found = models.LogEntry.objects.filter(run=run, message=message)
        until(found.exists, f"{run} logs {message!r}")

    def await_idle(self) -> None:
        """Wait until nothing is under way."""
        active = models.Run.objects.filter(status__in=("pending", "running", "waiting"))
        until(lambda: not active.exists(), "no run is active")

    def count(self) -> None:
        """Let the overview and the failures know what has happened up to now."""
        statistics.advance()

    def wipe(self) -> None:
        """End and forget all runs, as if there had never been one."""
        (jobs.GATES / jobs.EVERY).touch()
        active = models.Run.objects.exclude(status__in=("completed", "failed", "cancelled"))
        for run in active:
            try:
                runs.cancel(run, actor="tests")
            except runs.errors.ConflictError:
                pass  # it has just ended
        held = models.Run.objects.filter(lease_owner__isnull=False)
        until(lambda: not held.exists(), "no run is held")
        with transaction.atomic():
            for model in _TRACES:
                model._default_manager.all()._raw_delete("default")
            models.Job.objects.update(paused_at=None, paused_by="", pause_reason="")
        for gate in jobs.GATES.iterdir():
            gate.unlink()


def _person(name: str, may: Sequence[str]) -> User:
    user, _ = User.objects.get_or_create(username=name)
    user.set_password(PASSWORD)
    user.save()
    found = Permission.objects.filter(codename__in=may, content_type__app_label="runs")
    assert found.count() == len(may)
    user.user_permissions.set(found)
    return user
