"""What a power loss leaves of an SQLite database: its files as they are at one moment.

With all processes stopped, what they have written is what the files hold. A disk may lack of that
what nobody has waited for yet: the end of the log, from the last commit on.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from django.db import connections

_ALIAS = "copy"
_HEADER, _FRAME_HEADER = 32, 24  # bytes, of the log and of each page in it
#: Where the index of the log says how many of its pages are moved or about to be
#: (nBackfillAttempted in SQLite's wal.c).
_MOVED = 128


@contextmanager
def frozen(pids: Sequence[int]) -> Iterator[None]:
    """Stop these processes in the middle of whatever they do."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        while not all(_stands_still(pid) for pid in pids):
            time.sleep(0.0005)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    """Whether each of its threads has come out of what it asked the kernel for."""
    try:
        states = [
            path.read_text().rpartition(")")[2].split()[0]
            for path in Path(f"/proc/{pid}/task").glob("*/stat")
        ]
    except (FileNotFoundError, ProcessLookupError):
        return False  # a thread that has ended meanwhile
    assert "Z" not in states, f"process {pid} has died"
    return all(state == "T" for state in states)


def copy(source: Path, target: Path) -> int:
    """The database and its log, without the index of the log, which is memory.

    How many pages of the log somebody has begun to move into the database.
    """
    # By another process: who closes a file gives up all locks that SQLite has on it in this one
    # (section 2.2 of https://www.sqlite.org/howtocorrupt.html).
    target.parent.mkdir()
    index = target.with_name("index")
    files = {source: target, _log_of(source): _log_of(target), _index_of(source): index}
    for file, place in files.items():
        if file.exists():
            subprocess.run(["cp", str(file), str(place)], check=True)
    if not index.exists():
        return 0
    moved: int = struct.unpack_from("=I", index.read_bytes(), _MOVED)[0]
    return moved


def tear(target: Path, dice: random.Random, moved: int) -> None:
    """Spoil or cut off the end of the log, no earlier than behind the last commit but one.

    Each commit waits for the disk before the next one begins, if ``synchronous`` is ``FULL``; and
    pages are moved into the database only once they are on the disk.
    """
    log = bytearray(_log_of(target).read_bytes())
    begin = dice.randint(_certain(log, moved), len(log))
    if dice.random() < 0.5:
        del log[begin:]
    else:
        end = min(begin + dice.choice((1, 512, 4096, 65536)), len(log))
        log[begin:end] = dice.randbytes(end - begin)
    _log_of(target).write_bytes(log)


def _certain(log: bytearray, moved: int) -> int:
    """Where the last commit but one ends in the log, or what is being moved."""
    if len(log) < _HEADER:
        return len(log)
    frame: int = _FRAME_HEADER + struct.unpack_from(">I", log, 8)[0]
    commits = [_HEADER, _HEADER]
    for at in range(_HEADER, len(log) - frame + 1, frame):
        if log[at + 8 : at + 16] != log[16:24]:
            break  # from here on it is of an earlier round
        if struct.unpack_from(">I", log, at + 4)[0]:
            commits.append(at + frame)
    return min(max(commits[-2], _HEADER + moved * frame), len(log))


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _index_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-shm")


@contextmanager
def opened(file: Path) -> Iterator[str]:
    """The alias of the database in that file."""
    default = connections["default"]
    own = {**default.settings_dict, "NAME": str(file)}
    connections[_ALIAS] = default.__class__(own, _ALIAS)
    try:
        yield _ALIAS
    finally:
        connections[_ALIAS].close()
        del connections[_ALIAS]
