"""A data directory and a step for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from tests.jobs.fake_step import FakeStep


@pytest.fixture
def data_dir(settings: Settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()
    return tmp_path / "data"


@pytest.fixture
def step() -> FakeStep:
    return FakeStep()
