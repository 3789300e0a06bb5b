"""Every setting of this package, with its default.

Settings are plain names in Django's settings module, read when they are used, so
``override_settings`` works. ``checks.py`` validates them at start-up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings

_DURATION = re.compile(r"([0-9]+)([dhm])")
_LABEL_KEY = re.compile(r"[A-Za-z0-9_./-]{1,100}")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_LONGEST = timedelta(days=36_500)

#: Runs that one worker may execute at a time.
MOST_THREADS = 1_000

_LONGEST_NAME = 100  # as there is room in the tables


def parse_duration(text: str) -> timedelta:
    """Parse ``30d``, ``12h`` or ``90m``.

    Raises ValueError for anything else, for zero, and for more than a century, as no calendar
    goes back for ever.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a duration such as 30d, 12h or 90m (zero is refused)")
    try:
        found = timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        found = timedelta.max
    if found > _LONGEST:
        raise ValueError(f"{text[:40]!r} is longer than {_LONGEST.days}d")
    return found


def _positive_int(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ValueError(f"{value!r} is not a whole number of at least 1")
    return int(value)


def _concurrency(value: Any) -> int:
    threads = _positive_int(value)
    if threads > MOST_THREADS:
        raise ValueError(f"{value!r} is more than {MOST_THREADS}: start more workers instead")
    return threads


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value or value < 0:
        raise ValueError(f"{value!r} is not a whole number of at least 0")
    return int(value)


def _positive_float(value: Any) -> float:
    if isinstance(value, bool) or not float(value) > 0:
        raise ValueError(f"{value!r} is not a number above 0")
    return float(value)


def _lease(value: Any) -> float:
    seconds = _positive_float(value)
    if seconds < 3:
        raise ValueError(f"{value!r} is below 3 seconds, too short to be renewed in time")
    return seconds


def _retention(value: Any) -> timedelta | None:
    return None if value in (None, "") else parse_duration(str(value))


def _release(value: Any) -> str:
    name = str(value)
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"{name[:20] + '…'!r} is longer than {_LONGEST_NAME} characters")
    return name


def _dotted_name(value: Any) -> str:
    if not isinstance(value, str) or "." not in value:
        raise ValueError(f"{value!r} is not the dotted name of a class, such as site.access.Policy")
    return value


def _label_key(value: Any) -> str:
    if not isinstance(value, str) or not _LABEL_KEY.fullmatch(value):
        raise ValueError(f"{value!r} is not the key of a label: letters, digits and -_./")
    return value


@dataclass(frozen=True)
class Setting:
    """A name in Django's settings, its default, and how its value is read."""

    name: str
    default: Any
    parse: Callable[[Any], Any]

    def read(self) -> Any:
        """The parsed value. Raises ValueError or TypeError if it is not usable."""
        return self.parse(getattr(settings, self.name, self.default))


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("VAR_DIR", "var", Path),
        Setting("DATA_DIR", "var/data", Path),
        Setting("HUEY_URL", "", str),
        Setting("RELEASE", "", _release),
        Setting("DATABASE_POOL_SIZE", 10, _whole),
        Setting("WORKER_CONCURRENCY", 4, _concurrency),
        Setting("LEASE_SECONDS", 30, _lease),
        Setting("SHUTDOWN_SECONDS", 8, _positive_float),
        Setting("MAX_RECOVERIES", 5, _positive_int),
        Setting("RETAIN_RUNS", None, _retention),
        Setting("MAX_INPUT_BYTES", 1_000_000, _positive_int),
        Setting("MAX_RESULT_BYTES", 10_000_000, _positive_int),
        Setting("ACCESS_POLICY", "runs.access.AccessPolicy", _dotted_name),
        Setting("TENANT_LABEL", "tenant", _label_key),
        Setting("MAX_LOG_BYTES", 20_000, _positive_int),
    )
}


def var_dir() -> Path:
    """Where this installation writes. Default: ``var``."""
    path: Path = SETTINGS["VAR_DIR"].read()
    return path


def data_dir() -> Path:
    """Where jobs find files that users upload or name. Default: ``var/data``."""
    path: Path = SETTINGS["DATA_DIR"].read()
    return path


def huey_url() -> str:
    """Where Huey keeps its messages; empty for the default of the database in use."""
    url: str = SETTINGS["HUEY_URL"].read()
    return url


def release() -> str:
    """Name of the deployed release, kept with each run. Default: empty."""
    name: str = SETTINGS["RELEASE"].read()
    return name


def worker_concurrency() -> int:
    """How many runs one worker process executes at a time. Default: 4."""
    count: int = SETTINGS["WORKER_CONCURRENCY"].read()
    return count


def lease_seconds() -> float:
    """How long a claim holds without renewal, in seconds. Default: 30."""
    seconds: float = SETTINGS["LEASE_SECONDS"].read()
    return seconds


def shutdown_seconds() -> float:
    """How long a stopping worker waits for steps to end, in seconds. Default: 8."""
    seconds: float = SETTINGS["SHUTDOWN_SECONDS"].read()
    return seconds


def max_recoveries() -> int:
    """How often in a row a run may lose its worker without completing a step. Default: 5."""
    count: int = SETTINGS["MAX_RECOVERIES"].read()
    return count


def retain_runs() -> timedelta | None:
    """How long terminal runs are kept; None keeps them. Default: None."""
    age: timedelta | None = SETTINGS["RETAIN_RUNS"].read()
    return age


def max_input_bytes() -> int:
    """Largest input of a run, as JSON in bytes. Default: 1,000,000."""
    size: int = SETTINGS["MAX_INPUT_BYTES"].read()
    return size


def max_result_bytes() -> int:
    """Largest result of a step or output of a run, as JSON in bytes. Default: 10,000,000."""
    size: int = SETTINGS["MAX_RESULT_BYTES"].read()
    return size


def max_log_bytes() -> int:
    """Largest message, and data, of a log line in characters; longer is cut. Default: 20,000."""
    size: int = SETTINGS["MAX_LOG_BYTES"].read()
    return size


def access_policy() -> str:
    """Dotted name of the class that decides who may do what. Default: permissions alone do."""
    name: str = SETTINGS["ACCESS_POLICY"].read()
    return name


def tenant_label() -> str:
    """Key of the label by which ``TenantPolicy`` tells tenants apart. Default: ``tenant``."""
    key: str = SETTINGS["TENANT_LABEL"].read()
    return key
