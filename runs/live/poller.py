"""The thread that looks at the database while anybody watches, whatever they watch."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from django.db import Error, connections

from runs.live.probe import Probe

logger = logging.getLogger(__name__)

_MAX_PAUSE = 5.0

#: Seconds between questions whether anything was written; from news to the next question; and
#: from such a sign to the look, so that what it is a sign of is committed.
_PROBE_PAUSE = 0.025
_BUSY_PAUSE = 0.1
_COMMIT_PAUSE = 0.005

#: So many watchers are told at a time. Seconds until the next: the event loop then answers whoever
#: has asked for something meanwhile, and not only after all have been told.
_GROUP = 20
_GROUP_PAUSE = 0.002


class Ended(Exception):
    """This subscription tells no more: the process stops."""


class Watcher(Protocol):
    """Who is told. Belongs to the event loop that it was made in."""

    loop: asyncio.AbstractEventLoop

    def deliver(self, news: Any) -> None:
        """Take what there is to tell. In the event loop only."""

    def end(self) -> None:
        """Tell no more. In the event loop only."""


W = TypeVar("W", bound=Watcher)


class Look(Protocol[W]):
    """A poller's reading, from its first watcher to its last. In the poller's thread only."""

    has_more: bool

    def at(self, watchers: list[W]) -> Iterable[tuple[W, Any]]:
        """What each is to be told now. If it raises, the next call tells it instead."""


class Poller(ABC, Generic[W]):
    """Tells watchers what changed, from one thread that polls while there are any.

    That thread holds one database connection; watchers hold none. A database that is away
    only makes them wait: the poller goes on where it was.
    """

    #: Seconds between looks, if there is no sign of news before.
    pause = 0.3

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: set[W] = set()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    @abstractmethod
    def new_look(self) -> Look[W]:
        """How the thread that starts now reads."""

    def join(self, watcher: W) -> None:
        """Tell this one too, from the next look on, which comes at once."""
        with self._lock:
            self._watchers.add(watcher)
            if self._thread is None:
                self._thread = threading.Thread(target=self._poll, name="live", daemon=True)
                self._thread.start()
        self._wake.set()

    def leave(self, watcher: W) -> None:
        """Forget a watcher; the poller stops after the last."""
        with self._lock:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._wake.set()

    def close(self) -> None:
        """End every subscription, so that their streams end. From any thread."""
        with self._lock:
            ended, self._watchers = self._watchers, set()
        self._wake.set()
        for watcher in ended:
            _call(watcher.loop, watcher.end)

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    @property
    def is_polling(self) -> bool:
        return self._thread is not None

    def _poll(self) -> None:
        look, probe = self.new_look(), Probe()
        pause = self.pause
        try:
            while watchers := self._present():
                # Cleared before looking: whoever joins meanwhile wakes the next look.
                self._wake.clear()
                try:
                    probe.has_changed()  # what comes from here on is news
                    news = list(look.at(watchers))
                    _tell(news)
                    pause = self.pause
                    if not look.has_more:
                        self._rest(probe, busy=bool(news))
                except Exception as error:
                    pause = _after_error(error, pause)
                    self._wake.wait(pause)
        finally:
            connections.close_all()

    def _rest(self, probe: Probe, *, busy: bool) -> None:
        """Until something was written, somebody joins, or it is time to look anyway."""
        end = time.monotonic() + self.pause
        if busy and self._wake.wait(_BUSY_PAUSE):
            return
        while time.monotonic() < end and not self._wake.wait(_PROBE_PAUSE):
            if probe.has_changed():
                self._wake.wait(_COMMIT_PAUSE)
                return

    def _present(self) -> list[W]:
        with self._lock:
            if not self._watchers:
                self._thread = None
            return list(self._watchers)


def _tell(told: Iterable[tuple[Watcher, Any]]) -> None:
    by_loop = defaultdict(list)
    for watcher, news in told:
        by_loop[watcher.loop].append((watcher, news))
    for loop, all_of_it in by_loop.items():
        for start in range(0, len(all_of_it), _GROUP):
            if start:
                time.sleep(_GROUP_PAUSE)
            _call(loop, _deliver, all_of_it[start : start + _GROUP])


def _deliver(group: list[tuple[Watcher, Any]]) -> None:
    for watcher, news in group:
        watcher.deliver(news)


def _call(
    loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object
) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        logger.debug("The event loop of a watcher is closed")


def _after_error(error: Exception, pause: float) -> float:
    """Log it and return how long to rest."""
    if isinstance(error, Error):
        logger.warning("Live updates wait for the database: %s", error)
    else:
        logger.error("Live updates failed and try again", exc_info=error)
    connections.close_all()
    return min(pause * 2, _MAX_PAUSE)
