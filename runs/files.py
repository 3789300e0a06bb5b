"""Files that jobs read: uploaded or named by people, and kept below one folder, ``DATA_DIR``.

A model with a field of type ``InputFile`` gets a file upload on its job's page. The
value of the field is the file's name, relative to ``DATA_DIR``. It is checked when the
run is triggered and again when it is used: whatever a name says, by ``..``, as an
absolute path or through a symbolic link, nothing outside that folder is opened.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from django.core.files.uploadedfile import UploadedFile
from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from runs import conf
from runs.errors import ValidationError

_MAX_SAFE_NAME = 120  # in bytes; file systems end at 255


def data_root() -> Path:
    """``DATA_DIR``, made if needed, without symbolic links."""
    root = conf.data_dir()
    root.mkdir(parents=True, exist_ok=True)
    return root.resolve()


def input_path(name: str) -> Path:
    """Where the file of that name is. Raises ValidationError if there is no such file."""
    path = _locate(name, "file")
    if not path.exists():
        raise ValidationError(f"There is no file {_shown(name)}. {_remedy('file')}")
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise ValidationError(f"{_shown(name)} is {what}, where a file is needed.")
    if not os.access(path, os.R_OK):
        raise ValidationError(f"The file {_shown(name)} can't be read: permission denied.")
    return path


def open_input_file(name: str) -> BinaryIO:
    """Open the file of that name for reading bytes. Raises ValidationError like ``input_path``."""
    return input_path(name).open("rb")


def folder_path(name: str) -> Path:
    """Where the folder of that name is. Raises ValidationError if there is no such folder."""
    path = _locate(name, "folder")
    if not path.exists():
        raise ValidationError(f"There is no folder {_shown(name)}. {_remedy('folder')}")
    if not path.is_dir():
        raise ValidationError(f"{_shown(name)} is a file, where a folder is needed.")
    return path


def save_upload(upload: UploadedFile[Any]) -> str:
    """Keep an uploaded file; returns its name for an ``InputFile``.

    It is written in chunks and is on the disk when this returns: a run that is stored
    with this name finds its file, whatever happens in between.
    """
    root = data_root()
    folder = root / "uploads" / f"{datetime.now(UTC):%Y-%m-%d}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{secrets.token_hex(6)}-{_safe_name(upload.name or '')}"
    draft = path.with_name(f"{path.name}.part")
    try:
        with draft.open("xb") as file:
            for chunk in upload.chunks():
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    for changed in (folder, folder.parent, root):
        _sync_folder(changed)
    return str(path.relative_to(root))


def _locate(name: str, kind: str) -> Path:
    """The place that ``name`` stands for, which may be empty, but is below ``DATA_DIR``."""
    if not name.strip():
        raise ValidationError(f"A {kind} is needed. {_remedy(kind)}")
    root = data_root()
    try:
        path = (root / name).resolve()
        path.exists()  # also refuses a name that is too long
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a NUL
        raise ValidationError(f"{_shown(name)} is not a usable name: {error}.") from error
    if not path.is_relative_to(root):
        # Not a word about whether there is such a file.
        raise ValidationError(f"{_shown(name)} lies outside {root}. {_remedy(kind)}")
    return path


def _shown(name: str) -> str:
    return repr(name if len(name) <= 200 else f"{name[:200]}…")


def _remedy(kind: str) -> str:
    below = f"below {data_root()} and give its name relative to that"
    return (
        f"Upload it on the job's page, or put it {below}."
        if kind == "file"
        else (f"Put it {below}.")
    )


def _safe_name(name: str) -> str:
    """``name`` without folders and odd characters, short enough for any file system."""
    base = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in base).lstrip(".") or "file"
    stem, dot, ending = kept.rpartition(".")
    if not dot or len(ending.encode()) > 20:
        stem, ending = kept, ""
    room = _MAX_SAFE_NAME - len(ending.encode())
    return stem.encode()[:room].decode(errors="ignore") + dot * bool(ending) + ending


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checked_file(name: str) -> str:
    return _checked(name, input_path)


def _checked_folder(name: str) -> str:
    return _checked(name, folder_path)


def _checked(name: str, find: Callable[[str], Path]) -> str:
    """The name without links and detours, so that a resumed run reads the same file."""
    try:
        return str(find(name).relative_to(data_root()))
    except ValidationError as error:
        raise PydanticCustomError("input_file", "{reason}", {"reason": str(error)}) from error


#: The name of a file below ``DATA_DIR``; a file upload on the job's page.
InputFile = Annotated[
    str, AfterValidator(_checked_file), WithJsonSchema({"type": "string", "format": "file"})
]

#: The name of a folder below ``DATA_DIR``; "." is that folder itself.
InputFolder = Annotated[
    str, AfterValidator(_checked_folder), WithJsonSchema({"type": "string", "format": "folder"})
]
