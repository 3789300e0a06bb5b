"""The image and compose.yaml, as far as they can be tried without Docker."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from runs.models import Run, RunStatus, Worker
from tests import processes
from tests.deploy.image import Image, compose
from tests.docs.blocks import ROOT
from tests.docs.runner import environment_names
from tests.processes import until

GIVEN = {"SECRET_KEY": "k" * 50, "POSTGRES_PASSWORD": "secret"}
OURS = ("migrate", "web", "worker")


def test_the_image_has_all_that_the_site_needs() -> None:
    image = Image.described()
    copied = {source for source, _ in image.copied}
    tracked = subprocess.run(
        ["git", "ls-tree", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True,
        check=True,
    ).stdout.split()  # fmt: skip
    for_people = {"docs", "tests", "LICENSE", "Makefile", "pyproject.toml", "requirements-dev.txt"}
    left = {n for n in tracked if not n.startswith(".") and not n.endswith(".md")} - for_people
    assert left - {"Dockerfile", "compose.yaml", "tools"} == copied
    assert image.other["USER"] == "durably", "not root"
    assert image.other["VOLUME"] == image.environment["VAR_DIR"]
    assert set(image.environment) - {"PYTHONUNBUFFERED"} <= environment_names()


def test_the_composition_is_of_one_piece() -> None:
    found = compose(**GIVEN)
    services = found["services"]
    for name in OURS:
        service = services[name]
        assert service["image"] == "durably"
        assert set(service["environment"]) <= environment_names()
        assert service["volumes"] == [f"var:{Image.described().other['VOLUME']}"]
        for needed, how in service["depends_on"].items():
            tells = {
                "service_healthy": "healthcheck" in services[needed],
                "service_completed_successfully": services[needed]["restart"] == "no",
            }
            assert tells[how["condition"]]
    grace = int(services["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > settings.SHUTDOWN_SECONDS
    volumes = {each.partition(":")[0] for s in services.values() for each in s.get("volumes", ())}
    assert volumes == set(found["volumes"])
    for name, service in services.items():
        assert service["restart"] in ("no", "unless-stopped")
        assert name in OURS or ":" in service["image"], "a version"


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_it_starts_only_with_its_secrets(missing: str) -> None:
    with pytest.raises(KeyError):
        compose(**{name: value for name, value in GIVEN.items() if name != missing})


def test_its_connections_are_enough() -> None:
    """For the workers that it starts, ten times over, and a web server."""
    services = compose(**GIVEN)["services"]
    slots = int(services["worker"]["environment"]["WORKER_CONCURRENCY"])
    workers = services["worker"]["deploy"]["replicas"] * 10
    allowed = int(services["postgres"]["command"][-1].removeprefix("max_connections="))
    assert workers * (slots + 3) + settings.DATABASE_POOL_SIZE + 10 <= allowed


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
def test_what_the_containers_would_do(redis_server: str, tmp_path: Path) -> None:
    """In the folder that the image would have, with the addresses of the servers here."""
    image, services = Image.described(), compose(**GIVEN)["services"]
    app = tmp_path / "app"
    app.mkdir()
    image.build(app)
    with Containers(image, app, services, tmp_path / "var", redis_server).up() as up:
        probe = image.here(up.port_as_here(services["web"]["healthcheck"]["test"][1:]))
        until(lambda: subprocess.run(probe, check=False).returncode == 0, "a healthy web server")
        count = services["worker"]["deploy"]["replicas"]
        until(lambda: Worker.objects.filter(stopped_at=None).count() == count, "the workers")
        command = ["trigger", "process-order", '{"order_id": "order_123"}', "--wait"]
        assert up.run(command) == 0
        assert Run.objects.get().status == RunStatus.COMPLETED
    assert Worker.objects.filter(stopped_at=None).count() == 0


class Containers:
    """The services that are made of the image."""

    def __init__(
        self, image: Image, app: Path, services: dict[str, Any], var: Path, redis_url: str
    ) -> None:
        self._image = image
        self._app = app
        self._services = services
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = str(free.getsockname()[1])
        self._environment = {
            "PATH": os.environ["PATH"],
            **image.environment,
            **{name: str(value or "") for name, value in services["web"]["environment"].items()},
            "DATABASE_URL": processes.database_url(),
            "HUEY_URL": redis_url,
            "VAR_DIR": str(var),
            "PORT": self._port,
        }

    def port_as_here(self, words: list[str]) -> list[str]:
        return [word.replace(":8000", f":{self._port}") for word in words]

    def run(self, command: list[str]) -> int:
        """A one-off container; its exit code."""
        return self._start(command).wait(60)

    @contextmanager
    def up(self) -> Iterator[Containers]:
        """``docker compose up``, and ``down`` in the end: every process leaves in order."""
        assert self.run(self._services["migrate"]["command"]) == 0
        count = self._services["worker"]["deploy"]["replicas"]
        names = ["web", *["worker"] * count]
        started = [self._start(self._services[name]["command"]) for name in names]
        try:
            yield self
        finally:
            codes = [processes.end(process) for process in started]
        assert codes == [0] * len(codes)

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._image.start(command),
            cwd=self._app,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
