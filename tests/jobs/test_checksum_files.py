"""checksum-files: the digests of sha256sum, for any file that a folder may hold."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import checksum_files as module
from jobs.checksum_files import ChecksumReport, checksum_files, step_name, to_path, to_text
from tests.jobs.fake_step import FakeStep, Killed


def call(step: FakeStep, folder: str = ".") -> ChecksumReport:
    result = checksum_files.call(step, {"folder": folder})
    assert isinstance(result, ChecksumReport)
    return result


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_digests_equal_those_of_sha256sum(data_dir: Path, step: FakeStep) -> None:
    (data_dir / "b" / "c").mkdir(parents=True)
    for name, content in {
        "b/c/x": b"1",
        "b/big": os.urandom(3_000_000),
        "a b": b"",
        "ä": b"2",
    }.items():
        (data_dir / name).write_bytes(content)
    names = ["a b", "b/big", "b/c/x", "ä"]
    told = subprocess.run(
        ["sha256sum", *names], cwd=data_dir, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    result = call(step)
    assert [f"{digest}  {name}" for name, digest in result.digests.items()] == told
    assert (result.files, result.bytes) == (4, 3_000_002)
    assert step.executed == ["list-files", *(f"hash:{name}" for name in names)]


def test_files_of_the_same_content_are_found(data_dir: Path, step: FakeStep) -> None:
    for name, content in {"c": b"same", "a": b"same", "b": b"other"}.items():
        (data_dir / name).write_bytes(content)
    assert call(step).duplicates == [["a", "c"]]


def test_only_the_folder_that_was_named_is_walked(data_dir: Path, step: FakeStep) -> None:
    (data_dir / "in").mkdir()
    (data_dir / "in" / "a").touch()
    (data_dir / "b").touch()
    assert list(call(step, "in").digests) == ["a"]


def test_links_and_pipes_are_left_out(data_dir: Path, tmp_path: Path, step: FakeStep) -> None:
    (tmp_path / "secret").write_text("secret")
    (data_dir / "link").symlink_to(tmp_path / "secret")
    (data_dir / "folder").symlink_to(tmp_path)
    os.mkfifo(data_dir / "pipe")
    (data_dir / "a").touch()
    assert list(call(step).digests) == ["a"]


def replaced_by_nothing(path: Path) -> None:
    path.unlink()


def replaced_by_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [replaced_by_nothing, replaced_by_a_link, replaced_by_a_folder])
def test_a_file_that_is_gone_meanwhile_is_reported(
    data_dir: Path, step: FakeStep, change: Any
) -> None:
    for name in "abc":
        (data_dir / name).write_text(name)
    step.dies_before_checkpoint = "hash:a"
    with pytest.raises(Killed):
        call(step)
    change(data_dir / "b")
    result = call(step)
    assert (list(result.digests), result.unreadable) == (["a", "c"], ["b"])
    assert "File b can't be read" in step.log.warnings()[0]


def test_names_of_any_bytes_are_hashed_and_shown_as_text(data_dir: Path, step: FakeStep) -> None:
    for name in (b"\xff\xfe", b"new\nline", b"back\\xff", "ä".encode(), b"x" * 255):
        (Path(os.fsdecode(os.fsencode(data_dir) + b"/" + name))).write_bytes(name)
    result = call(step)
    assert result.files == 5
    assert set(result.digests) == {
        r"\xff\xfe",
        r"new\x0aline",
        r"back\x5cxff",
        "ä",
        "x" * 255,
    }


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_any_path_comes_back_from_its_text(raw: bytes) -> None:
    text = to_text(os.fsdecode(raw))
    assert os.fsencode(to_path(text)) == raw
    assert text.isprintable() or "\n" not in text
    text.encode()


def test_long_paths_have_step_names_of_their_own() -> None:
    one, two = "d" * 600 + "1", "d" * 600 + "2"
    assert len(step_name(one)) == 500
    assert step_name(one) != step_name(two)
    assert step_name("short") == "hash:short"


def test_too_many_files_are_refused(
    data_dir: Path, step: FakeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    for name in "abc":
        (data_dir / name).touch()
    with pytest.raises(ValueError, match=r"more than 2 files below '\.'\. Name a folder in it"):
        call(step)


def test_a_cancelled_run_stops_in_the_middle_of_a_file(data_dir: Path, step: FakeStep) -> None:
    (data_dir / "a").write_bytes(b"x")
    step.cancelled = True
    with pytest.raises(Killed):
        module.hash_file(step, ".", "a")  # type: ignore[arg-type]
