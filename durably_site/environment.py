"""What is wrong with a variable of the environment, said by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def about(name: str, remedy: str) -> Iterator[None]:
    """Say of what fails in here which variable it is about. Never its value, maybe a password."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{name} can't be used: {error.strerror}. {remedy}") from None
    except (ValueError, LookupError, OverflowError):
        raise ValueError(f"{name} can't be used. {remedy}") from None
