"""Takes the pictures of the README, and of every page in both themes and two widths.

``python -m tests.support.screenshots [FOLDER]``, or ``make pictures``, with a database of its
own, invented runs, and a worker that runs some more. Pictures of all pages go into FOLDER,
if one is named; those of the README into ``docs/images``.
"""

from __future__ import annotations

import csv
import os
import shutil
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Literal

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.conf import settings  # noqa: E402 (after the setup)
from django.contrib.auth.models import User  # noqa: E402
from django.db import transaction  # noqa: E402
from django.utils import timezone  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

import runs  # noqa: E402
from runs import models, startup  # noqa: E402
from runs.bench.seed import seed  # noqa: E402
from runs.engine import bulk, statistics  # noqa: E402
from runs.models import Run  # noqa: E402
from tests import services  # noqa: E402
from tests.processes import until  # noqa: E402
from tests.support.site import Part  # noqa: E402
from tests.support.streams import session_of  # noqa: E402

Theme = Literal["light", "dark"]

THEMES: tuple[Theme, ...] = ("light", "dark")
WIDTHS = (1280, 390)
INVENTED_RUNS = 20_000
SHARE = 0.5  # of the import in the README's picture

_SETTINGS = "durably_site.settings"


class Scene:
    """Runs to be seen, and who sees them."""

    def __init__(self) -> None:
        startup.prepare_database()
        self.operator = User.objects.create_superuser("ada", password="a long and good one")
        self._invent()
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = int(found.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        folder = Path(settings.VAR_DIR)
        self._parts = [
            Part("web", "--port", str(port), log=folder / "web.log", settings=_SETTINGS),
            Part("worker", log=folder / "worker.log", settings=_SETTINGS),
        ]
        until(lambda: models.Worker.objects.filter(pid=self._parts[1].process.pid), "a worker")
        until(self._answers, "an answer of the web process")
        self._make()
        # The invented runs' jobs, as if they were in the code that the worker runs.
        models.Job.objects.update(registered=True)
        models.Worker.objects.update(jobs=list(models.Job.objects.values_list("name", flat=True)))

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/login/", timeout=5):
                return True
        except OSError:
            return False

    def close(self) -> None:
        """End web and worker."""
        for part in self._parts:
            part.stop()

    def _invent(self) -> None:
        """A month of runs, but for those of the job in the README's picture."""
        seed(INVENTED_RUNS)
        theirs = Run.objects.filter(job="import-csv")
        with transaction.atomic():
            for model in (models.Step, models.LogEntry, models.RunEvent, models.Label):
                model._default_manager.filter(run__in=theirs).delete()
            theirs.delete()
            # What waits and runs is made by the real worker.
            Run.objects.filter(status__in=("pending", "running", "waiting")).update(
                status="completed",
                finished_at=timezone.now(),
                due_at=None,
                lease_owner=None,
                lease_expires_at=None,
                current_step=None,
            )
        models.Worker.objects.update(
            started_at=timezone.now() - timedelta(hours=7),
            heartbeat_at=timezone.now() + timedelta(minutes=10),  # they stay for the pictures
        )

    def _make(self) -> None:
        who = self.operator
        earlier = [import_of("customers-2024.csv", 190_000)]
        await_end(*earlier)
        earlier.append(import_of("customers-2025.csv", 200_000))
        order = runs.get_job("process-order")
        made = [
            order.trigger(
                {"order_id": f"order_{8_700 + number}"}, labels={"tenant": "acme"}, actor=who
            )
            for number in range(12)
        ]
        self.files = runs.trigger("checksum-files", {"folder": "."}, actor=who)
        await_end(*earlier, *made, self.files)
        self.completed = earlier[1]
        self.failed, retried = made[4], made[6]
        runs.retry(retried, actor=who, reason="The bank is back")
        await_end(retried)
        slow = {"sections": 60, "seconds": 900}
        key = "report:2026-11"
        self.holder = runs.trigger("slow-report", slow, concurrency_key=key, actor=who)
        until(lambda: Run.objects.filter(pk=self.holder.pk, status="running"), "a report")
        self.waiting = runs.trigger("slow-report", slow, concurrency_key=key, actor=who)
        later = runs.trigger("slow-report", slow, run_at=timezone.now() + timedelta(hours=3))
        self.cancelled = runs.trigger("slow-report", slow, actor=who)
        runs.cancel(self.cancelled, actor=who, reason="Started twice by mistake")
        assert later.status == "pending"
        self.action = bulk.create(
            "retry", run_ids=[str(run.pk) for run in made[:4]], actor=who, reason="Bank is back"
        )
        until(lambda: bulk.get(self.action.pk).is_over, "the bulk action is over")
        statistics.advance()
        self.failed.refresh_from_db()

    @contextmanager
    def import_under_way(self, rows: int = 200_000) -> Iterator[Run]:
        """A running import, past the share that the picture shows; it is cancelled after."""
        run = import_of("customers-2026.csv", rows)
        until(lambda: progress(run) > SHARE, "the import has come so far", timeout=300)
        yield run
        runs.cancel(run, actor=self.operator, reason="Wrong file")


def import_of(name: str, rows: int) -> Run:
    """Trigger an import of an invented file."""
    path = Path(settings.DATA_DIR) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "name", "city", "since"])
            for number in range(1, rows + 1):
                row = [number, f"Customer {number}", "Zürich", "2019-04-01"]
                writer.writerow(row[:3] if number % 27_000 == 9_000 else row)
    return runs.trigger(
        "import-csv",
        {"file": name, "batch_size": 10_000, "required": ["id", "name"]},
        labels={"tenant": "acme", "source": "crm"},
        actor=User.objects.get(username="ada"),
    )


def progress(run: Run) -> float:
    """How far it is, from 0 to 1."""
    found = Run.objects.values_list("progress", flat=True).get(pk=run.pk) or {}
    return float(found.get("current", 0)) / float(found.get("total") or 1)


def await_end(*found: Run) -> None:
    """Wait until none is active."""
    ids = [run.pk for run in found]
    active = Run.objects.filter(pk__in=ids, finished_at__isnull=True)
    until(lambda: not active.exists(), "the runs are over", timeout=120)


def pages(scene: Scene) -> dict[str, str]:
    """Every page by the name of its picture."""
    group = scene.failed.error_fingerprint
    return {
        "overview": "/",
        "overview-week": "/?range=week",
        "runs": "/runs/",
        "runs-search": "/runs/?q=order_8704",
        "runs-none": "/runs/?q=nothing+like+this",
        "run-running": f"/runs/{scene.holder.pk}/",
        "run-waiting": f"/runs/{scene.waiting.pk}/",
        "run-failed": f"/runs/{scene.failed.pk}/",
        "run-failed-step": f"/runs/{scene.failed.pk}/?step=process-payment",
        "run-completed": f"/runs/{scene.completed.pk}/?step=batch-7",
        "run-completed-table": f"/runs/{scene.completed.pk}/?steps=table",
        "run-cancelled": f"/runs/{scene.cancelled.pk}/",
        "jobs": "/jobs/",
        "job-import": "/jobs/import-csv/",
        "job-order": "/jobs/process-order/",
        "failures": "/failures/",
        "failure": f"/failures/{group}/",
        "workers": "/workers/",
        "storage": "/storage/?days=14",
        "bulk": "/bulk/",
        "bulk-action": f"/bulk/{scene.action.pk}/",
        "not-found": "/nowhere/",
        "password": "/password/",
    }


def selected(page: Page) -> None:
    """Some rows of the list are selected."""
    for box in page.locator("#run-rows input[name=run]").all()[:3]:
        box.check()


def confirming(page: Page) -> None:
    """The page that asks before it acts on many."""
    selected(page)
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("button", name="Back to the runs").or_(
        page.get_by_role("link", name="Back to the runs")
    ).wait_for()


def shortcuts(page: Page) -> None:
    """The sheet of shortcuts."""
    page.keyboard.press("?")


def cancelling(page: Page) -> None:
    """The question before a cancel."""
    page.get_by_text("Cancel…").click()


def fail_to_sign_in(page: Page) -> None:
    """Until it is refused, whatever the password."""
    while page.get_by_label("Password").count():
        page.get_by_label("User name").fill("mallory")
        page.get_by_label("Password").fill("guess")
        page.get_by_role("button", name="Sign in").click()


#: Pictures that need a hand: the page, and what is done on it.
STAGED: dict[str, tuple[str, Callable[[Page], None]]] = {
    "runs-selected": ("/runs/?status=failed", selected),
    "bulk-confirm": ("/runs/?status=failed", confirming),
    "shortcuts": ("/runs/", shortcuts),
    "run-cancel-menu": ("run-running", cancelling),
}


class Photographer:
    """A browser of somebody who may see everything."""

    def __init__(self, browser: Browser, scene: Scene) -> None:
        self._browser = browser
        self._scene = scene
        self._session = session_of(scene.operator)

    @contextmanager
    def page(self, theme: Theme, width: int, *, signed_in: bool = True) -> Iterator[Page]:
        """A page in this theme and width."""
        context = self._browser.new_context(
            base_url=self._scene.url,
            color_scheme=theme,
            reduced_motion="reduce",
            timezone_id="Europe/Zurich",
            viewport={"width": width, "height": 900 if width > 500 else 844},
        )
        cookies = {"zone": "Europe/Zurich"}
        if signed_in:
            cookies["sessionid"] = self._session
        for name, value in cookies.items():
            context.add_cookies([{"name": name, "value": value, "url": self._scene.url}])
        yield context.new_page()
        context.close()

    def readme(self, folder: Path, run: Run) -> None:
        """The run page in both themes, at the same moment as far as possible."""
        folder.mkdir(parents=True, exist_ok=True)
        with self.page("light", 1280) as page:
            show(page, f"/runs/{run.pk}/")
            for theme in THEMES:
                page.emulate_media(color_scheme=theme)
                page.screenshot(path=folder / f"run-{theme}.png")

    def everything(self, folder: Path) -> None:
        """Every page, whole, in both themes and widths."""
        folder.mkdir(parents=True, exist_ok=True)
        found = pages(self._scene)
        for width in WIDTHS:
            with self.page("light", width) as page:
                for name, path in found.items():
                    show(page, path)
                    shoot(page, folder, name, width)
                for name, (path, stage) in STAGED.items():
                    show(page, found.get(path, path))
                    stage(page)
                    shoot(page, folder, name, width, whole=False)
            with self.page("light", width, signed_in=False) as page:
                show(page, "/login/")
                shoot(page, folder, "login", width)
                fail_to_sign_in(page)
                shoot(page, folder, "locked", width)


def show(page: Page, path: str) -> None:
    """Open a page and wait until it is as it stays."""
    page.goto(path)
    live = page.locator("[data-live-button]:not([hidden])")
    if page.locator("[data-refresh]").count() and live.count():
        live.filter(has_text="Live").first.wait_for()
    page.locator("#tabs[hx-trigger^=load]").wait_for(state="detached")  # the counts came


def shoot(page: Page, folder: Path, name: str, width: int, *, whole: bool = True) -> None:
    """One picture in each theme."""
    window = page.viewport_size
    assert window is not None
    if whole:
        # Not full_page: what keeps to the window's edge would lie in the middle of the picture.
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": width, "height": height})
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        page.screenshot(path=folder / f"{name}-{width}-{theme}.png")
    page.set_viewport_size(window)
    page.emulate_media(color_scheme="light")


def main() -> None:
    """Take the pictures."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    images = Path(settings.BASE_DIR) / "docs" / "images"
    scene = Scene()
    try:
        with sync_playwright() as playwright:
            sandbox = [] if os.getuid() else ["--no-sandbox"]
            browser = playwright.chromium.launch(
                executable_path=services.chromium_path(),
                args=["--disable-dev-shm-usage", *sandbox],
            )
            photographer = Photographer(browser, scene)
            with scene.import_under_way() as run:
                photographer.readme(images, run)
            if len(sys.argv) > 1:
                photographer.everything(Path(sys.argv[1]))
            browser.close()
    finally:
        scene.close()
        shutil.rmtree(os.environ["DURABLY_TEST_DIR"], ignore_errors=True)


if __name__ == "__main__":
    main()
