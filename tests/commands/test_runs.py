"""``manage.py runs``."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from runs import trigger
from runs.engine.operations import cancel
from runs.management.commands.runs import Command
from runs.models import LogEntry, Run, RunEvent, Step

pytestmark = pytest.mark.django_db


def runs(*arguments: str) -> str:
    out = io.StringIO()
    call_command("runs", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def runs_json(*arguments: str) -> Any:
    return json.loads(runs(*arguments, "--json"))


def refusal(*arguments: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        runs(*arguments)
    return caught.value


def new_run(order: str = "order_1", **options: Any) -> Run:
    return trigger("process-order", {"order_id": order}, **options)


@pytest.fixture
def failed() -> Run:
    """A run that failed in its second step, as the engine leaves one."""
    run = new_run()
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(
        status="failed",
        error_type="PaymentDeclinedError",
        error_message="The bank said no",
        error_step="process-payment",
        error_traceback="Traceback (most recent call last):\n  boom",
        started_at=now,
        finished_at=now,
        due_at=None,
        step_count=1,
    )
    Step.objects.create(
        run=run, name="fetch-order", index=0, status="completed", seq=2, output={"total": 3},
        started_at=now, finished_at=now,
    )  # fmt: skip
    LogEntry.objects.create(run=run, level="info", message="Hello", created_at=now, seq=3)
    return Run.objects.get(pk=run.pk)


class TestList:
    def test_newest_first_in_a_table(self) -> None:
        first, second = new_run(), new_run()
        lines = runs("list").splitlines()
        assert lines[0].startswith("ID")
        assert [line.split()[0] for line in lines[1:]] == [str(second.pk), str(first.pk)]

    def test_none_is_said(self) -> None:
        assert runs("list") == "No runs.\n"

    def test_filters_narrow_it(self) -> None:
        berlin = new_run(labels={"shop": "berlin"})
        other = trigger("slow-report", {})
        cancel(other)

        def ids(*filters: str) -> list[str]:
            return [item["id"] for item in runs_json("list", *filters)["items"]]

        assert ids("--label", "shop=berlin") == [str(berlin.pk)]
        assert ids("--job", "slow-report") == [str(other.pk)]
        assert ids("--status", "cancelled") == [str(other.pk)]
        assert ids("--status", "cancelled", "--status", "pending") == [
            str(other.pk),
            str(berlin.pk),
        ]
        assert ids("--status", "failed") == []

    def test_the_cursor_goes_on_where_the_page_ended(self) -> None:
        made = [str(new_run().pk) for _ in range(3)]
        first = runs_json("list", "--limit", "2")
        second = runs_json("list", "--limit", "2", "--cursor", first["next_cursor"])
        assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
        assert second["next_cursor"] is None

    def test_payloads_are_not_loaded(self, django_assert_num_queries: Any) -> None:
        new_run()
        new_run()
        with django_assert_num_queries(1) as captured:
            runs("list")
        assert '"input"' not in captured[0]["sql"]


class TestShow:
    def test_shows_steps_log_error_and_history(self, failed: Run) -> None:
        shown = runs("show", str(failed.pk))
        for text in (
            "PaymentDeclinedError: The bank said no (in step process-payment)",
            "fetch-order",
            "Hello",
            "Triggered by code",
            "  boom",
            '{"order_id": "order_1"}',
        ):
            assert text in shown

    def test_gives_it_all_as_json(self, failed: Run) -> None:
        found = runs_json("show", str(failed.pk))
        assert found["error"]["step"] == "process-payment"
        assert found["steps"][0]["output"] == {"total": 3}
        assert found["logs"][0]["message"] == "Hello"
        assert found["history"][0]["kind"] == "triggered"
        assert found["input"] == {"order_id": "order_1"}

    def test_an_id_may_be_cut_to_its_tail(self) -> None:
        run = new_run()
        assert str(run.pk) in runs("show", str(run.pk)[-6:].upper())

    def test_a_tail_that_fits_two_runs_is_refused(self) -> None:
        run = new_run()
        copy = Run.objects.get(pk=run.pk)
        copy.pk = type(run.pk)(int=run.pk.int ^ (1 << 100))
        copy.save(force_insert=True)
        assert "More than one" in str(refusal("show", str(run.pk)[-12:]))

    @pytest.mark.parametrize("id", ["nonsense", "abc", "-", "0" * 33])
    def test_what_is_no_id_is_refused(self, id: str) -> None:
        assert refusal("show", "--", id).returncode == 64

    @pytest.mark.parametrize("id", ["abcdef", "00000000-0000-7000-8000-000000000000"])
    def test_an_unknown_id_is_named(self, id: str) -> None:
        error = refusal("show", id)
        assert id in str(error)
        assert error.returncode == 1


class TestActions:
    def test_retry_queues_a_failed_run_again_in_the_name_of_the_shells_user(
        self, failed: Run
    ) -> None:
        assert "queued again" in runs("retry", str(failed.pk), "--reason", "bank is back")
        failed.refresh_from_db()
        assert (failed.status, failed.attempt) == ("pending", 2)
        event = RunEvent.objects.get(run=failed, kind="retried")
        assert event.actor.startswith("shell: ")
        assert event.reason == "bank is back"

    def test_retrigger_makes_a_new_run_and_names_it(self, failed: Run) -> None:
        said = runs("retrigger", str(failed.pk))
        copy = Run.objects.get(source_id=failed.pk)
        assert str(copy.pk) in said

    def test_cancel_takes_several(self) -> None:
        one, two = new_run(), new_run()
        runs("cancel", str(one.pk), str(two.pk))
        assert set(Run.objects.values_list("status", flat=True)) == {"cancelled"}

    def test_delete_removes_a_run_that_is_over(self, failed: Run) -> None:
        runs("delete", str(failed.pk))
        assert not Run.objects.exists()

    def test_what_one_refuses_leaves_the_others_alone(self, failed: Run) -> None:
        pending = new_run()
        error = refusal("delete", str(pending.pk), str(failed.pk))
        assert error.returncode == 1
        assert f"Run {pending.pk} is pending" in str(error)
        assert Run.objects.get() == pending

    def test_json_tells_what_was_done_and_what_was_refused(self, failed: Run) -> None:
        pending = new_run()
        out = io.StringIO()
        with pytest.raises(SystemExit) as stop:
            call_command("runs", "retry", str(failed.pk), str(pending.pk), "--json", stdout=out)
        told = json.loads(out.getvalue())
        assert stop.value.code == 1
        assert told["items"] == [
            {"id": str(failed.pk), "result": str(failed.pk), "status": "pending"}
        ]
        assert told["errors"][0]["code"] == "conflict"


class TestPurge:
    @pytest.fixture(autouse=True)
    def old(self, failed: Run) -> None:
        Run.objects.filter(pk=failed.pk).update(finished_at=timezone.now() - timedelta(days=31))

    def test_deletes_what_ended_long_ago(self) -> None:
        recent = new_run()
        cancel(recent)
        assert runs("purge", "--older-than", "30d") == "Deleted 1 run.\n"
        assert Run.objects.get() == recent

    def test_the_age_defaults_to_the_setting(self, settings: Any) -> None:
        settings.RETAIN_RUNS = "30d"
        assert runs_json("purge") == {"deleted": 1}

    def test_without_any_age_nothing_is_deleted(self) -> None:
        assert "--older-than" in str(refusal("purge"))
        assert Run.objects.exists()

    def test_a_bad_age_is_refused(self) -> None:
        assert "0d" in str(refusal("purge", "--older-than", "0d"))

    def test_the_limit_holds_and_is_said(self) -> None:
        assert "There may be more" in runs("purge", "--older-than", "30d", "--limit", "1")


@pytest.mark.parametrize("arguments", [[], ["lst"], ["show"], ["list", "--limit", "0"]])
def test_wrong_usage_exits_with_64(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        Command().run_from_argv(["manage.py", "runs", *arguments])
    assert stop.value.code == 64
    assert "usage:" in capsys.readouterr().err
