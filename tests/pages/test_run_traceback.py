"""A traceback for people: the last error first, the engine's frames folded."""

from __future__ import annotations

import traceback

from runs.dashboard.traceback import Fold, Frame, read_traceback

TEXT = """Traceback (most recent call last):
  File "/srv/shop/gateway.py", line 7, in connect
    socket.connect(address)
    ~~~~~~~~~~~~~~^^^^^^^^^
TimeoutError: timed out

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/site/runs/engine/executor.py", line 58, in _outcome
    value = _call(definition, execution)
  File "/site/runs/engine/executor.py", line 86, in _call
    return handler(*arguments)
  File "/usr/lib/python3/site-packages/shop/jobs.py", line 41, in order
    step.run("pay", charge)
  File "/site/runs/engine/step.py", line 102, in run
    value = fn(*args, **kwargs)
  File "/srv/shop/jobs.py", line 22, in charge
    raise CardError("no funds") from error
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
shop.CardError: no funds
on two lines
"""


def test_the_last_error_comes_first_and_its_cause_after_it() -> None:
    trace = read_traceback(TEXT)
    assert [(section.link, section.error) for section in trace.sections] == [
        ("", "shop.CardError: no funds"),
        ("caused by", "TimeoutError: timed out"),
    ]
    assert trace.sections[0].notes == "on two lines"


def test_frames_of_the_engine_are_folded_and_counted() -> None:
    parts = read_traceback(TEXT).sections[0].parts
    assert parts[0] == Fold("/site/runs/engine/executor.py", 2)
    assert [type(part) for part in parts] == [Fold, Frame, Fold, Frame]
    assert read_traceback(TEXT).folded == 3
    every = read_traceback(TEXT, all_frames=True)
    assert len(every.sections[0].parts) == 5
    assert every.folded == 0


def test_the_line_that_raised_is_marked_without_its_carets() -> None:
    frames = [p for p in read_traceback(TEXT).sections[0].parts if isinstance(p, Frame)]
    assert [frame.raised for frame in frames] == [False, True]
    assert frames[1].code == ['    raise CardError("no funds") from error']
    assert frames[0].path == "shop/jobs.py"


def test_an_error_of_the_engine_marks_the_line_that_led_to_it() -> None:
    text = TEXT.replace("/srv/shop/jobs.py", "/site/runs/engine/execution.py")
    frames = [p for p in read_traceback(text).sections[0].parts if isinstance(p, Frame)]
    assert [(frame.function, frame.raised) for frame in frames] == [("order", True)]


def test_what_can_not_be_read_stays_as_it_is() -> None:
    for text in ("", "Traceback: line 1", "The traceback can't be made: KeyError"):
        assert read_traceback(text).sections == []
        assert read_traceback(text).text == text


def test_every_line_of_a_real_traceback_is_kept() -> None:
    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])

    try:
        deep(20)
    except ExceptionGroup as error:
        text = "".join(traceback.format_exception(error))
    trace = read_traceback(text)
    kept = trace.text if not trace.sections else trace.sections[0].error
    assert "several" in kept
