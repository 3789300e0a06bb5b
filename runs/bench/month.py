"""The rows of a month: each run with its steps, log lines, history and labels."""

from __future__ import annotations

import math
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runs.bench import invented
from runs.bench.invented import KINDS, MESSAGES, REGIONS, Kind, Mishap
from runs.bench.loading import COLUMNS, Rows
from runs.engine.statistics import KEEP_MINUTES
from runs.models import Span

DAYS = 30
_DAY = 86_400
_RUNNING = 20
#: So many of the long run are made at a time.
_BATCH = 1_000


@dataclass
class Group:
    """What a group of failures has come to."""

    mishap: Mishap
    first_seen: float
    last_seen: float = 0.0
    last_run: str = ""
    message: str = ""


class Month:
    """Makes the rows, run by run in the order of their creation, and counts what happened."""

    def __init__(self, count: int, now: float) -> None:
        self.now = now
        self._count = count
        self._start = now - DAYS * _DAY
        self._chance = random.Random(now)  # noqa: S311 (no secret)
        self._mishaps = invented.mishaps(self._chance)
        self._shares = [kind.share for kind in KINDS]
        self._rows: Rows = {}
        self.workers = [uuid.UUID(int=self._chance.getrandbits(128)) for _ in range(3)]
        self.activity: dict[tuple[int, str, int], Counter[str]] = defaultdict(Counter)
        self.failures: Counter[tuple[int, str, int]] = Counter()
        self.groups: dict[str, Group] = {}

    def rows(self, numbers: range) -> Rows:
        """The rows of these runs."""
        self._rows = {table: [] for table in COLUMNS}
        for number in numbers:
            self._add(number)
        return self._rows

    def _add(self, number: int) -> None:
        chance = self._chance
        part = (number + chance.random()) / self._count
        created = self._start + DAYS * _DAY * _by_day(part)
        [kind] = chance.choices(KINDS, self._shares)
        if created > self.now - kind.silent_days * _DAY:
            kind = KINDS[0]
        run = _Made(number, kind, created, _id_at(created, chance), _labels_of(number))
        if number >= self._count - _RUNNING:
            self._under_way(run)
        elif part > 0.97 and number % 4 == 0:
            self._pending(run, None)
        elif part > 0.9 and chance.random() < 0.02:
            self._pending(run, self.now + chance.uniform(3600, 14 * _DAY))
        elif chance.random() < 0.01:
            self._cancelled(run)
        elif chance.random() < kind.failing * 1.2:
            self._failed(run, part)
        else:
            self._completed(run)
        self._label(run)

    def _pending(self, run: _Made, later: float | None) -> None:
        self._event(run, "triggered", run.created)
        due = _text(later or run.created)
        self._store(run, "pending", due_at=due, run_at=_text(later) if later else None)

    def _under_way(self, run: _Made) -> None:
        run.created = self.now - run.kind.seconds / 2
        self._start_run(run)
        done = self._steps(run, len(run.kind.steps) - 1, run.kind.seconds / 2)
        ends = _text(self.now + 60)
        self._store(
            run,
            "running",
            due_at=ends,
            lease_expires_at=ends,
            lease_owner=self.workers[run.number % len(self.workers)].hex,
            lease_generation=1,
            current_step=run.kind.steps[-1],
            progress=f'{{"current":{done},"total":{done + 1},"message":null}}',
        )

    def _completed(self, run: _Made) -> None:
        self._start_run(run)
        self._complete(run, 0)

    def _complete(self, run: _Made, first: int) -> None:
        self._steps(run, len(run.kind.steps), self._seconds(run), first)
        self._event(run, "completed", run.clock)
        output = invented.output_of(run.number, run.steps)
        self._store(run, "completed", finished_at=_text(run.clock), output=output)

    def _failed(self, run: _Made, part: float) -> None:
        """It fails; some are retried, and then go through."""
        self._start_run(run)
        mishap = self._mishap(run.kind, part)
        step = run.kind.steps.index(mishap.step)
        self._steps(run, step, self._seconds(run))
        message = mishap.message(self._chance.randrange(10_000))
        began, run.clock = run.clock, run.clock + self._chance.uniform(0.05, 2)
        retried = run.clock < self.now - 7200 and self._chance.random() < 0.2
        self._count_failure(run, mishap, message)
        data = (
            f'{{"error":"{mishap.type}: {message}","step":"{mishap.step}",'
            f'"fingerprint":"{mishap.fingerprint}"}}'
        )
        self._event(run, "failed", run.clock, data)
        if retried:
            run.clock += self._chance.uniform(60, 3600)
            run.attempt = 2
            self._event(run, "retried", run.clock, '{"attempt":2}', "ann")
            self._event(run, "started", run.clock + 0.1, '{"attempt":2}', "worker")
            self._complete(run, step)
            return
        trace = mishap.traceback(message)
        self._step(run, step, began, (mishap.type, message, trace))
        error = {
            "error_type": mishap.type,
            "error_message": message,
            "error_step": mishap.step,
            "error_fingerprint": mishap.fingerprint,
            "error_traceback": trace,
        }
        self._store(run, "failed", finished_at=_text(run.clock), **error)

    def _cancelled(self, run: _Made) -> None:
        self._start_run(run)
        self._steps(run, len(run.kind.steps) // 2, self._seconds(run) / 2)
        self._event(run, "cancelled", run.clock, None, "ann", "not needed any more")
        self._store(run, "cancelled", finished_at=_text(run.clock))

    def _start_run(self, run: _Made) -> None:
        self._event(run, "triggered", run.created)
        run.clock = min(run.created + self._chance.uniform(0.02, 1.5), self.now)
        run.started = _text(run.clock)
        self._event(run, "started", run.clock, '{"attempt":1}', "worker")

    def _seconds(self, run: _Made) -> float:
        """How long it takes; nothing ends in the future."""
        seconds = run.kind.seconds * math.exp(self._chance.gauss(0, 0.4))
        return max(0.0, min(seconds, self.now - run.clock))

    def _steps(self, run: _Made, count: int, seconds: float, first: int = 0) -> int:
        each = seconds / max(count - first, 1)
        for index in range(first, count):
            began, run.clock = run.clock, run.clock + each
            self._log(run, run.kind.steps[index], began, each)
            self._step(run, index, began)
        return count

    def _step(
        self, run: _Made, index: int, began: float, error: tuple[str, str, str] | None = None
    ) -> None:
        run.seq += 1
        output = None if error else f'{{"rows":{run.number % 500}}}'
        run.steps += 0 if error else 1
        self._rows["runs_step"].append(
            (
                run.id,
                run.kind.steps[index],
                None if error else index,
                "failed" if error else "completed",
                run.attempt,
                run.seq,
                _text(began),
                _text(run.clock),
                *(error or (None, None, None)),
                output,
            )
        )

    def _log(self, run: _Made, step: str, began: float, seconds: float) -> None:
        """Two lines a step."""
        lines = self._rows["runs_logentry"]
        for share in (0.0, 0.8):
            run.seq += 1
            level, text = self._chance.choice(MESSAGES)
            message = text.format(step=step, n=run.number % 997)
            moment = _text(began + seconds * share)
            lines.append((run.id, step, level, message, None, moment, run.seq))

    def _event(
        self,
        run: _Made,
        kind: str,
        at: float,
        data: str | None = None,
        actor: str = "api: shop",
        reason: str = "",
    ) -> None:
        run.seq += 1
        row = (run.id, kind, actor, reason, data, _text(at), run.seq)
        self._rows["runs_runevent"].append(row)
        if kind in ("triggered", "started", "completed", "failed", "cancelled"):
            for span, bucket in self._buckets(at):
                self.activity[span, run.kind.name, bucket][kind] += 1

    def _buckets(self, at: float) -> list[tuple[int, int]]:
        """The statistics' buckets that a moment lies in, of those that are kept."""
        found = [(int(Span.HOUR), int(at // 3600 * 3600))]
        if at > self.now - KEEP_MINUTES.total_seconds():
            found.append((int(Span.MINUTE), int(at // 60 * 60)))
        return found

    def _mishap(self, kind: Kind, part: float) -> Mishap:
        """One that is going on at that time, the first ones more often."""
        every = self._mishaps[kind.name]
        for _ in range(3):
            found = every[int(len(every) * self._chance.random() ** 2)]
            if found.start <= part <= found.end:
                return found
        return every[0]

    def _count_failure(self, run: _Made, mishap: Mishap, message: str) -> None:
        for span, bucket in self._buckets(run.clock):
            self.failures[span, mishap.fingerprint, bucket] += 1
        group = self.groups.setdefault(mishap.fingerprint, Group(mishap, run.clock))
        if group.last_seen < run.clock:
            group.last_seen, group.last_run, group.message = run.clock, run.id, message

    def _label(self, run: _Made) -> None:
        rows = self._rows["runs_label"]
        rows += [(run.id, key, value) for key, value in run.labels.items()]

    def _store(self, run: _Made, status: str, **values: Any) -> None:
        labels = ",".join(f'"{key}":"{value}"' for key, value in run.labels.items())
        row: dict[str, Any] = {
            "id": run.id,
            "job": run.kind.name,
            "status": status,
            "priority": 0,
            "labels": f"{{{labels}}}",
            "attempt": run.attempt,
            "created_at": _text(run.created),
            "queued_at": values.get("run_at") or _text(run.created),
            "started_at": run.started,
            "lease_generation": run.attempt if run.started else 0,
            "recoveries": 0,
            "seq": run.seq,
            "step_count": run.steps,
            "triggered_by": "api: shop",
            "code_version": "7c1e0f",
            "release": "",
            "input": invented.input_of(run.number, self._chance.randrange(100, 90_000)),
            **values,
        }
        self._rows["runs_run"].append(tuple(map(row.get, COLUMNS["runs_run"])))

    def big_run(self, steps: int, lines_a_step: int) -> Iterator[Rows]:
        """One completed run of very many steps and log lines, whose own row comes last."""
        self._rows = {table: [] for table in COLUMNS}
        names = tuple(f"chunk-{number:05}" for number in range(steps))
        kind = Kind("rebuild-search-index", 0, names, steps / 4)
        created = self.now - steps / 4 - 60
        run = _Made(self._count, kind, created, _id_at(created, self._chance), {"size": "big"})
        self._start_run(run)
        for index, name in enumerate(names):
            began, run.clock = run.clock, run.clock + 0.25
            pairs = lines_a_step // 2
            for pair in range(pairs):
                self._log(run, name, began + 0.2 * pair / pairs, 0.2 / pairs)
            self._step(run, index, began)
            if index % _BATCH == _BATCH - 1:
                yield self._rows
                self._rows = {table: [] for table in COLUMNS}
        self._event(run, "completed", run.clock)
        self._store(run, "completed", finished_at=_text(run.clock), output="null")
        self._label(run)
        yield self._rows


@dataclass(slots=True)
class _Made:
    """A run that is being made."""

    number: int
    kind: Kind
    created: float
    id: str
    labels: dict[str, str] = field(default_factory=dict)
    clock: float = 0.0
    started: str | None = None
    attempt: int = 1
    seq: int = 0
    steps: int = 0


def _labels_of(number: int) -> dict[str, str]:
    """Two, one of which few runs have; and a third that very few have."""
    labels = {"region": REGIONS[number % 7 % 5], "customer": f"c{number % 9973:05}"}
    return labels | {"vip": "yes"} if number % 1000 == 7 else labels


def _by_day(part: float) -> float:
    """An even course of time, bent so that days are busy and nights are not."""
    return part - 0.7 * math.sin(2 * math.pi * DAYS * part) / (2 * math.pi * DAYS)


def _id_at(moment: float, chance: random.Random) -> str:
    """A UUIDv7 of that time, as both databases take it."""
    high = int(moment * 1000) << 16 | 0x7000 | chance.getrandbits(12)
    return f"{high << 64 | 2 << 62 | chance.getrandbits(62):032x}"


def _text(moment: float) -> str:
    """A time in UTC, as both databases take it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(" ", "microseconds")[:26]
