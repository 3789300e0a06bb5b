"""``manage.py trigger``."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from runs.management.commands.trigger import Command
from runs.models import Run

ORDER = '{"order_id": "order_1"}'
pytestmark = pytest.mark.django_db


def trigger(*arguments: str) -> Run:
    out = io.StringIO()
    call_command("trigger", *arguments, stdout=out, stderr=io.StringIO())
    return Run.objects.get(pk=out.getvalue().strip())


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        call_command("trigger", *arguments, stdout=io.StringIO(), stderr=io.StringIO())
    assert caught.value.returncode == 64
    assert not Run.objects.exists()
    return str(caught.value)


def test_it_prints_the_id_of_the_new_run_and_names_who_triggered_it() -> None:
    run = trigger("process-order", ORDER)
    assert run.input == {"order_id": "order_1"}
    assert run.triggered_by.startswith("shell: ")


def test_the_input_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    path.write_bytes(b"\xef\xbb\xbf" + ORDER.encode())
    assert trigger("process-order", str(path)).input == {"order_id": "order_1"}


def test_the_input_may_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(ORDER.encode())))
    assert trigger("process-order", "-").input == {"order_id": "order_1"}


def test_no_input_is_an_empty_object_for_a_job_that_takes_one() -> None:
    assert trigger("slow-report").input["sections"] == 30


def test_all_options_reach_the_run(settings: Any) -> None:
    settings.TIME_ZONE = "UTC"
    run = trigger(
        "process-order", ORDER, "--label", "shop=berlin", "--label", "vip=a=b", "--priority", "7",
        "--idempotency-key", "i", "--concurrency-key", "c", "--run-at", "2031-05-06T07:08:09",
    )  # fmt: skip
    assert run.labels == {"shop": "berlin", "vip": "a=b"}
    assert (run.priority, run.idempotency_key, run.concurrency_key) == (7, "i", "c")
    assert run.run_at is not None
    assert run.run_at.isoformat() == "2031-05-06T07:08:09+00:00"


def test_coalesce_gives_the_pending_run_of_the_key() -> None:
    first = trigger("process-order", ORDER, "--concurrency-key", "c")
    again = trigger("process-order", ORDER, "--concurrency-key", "c", "--coalesce", "skip")
    assert again == first


def test_a_conflict_is_refused_and_names_the_run_in_the_way() -> None:
    first = trigger("process-order", ORDER, "--concurrency-key", "c")
    with pytest.raises(CommandError, match=str(first.pk)) as caught:
        call_command("trigger", "process-order", ORDER, "--concurrency-key", "c")
    assert caught.value.returncode == 64


def test_an_unknown_job_is_refused_with_the_known_ones() -> None:
    assert "process-order" in refusal("no-such-job")


def test_bad_json_in_a_file_is_refused_with_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    path.write_text('{\n  "order_id": oops\n}')
    assert f"{path}, line 2, column 15" in refusal("process-order", str(path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"order_id": ', "input, line 1, column 14"),
        ('{"order_id": NaN}', "NaN is not a JSON value"),
        ("[" * 100_000, "nested too deeply"),
        ('["' + "1" * 10 + '"]', "input"),
        ("[" + "1" * 5000 + "]", "not JSON"),
    ],
)
def test_bad_inline_json_is_refused(text: str, says: str) -> None:
    assert says in refusal("process-order", text)


def test_a_binary_file_is_refused_with_the_place_of_the_first_bad_byte(tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    path.write_bytes(b"{}\xff")
    assert "byte 0xff at offset 2" in refusal("process-order", str(path))


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "There is no file" in refusal("process-order", str(tmp_path / "no.json"))
    assert "Is a directory" in refusal("process-order", str(tmp_path))


def test_an_input_that_fails_its_schema_is_refused_with_the_path_of_each_field() -> None:
    message = refusal("slow-report", '{"sections": 0, "seconds": "x"}')
    assert "sections:" in message
    assert "seconds:" in message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--label", "novalue"], "novalue"),
        (["--label", "a b=c"], "'a b'"),
        (["--label", "k=1", "--label", "k=2"], "given twice"),
        (["--idempotency-key", ""], "idempotency_key"),
        (["--concurrency-key", ""], "concurrency_key"),
        (["--priority", "99999"], "priority"),
        (["--run-at", "tomorrow"], "ISO 8601"),
        (["--run-at", "0001-01-01T00:00:00+14:00"], "ISO 8601"),
        (["--timeout", "3"], "--timeout needs --wait"),
    ],
)
def test_bad_options_are_refused_by_name(options: list[str], says: str) -> None:
    assert says in refusal("process-order", ORDER, *options)


@pytest.mark.parametrize(
    "arguments", [[], ["process-order", "{}", "--nope"], ["a", "--wait", "--timeout", "-1"]]
)
def test_wrong_usage_exits_with_64_and_not_with_the_code_of_a_cancelled_run(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        Command().run_from_argv(["manage.py", "trigger", *arguments])
    assert stop.value.code == 64
    assert "usage:" in capsys.readouterr().err


def test_an_input_above_the_limit_is_refused(settings: Any) -> None:
    settings.MAX_INPUT_BYTES = 100
    message = refusal("process-order", json.dumps({"order_id": "x" * 100}))
    assert "the limit is 100" in message
