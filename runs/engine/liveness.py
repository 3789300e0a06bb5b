"""Which workers of this host are alive: a lock file each, released by the kernel.

A process that dies, however, loses its ``flock``. That is right in containers too, where
host names and pids are not. A worker without a file here is another host's: for that one
only the end of its lease tells.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO
from uuid import UUID

from runs import conf


class Lock:
    """This process's lock file."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path = path
        self._file = file

    def release(self) -> None:
        """Remove the file: nobody needs to take over from this worker."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def hold(worker_id: UUID) -> Lock:
    """Make and lock the file of this process's worker."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{worker_id}.lock"
    # Under another name until it is locked, or another worker could take it for a dead one's.
    draft = folder / f"{worker_id}.draft"
    file = draft.open("w")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.write(f"{os.getpid()}\n")
    file.flush()
    draft.rename(path)
    # A child that a job forks off would hold the lock beyond this process's death.
    os.register_at_fork(after_in_child=file.close)
    return Lock(path, file)


def dead_workers() -> list[UUID]:
    """Workers of this host whose process is gone. ``forget`` them once they are dealt with."""
    dead = []
    for path in _folder().glob("*.lock"):
        try:
            with path.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                dead.append(UUID(path.stem))
        except (BlockingIOError, FileNotFoundError):
            continue
        except ValueError:
            continue  # not one of ours
    return dead


def forget(worker_id: UUID) -> None:
    """Remove a dead worker's file."""
    (_folder() / f"{worker_id}.lock").unlink(missing_ok=True)


def _folder() -> Path:
    return conf.var_dir() / "workers"
