"""The look at runs that take long tells those that are lost from those that are slow."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from django.conf import settings
from django.db.models import F

from runs.models import Run
from tests.pages import factories
from tests.support import promises
from tests.support.promises import BROKEN, await_end

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "PATIENCE", 0.2)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], object]], None]:
    """Do something between two looks, which is told how many there were."""
    sleep = time.sleep

    def do(what: Callable[[int], object]) -> None:
        looks = iter(range(10_000))
        monkeypatch.setattr(time, "sleep", lambda seconds: [what(next(looks)), sleep(seconds)])

    return do


def test_a_run_that_nobody_takes_is_lost() -> None:
    run = factories.run("pending")
    with pytest.raises(AssertionError, match=f"(?s){BROKEN}: lost.*{run.pk}.*what workers say"):
        await_end(Run.objects.all(), 0.1, lease=0, about=lambda: "what workers say")


def test_one_that_goes_on_is_slow(meanwhile: Callable[[Callable[[int], object]], None]) -> None:
    run = factories.run("running")

    def go_on(look: int) -> None:
        Run.objects.update(seq=F("seq") + 1)
        if look == 25:
            run.delete()

    meanwhile(go_on)
    with pytest.raises(AssertionError, match="Not within 0") as slow:
        await_end(Run.objects.all(), 0.1, lease=0, about=str)
    assert BROKEN not in str(slow.value)


def test_who_ends_in_time_is_neither() -> None:
    factories.run("completed")
    await_end(Run.objects.all(), 0.1, lease=0, about=str)


def test_ci_tries_nothing_again_that_begins_so() -> None:
    ci = settings.BASE_DIR / ".ci" / "run"
    assert f"--rerun-except '{BROKEN}'" in ci.read_text()
