"""The addresses of every page, on a database that ``seed`` has filled."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from runs.admin.base import ReadOnlyAdmin
from runs.bench.invented import KINDS
from runs.models import BulkAction, FailureGroup, Job, Label, LogEntry, Run, RunStatus, Step

#: Milliseconds, 95 of 100 times.
PAGE_GOAL = 100.0
API_GOAL = 50.0
SLICE_GOAL = 1_000.0
COUNT_GOAL = 600.0

_PLACES = 12
_SPREAD = 20
_COMBINATIONS = 60
_STATUSES = ((), ("failed",), ("completed",), ("cancelled",), ("running", "pending"))


@dataclass(frozen=True)
class Kind:
    """Pages of one kind; of a posted one ``form`` is what is sent."""

    name: str
    what: str
    urls: list[str]
    goal: float = PAGE_GOAL
    form: dict[str, Any] | None = None


class Sample:
    """Rows to make addresses of, from all over the database."""

    def __init__(self) -> None:
        newest = Run.objects.newest_first().values_list("id", flat=True)
        self.count = count = newest.count()
        self.ids = [newest[count * n // (_PLACES + 1)] for n in range(_PLACES)]
        names = [kind.name for kind in KINDS]
        self.jobs = list(Job.objects.filter(name__in=names).values_list("name", flat=True))
        customers = Label.objects.filter(key="customer", run_id__in=self.ids[-2:])
        self.labels = ["region:eu-north", "vip:yes", "region:nowhere"]
        self.labels += [f"customer:{value}" for value in customers.values_list("value", flat=True)]
        groups = FailureGroup.objects.order_by("last_seen").values_list("pk", flat=True)
        self.failures = [*groups[:3], *groups.reverse()[:3]]
        big = Label.objects.filter(key="size", value="big").order_by("-run__seq")
        self.big, self.big_steps = big.values_list("run_id", "run__step_count")[0]

    def of_status(self, *statuses: str) -> list[uuid.UUID]:
        """Some runs in these states, new and old."""
        found: list[uuid.UUID] = []
        for status in statuses:
            runs = Run.objects.filter(status=status).values_list("id", flat=True)
            found += [*runs.order_by("-id")[:3], *runs.order_by("id")[:3]]
        return found

    def cursors(self) -> list[str]:
        return [f"{way}-{id}" for id in self.ids for way in ("older", "newer")]


def kinds() -> Iterator[Kind]:
    """All kinds of pages."""
    sample = Sample()
    yield from _overview()
    yield from _lists(sample)
    yield from _run_pages(sample)
    yield from _big_run(sample)
    yield from _others(sample)
    yield from _bulk(sample)
    yield from _api(sample)
    yield from _admin(sample)


def _overview() -> Iterator[Kind]:
    home = reverse("home")
    ranges = [f"{home}?range={name}" for name in ("hour", "day", "week")]
    yield Kind("overview", "overview", [home, *ranges])
    yield Kind("overview-live", "overview, refreshed", [f"{url}&fragment=1" for url in ranges])


def _lists(sample: Sample) -> Iterator[Kind]:
    yield Kind("list", "run list", [_list()])
    yield Kind("list-next", "next and previous page", [_list(cursor=c) for c in sample.cursors()])
    statuses = [_list(status=value) for value in RunStatus.values]
    yield Kind("list-status", "by status", statuses)
    yield Kind("list-statuses", "by several statuses", [_list(status=s) for s in _STATUSES[4:]])
    yield Kind("list-job", "by job", [_list(job=job) for job in sample.jobs])
    both = [_list(job=job, status=s) for job, s in product(sample.jobs, _STATUSES[1:])]
    yield Kind("list-job-status", "by job and status", both)
    yield Kind("list-label", "by label", [_list(label=label) for label in sample.labels])
    yield Kind("list-time", "by time", [_list(**span) for span in _times()])
    yield Kind("list-failure", "by failure", [_list(failure=f) for f in sample.failures])
    found = list(_combinations(sample))
    yield Kind("list-any", "by any combination", [_list(**filters) for filters in found])
    counts, live = reverse("runs-counts"), reverse("runs-live")
    few = [{}, {"job": sample.jobs[0]}, *found[:_SPREAD]]
    yield Kind("list-counts", "counts of the tabs", [_with(counts, **f) for f in few], COUNT_GOAL)
    top = {"shown": sample.ids, "top": sample.ids[1]}
    yield Kind("list-live", "run list, refreshed", [_with(live, **f, **top) for f in few])
    texts = ("order_17", "c04711", "declined", "no such text", str(sample.ids[-1])[-8:])
    search = [_list(q=text, **filters) for text in texts for filters in few[:3]]
    yield Kind("search", "search, a slice", search, SLICE_GOAL)


def _combinations(sample: Sample) -> Iterator[dict[str, Any]]:
    """Filters of every kind together, at any place in the list."""
    chance = random.Random(1)  # noqa: S311 (the same each time)
    for _ in range(_COMBINATIONS):
        wanted: dict[str, Any] = {
            "status": chance.choice(_STATUSES),
            "job": chance.choice([[], *([job] for job in sample.jobs), sample.jobs[:3]]),
            "label": chance.choice([[], *([label] for label in sample.labels), sample.labels[:2]]),
            "failure": chance.choice(["", "", "", *sample.failures[:1]]),
            **chance.choice([{}, {}, *_times()]),
            "cursor": chance.choice(["", *sample.cursors()]),
        }
        yield wanted


def _times() -> list[dict[str, str]]:
    return [
        {"since": "1h"},
        {"since": "7d"},
        {"until": "20d"},
        {"since": "12d", "until": "11d"},
        {"since": "60d", "until": "50d"},
    ]


def _run_pages(sample: Sample) -> Iterator[Kind]:
    ids = sample.of_status("completed", "failed", "cancelled", "pending", "running")
    pages = [reverse("run", args=[id]) for id in ids + sample.ids]
    yield Kind("run", "run page", pages)
    steps = Step.objects.filter(run_id__in=sample.ids).values_list("run_id", "name")[:_SPREAD]
    chosen = [_with(reverse("run", args=[id]), step=name) for id, name in steps]
    yield Kind("run-step", "run page with a step", chosen)
    yield Kind("run-live", "run page, refreshed", [f"{page}live/" for page in pages])
    queries = ("", "?after=1", "?level=warn")
    logs = [f"{page}log/{query}" for page in pages[:10] for query in queries]
    yield Kind("run-log", "a run's log", logs)
    yield Kind("run-payload", "a run's input", [f"{page}input.json" for page in pages])


def _big_run(sample: Sample) -> Iterator[Kind]:
    page = reverse("run", args=[sample.big])
    lines = LogEntry.objects.filter(run_id=sample.big).order_by("id")
    count, steps = lines.count(), sample.big_steps
    middle = lines.values_list("id", flat=True)[count // 2]
    views = ["", "?steps=table", "?steps_before=5000", "?step=chunk-00500"]
    what = f"run page, {steps:,} steps, {count:,} lines"
    yield Kind("big-run", what, [page + view for view in views])
    yield Kind("big-run-live", "the same, refreshed", [f"{page}live/{view}" for view in views])
    stretches = [f"{page}log/?{way}={middle}" for way in ("before", "after")]
    yield Kind("big-run-log", "its log", [*stretches, f"{page}log/"])
    found = [f"{page}log/?log={text}" for text in ("chunk-00007", "nothing like it")]
    search = [*found, f"{page}log/?level=error", f"{page}log/?level=warn&log=slow"]
    yield Kind("big-run-search", "search in its log, a slice", search, SLICE_GOAL)


def _others(sample: Sample) -> Iterator[Kind]:
    yield Kind("jobs", "jobs", [reverse("jobs")])
    yield Kind("job", "job", [reverse("job", args=[job]) for job in sample.jobs])
    live = [reverse("job-live", args=[job]) for job in sample.jobs]
    yield Kind("job-live", "job, refreshed", live)
    failures = reverse("failures")
    queries = ["", "?seen=1h", "?seen=all", "?q=declined", "?job=process-order", "?fragment=1"]
    yield Kind("failures", "failures", [failures + query for query in queries])
    groups = [reverse("failure", args=[failure]) for failure in sample.failures]
    yield Kind("failure", "one failure", [*groups, *(f"{url}?fragment=1" for url in groups)])
    yield Kind("workers", "workers", [reverse("workers"), f"{reverse('workers')}?fragment=1"])
    storage = reverse("storage")
    yield Kind("storage", "storage", [storage, f"{storage}?fragment=1"])
    rules = [f"{storage}?days={days}" for days in (1, 7, 14, 28)]
    yield Kind("storage-rule", "storage, what a rule would delete", rules, COUNT_GOAL)


def _bulk(sample: Sample) -> Iterator[Kind]:
    action = BulkAction.objects.get()
    page = reverse("bulk-action", args=[action.pk])
    views = [page, f"{page}?only=refused", reverse("bulk-live", args=[action.pk])]
    yield Kind("bulk", "bulk actions", [reverse("bulk"), *views])
    few = {"do": "retry", "run": [str(id) for id in sample.ids]}
    yield Kind("bulk-ask", "before a bulk action, selection", [reverse("bulk")], form=few)
    every = {"do": "delete", "all": "1", "filters": "status=failed&status=completed"}
    what = "before a bulk action, all matching"
    yield Kind("bulk-ask-all", what, [reverse("bulk")], SLICE_GOAL + 200, form=every)


def _api(sample: Sample) -> Iterator[Kind]:
    runs = reverse("api:list_runs")
    pages = [runs, *(_with(runs, cursor=cursor) for cursor in sample.cursors())]
    yield Kind("api-list", "API, list of runs", pages, API_GOAL)
    found = [_with(runs, **filters) for filters in _combinations(sample)]
    yield Kind("api-list-any", "API, list by any combination", found)
    one = [reverse("api:read_run", args=[id]) for id in sample.ids]
    yield Kind("api-run", "API, one run", one, API_GOAL)
    parts = [f"{address}/{part}" for address in one for part in ("steps", "logs", "history")]
    yield Kind("api-parts", "API, steps, log and history", parts, API_GOAL)
    big = reverse("api:read_run", args=[sample.big])
    what = f"API, 1,000 of {sample.big_steps:,} steps"
    yield Kind("api-big-run", what, [f"{big}/steps", f"{big}/logs?limit=1000"])
    yield Kind("api-jobs", "API, jobs", [reverse("api:list_jobs")])


def _admin(sample: Sample) -> Iterator[Kind]:
    lists = {
        name: reverse(f"admin:runs_{name}_changelist")
        for name in ("run", "step", "logentry", "runevent", "label", "job", "worker")
    }
    deep = min(50, sample.count // ReadOnlyAdmin.list_per_page)
    yield Kind("admin", "admin, lists", [*lists.values(), f"{lists['run']}?p={deep}"])
    filtered = [
        *(f"{lists['run']}?status__exact={status}" for status in RunStatus.values),
        *(f"{lists['run']}?job={job}" for job in sample.jobs),
        f"{lists['run']}?job={sample.jobs[0]}&status__exact=failed",
        *(f"{lists['run']}?q={label}" for label in sample.labels),
        f"{lists['step']}?status__exact=failed",
        f"{lists['logentry']}?level__exact=error",
        f"{lists['runevent']}?kind__exact=coalesced",
        f"{lists['run']}?q={sample.ids[3]}",
        *(f"{lists[name]}?run={sample.ids[3]}" for name in ("step", "logentry", "runevent")),
        f"{lists['logentry']}?run={sample.big}",
    ]
    yield Kind("admin-filtered", "admin, lists by a filter", filtered)
    change = [reverse("admin:runs_run_change", args=[id]) for id in sample.ids]
    yield Kind("admin-run", "admin, one run", change)


def _list(**filters: Any) -> str:
    return _with(reverse("runs"), **filters)


def _with(path: str, **query: Any) -> str:
    kept = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(kept, doseq=True)}"
