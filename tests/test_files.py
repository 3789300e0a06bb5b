"""Input files: what names they may have, and how uploads are kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pydantic
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings

from runs.errors import ValidationError
from runs.files import (
    InputFile,
    InputFolder,
    folder_path,
    input_path,
    open_input_file,
    save_upload,
)
from runs.payloads import codec_for, validate_input


class FileInput(pydantic.BaseModel):
    file: InputFile


class FolderInput(pydantic.BaseModel):
    folder: InputFolder = "."


@pytest.fixture
def data_dir(settings: Settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path / "data"
    (tmp_path / "data" / "in").mkdir(parents=True)
    (tmp_path / "data" / "in" / "a.csv").write_text("a")
    (tmp_path / "secret.csv").write_text("secret")
    return tmp_path / "data"


def parsed(name: str) -> str:
    return FileInput(file=name).file


def refusal(name: str) -> str:
    """What the caller is told about a name that is refused."""
    with pytest.raises(ValidationError) as caught:
        validate_input(codec_for(FileInput), {"file": name}, "Input of x")
    assert caught.value.errors[0].path == "file"
    with pytest.raises(ValidationError):
        input_path(name)
    return caught.value.errors[0].message


def test_the_schema_asks_for_a_file() -> None:
    schema = FileInput.model_json_schema()["properties"]["file"]
    assert (schema["type"], schema["format"]) == ("string", "file")
    schema = FolderInput.model_json_schema()["properties"]["folder"]
    assert (schema["type"], schema["format"]) == ("string", "folder")


def test_a_name_below_the_data_directory_is_kept(data_dir: Path) -> None:
    assert parsed("in/a.csv") == "in/a.csv"
    assert input_path("in/a.csv") == data_dir / "in" / "a.csv"
    with open_input_file("in/a.csv") as file:
        assert file.read() == b"a"


def test_an_absolute_or_roundabout_name_becomes_relative(data_dir: Path) -> None:
    assert parsed(str(data_dir / "in" / "a.csv")) == "in/a.csv"
    assert parsed("in/../in/./a.csv") == "in/a.csv"


def test_a_link_inside_the_data_directory_is_followed_once(data_dir: Path) -> None:
    (data_dir / "latest.csv").symlink_to("in/a.csv")
    assert parsed("latest.csv") == "in/a.csv"


def test_the_data_directory_may_itself_be_a_link(
    data_dir: Path, settings: Settings, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path / "link"
    settings.DATA_DIR.symlink_to(data_dir)
    assert parsed(str(tmp_path / "link" / "in" / "a.csv")) == "in/a.csv"


@pytest.mark.parametrize("name", ["../secret.csv", "in/../../secret.csv", "/etc/passwd", "../none"])
def test_a_name_outside_is_refused_whether_there_is_a_file_or_not(
    data_dir: Path, name: str
) -> None:
    message = refusal(name)
    assert f"{name!r} lies outside {data_dir}" in message
    assert "Upload it on the job's page" in message


def test_a_link_to_the_outside_is_refused(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "link.csv").symlink_to(tmp_path / "secret.csv")
    (data_dir / "folder").symlink_to(tmp_path)
    assert "lies outside" in refusal("link.csv")
    assert "lies outside" in refusal("folder/secret.csv")


def test_a_missing_file_is_named_with_the_remedy(data_dir: Path) -> None:
    assert refusal("nope.csv") == (
        "There is no file 'nope.csv'. Upload it on the job's page, "
        f"or put it below {data_dir} and give its name relative to that."
    )


def test_what_is_no_regular_file_is_refused(data_dir: Path) -> None:
    os.mkfifo(data_dir / "pipe")
    assert refusal("in") == "'in' is a folder, where a file is needed."
    assert refusal("pipe") == "'pipe' is no regular file, where a file is needed."


@pytest.mark.parametrize("name", ["", " ", "a\0b", "x" * 300, "{name}"])
def test_odd_names_are_refused(data_dir: Path, name: str) -> None:
    refusal(name)


def test_a_loop_of_links_is_refused(data_dir: Path) -> None:
    (data_dir / "loop").symlink_to("loop")
    assert "'loop'" in refusal("loop")


def test_an_unreadable_file_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # chmod does not stop root
    assert "permission denied" in refusal("in/a.csv")


def test_the_data_directory_is_made_when_needed(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "new" / "data"
    assert FolderInput.model_validate({"folder": "."}).folder == "."
    assert (tmp_path / "new" / "data").is_dir()


def test_a_folder_is_checked_like_a_file(data_dir: Path) -> None:
    assert FolderInput(folder=str(data_dir / "in")).folder == "in"
    assert folder_path(".") == data_dir
    for name in ("..", "none", "in/a.csv", ""):
        with pytest.raises(ValidationError):
            folder_path(name)


def test_an_upload_can_be_used_as_input(data_dir: Path) -> None:
    name = save_upload(SimpleUploadedFile("übersicht 1.csv", b"x" * 200_000))
    assert re.fullmatch(r"uploads/\d{4}-\d\d-\d\d/[0-9a-f]{12}-übersicht_1\.csv", name)
    assert parsed(name) == name
    assert input_path(name).read_bytes() == b"x" * 200_000


def test_uploads_of_one_name_are_kept_apart(data_dir: Path) -> None:
    one = save_upload(SimpleUploadedFile("a.csv", b"1"))
    two = save_upload(SimpleUploadedFile("a.csv", b"2"))
    assert (input_path(one).read_bytes(), input_path(two).read_bytes()) == (b"1", b"2")


@pytest.mark.parametrize(
    "name", ["..", "...", "ä" * 300 + ".csv", "a." + "b" * 300, "a\nb\0c", "☃"]
)
def test_an_upload_may_have_any_name(data_dir: Path, name: str) -> None:
    upload = SimpleUploadedFile("a.csv", b"1")
    upload._name = name  # type: ignore[attr-defined]  # as if Django had let it through
    assert input_path(save_upload(upload)).read_bytes() == b"1"


def test_an_upload_that_breaks_off_leaves_nothing(data_dir: Path) -> None:
    class Broken(SimpleUploadedFile):
        def chunks(self, chunk_size: int | None = None):  # type: ignore[no-untyped-def]
            yield b"some"
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        save_upload(Broken("a.csv", b""))
    assert not [path for path in (data_dir / "uploads").rglob("*") if path.is_file()]
