"""The pool of threads that execute runs: Huey's consumer, which does without Huey if it must.

One thread, the doorman, takes Huey's messages, and only while a thread is free to act on one:
what a busy worker can't do is left to others. So a worker listens once, however many threads
it has. They can also be woken from inside the process, as the sweep does when it finds a run
that is due: Huey's storage may be away or broken, and a message may go to a worker that does
not know the job. A lost message costs a second, never a run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from huey import Huey
from huey.api import Task
from huey.consumer import Consumer, Scheduler
from huey.consumer import Worker as HueyWorker

logger = logging.getLogger(__name__)

#: How long the doorman waits between looks into a queue that can't block, in seconds: from, to.
_POLL_DELAYS = (0.002, 0.005)

#: How long he leaves a storage alone that failed, and how often he says so, in seconds.
_STORAGE_PAUSE = 1.0
_COMPLAINT_PAUSE = 60.0

#: How long threads wait before they look whether the pool stops, in seconds.
_WAIT_SECONDS = 1.0


class Pool(Consumer):  # type: ignore[misc]
    """So many threads; each looks for runs when a message comes, or when it is woken."""

    def __init__(self, huey: Huey, slots: int, drain: Callable[[], None]) -> None:
        lock = threading.Lock()
        self._drain = drain
        self._work: deque[Callable[[], object]] = deque()
        self._idle = 0
        self._has_work = threading.Condition(lock)
        self._has_idle = threading.Condition(lock)
        super().__init__(
            huey, workers=slots, worker_type="thread", periodic=False, health_check_interval=1
        )

    def wake(self) -> None:
        """Let every free thread look for runs, without a message."""
        with self._has_work:
            self._work.extend([self._drain] * (self.workers - len(self._work)))
            self._has_work.notify_all()

    def hand(self, message: Task) -> bool:
        """Let a free thread act on a message; False if there is none, or the pool stops."""
        with self._has_work:
            if not self._is_free():
                return False
            # Not by way of huey.execute(), which asks the storage whether it was revoked.
            self._work.append(message.execute)
            self._has_work.notify()
            return True

    def next_work(self) -> Callable[[], object] | None:
        """For a thread of the pool: wait for something to do; None if nothing comes for long."""
        with self._has_work:
            if not self._work:
                self._idle += 1
                self._has_idle.notify()
                self._has_work.wait(_WAIT_SECONDS)
                self._idle -= 1
            return self._work.popleft() if self._work else None

    def await_idle(self) -> bool:
        """Wait for a free thread; False if none is for long."""
        with self._has_idle:
            return self._has_idle.wait_for(self._is_free, _WAIT_SECONDS)

    def close(self) -> None:
        """Let each thread end after what it does; those that wait end at once."""
        self.stop_flag.set()
        with self._has_work:
            self._has_work.notify_all()

    def _is_free(self) -> bool:
        return self._idle > len(self._work) and not self.stop_flag.is_set()

    def _create_worker(self) -> _Slot:
        return _Slot(self)

    def _create_scheduler(self) -> _Doorman:
        return _Doorman(self)

    def _set_signal_handlers(self) -> None:
        """The process has its own."""


class _Slot(HueyWorker):  # type: ignore[misc]
    """What one thread does, again and again."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.huey, pool.stop_flag, pool.default_delay, pool.max_delay, 1)
        self._pool = pool

    def loop(self, now: Any = None) -> None:
        work = self._pool.next_work()
        if work is not None:
            work()


class _Doorman(Scheduler):  # type: ignore[misc]
    """In the place of Huey's scheduler, for which ``due_at`` leaves nothing to do."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.huey, pool.stop_flag, pool.scheduler_interval, periodic=False)
        self._pool = pool
        self._delay = _POLL_DELAYS[0]
        self._complain_at = 0.0

    def loop(self, now: Any = None) -> None:
        if not self._pool.await_idle():
            return
        try:
            message = self.huey.dequeue()
            if message is not None and not self._pool.hand(message):
                self.huey.enqueue(message)  # all are busy meanwhile: for another worker
        except Exception as error:
            self._complain(error)
            self.stop_flag.wait(_STORAGE_PAUSE)
            return
        self._rest(found=message is not None)

    def _rest(self, *, found: bool) -> None:
        first, longest = _POLL_DELAYS
        if found or self.huey.storage.blocking:
            self._delay = first
            return
        self.stop_flag.wait(self._delay)
        self._delay = min(self._delay * 1.1, longest)

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        if now < self._complain_at:
            return
        self._complain_at = now + _COMPLAINT_PAUSE
        logger.warning(
            "Huey's storage fails; runs are found without it, up to a second later: %s", error
        )
