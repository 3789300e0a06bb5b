"""Hash the files of a folder, each in a step of its own, and find those that are the same."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import defaultdict
from pathlib import Path

from pydantic import BaseModel, Field

from runs import Step, job
from runs.files import InputFolder, folder_path

CHUNK = 1024 * 1024
MAX_FILES = 20_000  # their names are the result of one step, and their digests the output
MAX_STEP_NAME = 500


class ChecksumInput(BaseModel):
    folder: InputFolder = Field(
        default=".", description="Below the data directory; . for all of it."
    )


class Listing(BaseModel):
    files: list[str]
    unreadable: list[str]


class FileDigest(BaseModel):
    path: str
    size: int = 0
    sha256: str | None = None
    problem: str | None = None


class ChecksumReport(BaseModel):
    """SHA-256 of each file, as ``sha256sum`` gives it; paths are relative to the folder.

    In a path, backslashes, control characters and bytes that are not UTF-8 are written
    as ``\\x`` and two hexadecimal digits.
    """

    folder: str
    files: int
    bytes: int
    digests: dict[str, str]
    duplicates: list[list[str]]
    unreadable: list[str]


@job(name="checksum-files")
def checksum_files(step: Step, payload: ChecksumInput) -> ChecksumReport:
    """Hash each file below a folder with SHA-256 and find files with the same content.

    Symbolic links are not followed. What can't be read is reported and left out.
    """
    listing = step.run("list-files", list_files, step, payload.folder)
    digests: list[FileDigest] = []
    for path in listing.files:
        digests.append(step.run(step_name(path), hash_file, step, payload.folder, path))
        step.progress(len(digests), len(listing.files), path)
    return report(payload.folder, listing, digests)


def list_files(step: Step, folder: str) -> Listing:
    """The regular files below a folder, in the order of their bytes."""
    root = folder_path(folder)
    files: list[str] = []
    unreadable: list[str] = []

    def note(error: OSError) -> None:
        path = to_text(str(Path(error.filename).relative_to(root)))
        unreadable.append(path)
        step.log.warn(f"Folder {path} can't be read: {error.strerror}", {"path": path})

    for place, _, names in os.walk(root, onerror=note):
        step.raise_if_cancelled()
        paths = [Path(place, name) for name in names]
        files += [str(path.relative_to(root)) for path in paths if is_regular(path)]
        if len(files) > MAX_FILES:
            raise ValueError(
                f"There are more than {MAX_FILES:,} files below {folder!r}. Name a folder in it."
            )
    files.sort(key=os.fsencode)
    return Listing(files=[to_text(path) for path in files], unreadable=sorted(unreadable))


def hash_file(step: Step, folder: str, path: str) -> FileDigest:
    """SHA-256 of one file, or why there is none."""
    digest, size = hashlib.sha256(), 0
    try:
        # A link or a pipe that has taken the file's place since it was listed is not opened.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(folder_path(folder) / to_path(path), flags), "rb") as file:
            while chunk := file.read(CHUNK):
                step.raise_if_cancelled()
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        problem = error.strerror or type(error).__name__
        step.log.warn(f"File {path} can't be read: {problem}", {"path": path})
        return FileDigest(path=path, problem=problem)
    return FileDigest(path=path, size=size, sha256=digest.hexdigest())


def report(folder: str, listing: Listing, found: list[FileDigest]) -> ChecksumReport:
    digests = {file.path: file.sha256 for file in found if file.sha256 is not None}
    same: defaultdict[str, list[str]] = defaultdict(list)
    for path, digest in digests.items():
        same[digest].append(path)
    return ChecksumReport(
        folder=folder,
        files=len(digests),
        bytes=sum(file.size for file in found),
        digests=digests,
        duplicates=[paths for paths in same.values() if len(paths) > 1],
        unreadable=listing.unreadable + [file.path for file in found if file.sha256 is None],
    )


def step_name(path: str) -> str:
    """A name of its own for the step of a file, however long its path is."""
    name = f"hash:{path}"
    if len(name) <= MAX_STEP_NAME:
        return name
    ending = f"…{hashlib.sha256(path.encode()).hexdigest()}"
    return name[: MAX_STEP_NAME - len(ending)] + ending


def is_regular(path: Path) -> bool:
    """Whether there is a file of its own: no link, pipe, socket or device."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def to_text(path: str) -> str:
    """A path as text that can be stored and shown: any name at all, on one line."""
    escaped = re.sub(rb"[\x00-\x1f\x7f\\]", lambda odd: b"\\x%02x" % odd[0][0], os.fsencode(path))
    return escaped.decode("utf-8", "backslashreplace")


def to_path(text: str) -> str:
    """The path that ``to_text`` wrote so."""
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda odd: bytes.fromhex(odd[1].decode()), text.encode())
    return os.fsdecode(raw)
