"""Pollers hear of news between their looks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection

from runs.live import Hub, Topics
from runs.live.probe import Probe
from tests.live.test_hub import heard, make, play
from tests.pages import factories

pytestmark = pytest.mark.django_db(transaction=True)

__all__ = ["play"]


def elsewhere(work: Callable[[], object]) -> None:
    """Do something on another connection."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)


def test_a_probe_notices_what_others_write_and_nothing_else() -> None:
    run = factories.run()
    probe = Probe()
    probe.has_changed()
    assert not probe.has_changed()
    for add in (factories.event, factories.step, factories.log):
        elsewhere(partial(add, run, "started"))
        assert probe.has_changed(), add
        assert not probe.has_changed()


def test_nobody_waits_for_the_next_look(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would come in a minute here."""
    monkeypatch.setattr(Hub, "pause", 60)

    async def scenario(hub: Hub) -> None:
        run = await make(factories.run)
        subscription = hub.subscribe(Topics(all_runs=True))
        await subscription.next(5)
        for _ in range(3):
            event = await make(factories.event, run, "started")
            assert (event.pk, "started") in await heard(subscription)

    play(scenario)
