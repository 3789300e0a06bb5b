"""Settings and their values."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from runs import conf


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("1m", timedelta(minutes=1)),
    ],
)
def test_a_length_of_time_is_a_number_and_a_unit(text: str, length: timedelta) -> None:
    assert conf.parse_duration(text) == length


@pytest.mark.parametrize(
    "text", ["0d", "0h", "00m", "10s", "5", "d", "", "-1d", "1.5d", "1d12h", "1 d", "1D", "\uff11d"]
)
def test_any_other_is_refused_zero_too(text: str) -> None:
    with pytest.raises(ValueError, match="30d, 12h or 90m"):
        conf.parse_duration(text)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("WORKER_CONCURRENCY", 4),
        ("LEASE_SECONDS", 30),
        ("SHUTDOWN_SECONDS", 8),
        ("MAX_RECOVERIES", 5),
        ("RETAIN_RUNS", None),
    ],
)
def test_the_defaults_are_those_that_are_promised(name: str, default: Any) -> None:
    assert conf.SETTINGS[name].default == default


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER_CONCURRENCY", 0),
        ("WORKER_CONCURRENCY", 1.5),
        ("WORKER_CONCURRENCY", True),
        ("LEASE_SECONDS", 1),
        ("LEASE_SECONDS", -1),
        ("SHUTDOWN_SECONDS", 0),
        ("MAX_RECOVERIES", 0),
        ("RETAIN_RUNS", "0d"),
        ("RETAIN_RUNS", "soon"),
        ("MAX_INPUT_BYTES", 0),
    ],
)
def test_a_value_out_of_range_is_refused(settings: Settings, name: str, value: Any) -> None:
    setattr(settings, name, value)
    with pytest.raises(ValueError, match=r".+"):
        conf.SETTINGS[name].read()


def test_settings_are_read_when_they_are_used(settings: Settings) -> None:
    settings.LEASE_SECONDS = 77
    assert conf.lease_seconds() == 77
    settings.RETAIN_RUNS = "2h"
    assert conf.retain_runs() == timedelta(hours=2)
    settings.RETAIN_RUNS = ""
    assert conf.retain_runs() is None
