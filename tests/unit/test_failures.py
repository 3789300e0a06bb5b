"""What is kept of an exception."""

from __future__ import annotations

from runs.engine.failures import MAX_MESSAGE, MAX_TRACEBACK, Failure


def failure(error: BaseException) -> Failure:
    try:
        raise error
    except BaseException as caught:
        return Failure.of(caught)


def test_type_message_and_traceback_are_kept() -> None:
    found = failure(LookupError("no order 5"))
    assert (found.type, found.message) == ("LookupError", "no order 5")
    assert found.traceback.startswith("Traceback (most recent call last):")
    assert "raise error" in found.traceback
    assert str(found) == "LookupError: no order 5"


def test_causes_are_in_the_traceback() -> None:
    error = ValueError("outer")
    error.__cause__ = LookupError("inner")
    assert "inner" in failure(error).traceback


def test_what_is_too_long_is_cut() -> None:
    found = failure(ValueError("x" * 1_000_000))
    assert len(found.message) < MAX_MESSAGE + 100
    assert len(found.traceback) < MAX_TRACEBACK + 200


def test_a_type_with_a_long_name_fits_its_column() -> None:
    assert len(failure(type("E" * 500, (Exception,), {})()).type) <= 200


def test_failures_that_look_alike_share_a_fingerprint() -> None:
    def print_of(message: str, step: str | None = "s") -> str:
        return failure(ValueError(message)).fingerprint("job", step)

    assert print_of("order 5 not found") == print_of("order 77 not found")
    assert print_of("no 'a' in 0x7f") == print_of("no 'b' in 0x80")
    assert print_of("run 01a203a5-d4e4-722d-b8fb-6b536952653f") == print_of(
        "run 02b203a5-d4e4-722d-b8fb-6b536952653f"
    )
    assert print_of("x", "row-1") == print_of("x", "row-2")
    assert print_of("order not found") != print_of("order not paid")
    assert print_of("x", "a") != print_of("x", "b")
    assert print_of("x", None) != print_of("x", "b")
    error = failure(ValueError("x"))
    assert error.fingerprint("one", None) != error.fingerprint("two", None)
    assert failure(KeyError("x")).fingerprint("j", None) != error.fingerprint("j", None)


def test_a_fingerprint_fits_its_column_whatever_the_text() -> None:
    assert len(failure(ValueError("\ud800" * 10)).fingerprint("job", "\ud800")) == 32
