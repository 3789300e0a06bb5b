"""Jobs, runs and what hangs on them; the workers that execute them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from django.db import models
from django.db.models import F, Q
from uuid_utils.compat import uuid7

from runs.fields import JSONTextField


def new_id() -> uuid.UUID:
    """A UUIDv7: its order is the order of creation."""
    return uuid7()


class RunStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    WAITING = "waiting", "Waiting"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


TERMINAL = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class StepStatus(models.TextChoices):
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"


class LogLevel(models.TextChoices):
    INFO = "info", "Info"
    WARN = "warn", "Warn"
    ERROR = "error", "Error"


class EventKind(models.TextChoices):
    """What can happen to a run."""

    TRIGGERED = "triggered", "Triggered"
    COALESCED = "coalesced", "Coalesced"
    STARTED = "started", "Started"
    TAKEN_OVER = "taken_over", "Taken over"
    HANDED_BACK = "handed_back", "Handed back"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    RETRIED = "retried", "Retried"
    RETRIGGERED = "retriggered", "Run again"


class Job(models.Model):
    """A job as the code defines it, synced from the registry; for people to look at."""

    name = models.CharField(max_length=200, primary_key=True)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    input_schema = JSONTextField(null=True)
    output_schema = JSONTextField(null=True)
    tags = JSONTextField(default=list)
    priority = models.SmallIntegerField(default=0)
    source = models.CharField(max_length=500, help_text="File and line of the handler.")
    code_version = models.CharField(max_length=64)
    registered = models.BooleanField(default=True, help_text="Still defined in the code.")
    synced_at = models.DateTimeField()
    paused_at = models.DateTimeField(null=True, blank=True, help_text="Its runs aren't claimed.")
    # With defaults in the database, for code of the first release, which does not name them.
    paused_by = models.CharField(max_length=200, blank=True, default="", db_default="")
    pause_reason = models.TextField(blank=True, default="", db_default="")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class RunQuerySet(models.QuerySet["Run"]):
    """Reads. Writing goes through ``runs.engine``."""

    #: A label, and its values, of which each of these runs has one: reads may follow its index.
    along_label: tuple[str, tuple[str, ...]] | None = None

    def _clone(self) -> RunQuerySet:
        clone: RunQuerySet = super()._clone()  # type: ignore[misc]
        clone.along_label = self.along_label
        return clone

    def __or__(self, other: models.QuerySet[Run]) -> RunQuerySet:
        either: RunQuerySet = super().__or__(other)
        either.along_label = None  # which binds only one of the two
        return either

    @property
    def is_part(self) -> bool:
        """Whether anything limits these runs, so that there may be others."""
        return bool(self.query.where)

    def summaries(self) -> RunQuerySet:
        """Without the payloads, which lists never show."""
        return self.defer("input", "output", "error_traceback")

    def newest_first(self) -> RunQuerySet:
        return self.order_by("-id")

    def with_labels(self, labels: dict[str, str]) -> RunQuerySet:
        """Runs that have every one of these labels."""
        found = self
        for key, value in labels.items():
            found = found.filter(
                models.Exists(
                    Label.objects.filter(run_id=models.OuterRef("pk"), key=key, value=value)
                )
            )
        return found

    def with_any_label(self, key: str, values: Iterable[str]) -> RunQuerySet:
        """Runs whose label of this key has one of these values; none for no values."""
        found = tuple(values)
        if not found:
            return self.none()
        own = Label.objects.filter(run_id=models.OuterRef("pk"), key=key, value__in=found)
        runs = self.filter(models.Exists(own))
        runs.along_label = (key, found)
        return runs


class Run(models.Model):
    """One execution of a job, from its trigger to its end.

    ``due_at`` alone says when a worker may take it: when a pending run may start, when a
    running one's lease runs out, when a waiting one wakes; null when it is over or parked.
    The lease columns stay until the body has stopped or the lease has run out, whatever
    the status.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    job = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=RunStatus.choices, default=RunStatus.PENDING)
    priority = models.SmallIntegerField(default=0)
    labels = JSONTextField(default=dict)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    concurrency_key = models.CharField(max_length=255, null=True, blank=True)
    attempt = models.PositiveIntegerField(default=1)

    run_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    queued_at = models.DateTimeField(help_text="Its place in the queue, kept for life.")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    due_at = models.DateTimeField(null=True, blank=True)
    lease_owner = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    lease_generation = models.BigIntegerField(default=0)
    held_key = models.CharField(max_length=255, null=True, blank=True, unique=True)
    recoveries = models.PositiveIntegerField(
        default=0, help_text="Taken over from a dead worker since the last checkpoint."
    )

    seq = models.BigIntegerField(
        default=0, help_text="Last number given to a step, log line or event of this run."
    )
    step_count = models.PositiveIntegerField(default=0, help_text="Completed steps.")
    current_step = models.TextField(null=True, blank=True)
    progress = JSONTextField(null=True, blank=True)

    error_type = models.CharField(max_length=200, null=True, blank=True)
    error_message = models.TextField(null=True, blank=True)
    error_step = models.TextField(null=True, blank=True)
    error_fingerprint = models.CharField(max_length=32, null=True, blank=True)
    error_traceback = models.TextField(null=True, blank=True)

    source_id = models.UUIDField(null=True, blank=True, help_text="The run that this one repeats.")
    parent_id = models.UUIDField(null=True, blank=True)
    triggered_by = models.CharField(max_length=200)
    code_version = models.CharField(max_length=64, blank=True)
    release = models.CharField(max_length=100, blank=True)

    input = JSONTextField(null=True)
    output = JSONTextField(null=True)

    objects = RunQuerySet.as_manager()

    #: Set by a trigger: "created", "idempotent" or "coalesced". Not stored.
    disposition: str | None = None

    class Meta:
        permissions = (
            ("trigger_run", "Can trigger runs"),
            ("operate_run", "Can retry, run again, cancel, signal and pause"),
            ("see_all_tenants", "Can see the runs of all tenants"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("job", "idempotency_key"),
                condition=Q(idempotency_key__isnull=False),
                name="one_run_per_idempotency_key",
            ),
            models.UniqueConstraint(
                fields=("job", "concurrency_key"),
                condition=Q(status="pending", concurrency_key__isnull=False),
                name="one_pending_run_per_key",
            ),
            models.CheckConstraint(
                condition=~Q(idempotency_key="") & ~Q(concurrency_key=""), name="keys_not_empty"
            ),
            models.CheckConstraint(
                condition=Q(lease_owner__isnull=True) | Q(lease_expires_at__isnull=False),
                name="an_owner_has_a_lease",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=("completed", "failed", "cancelled"))
                | Q(due_at__isnull=True, finished_at__isnull=False),
                name="terminal_runs_are_not_due",
            ),
        )
        indexes = (
            models.Index(
                F("priority").desc(),
                "due_at",
                "id",
                name="run_queue",
                condition=Q(due_at__isnull=False),
            ),
            models.Index(fields=("due_at",), name="run_lease_end", condition=Q(status="running")),
            models.Index(
                fields=("lease_owner",),
                name="run_owner",
                condition=Q(lease_owner__isnull=False),
            ),
            models.Index(
                fields=("concurrency_key",),
                name="run_parked",
                condition=Q(status="pending", due_at__isnull=True),
            ),
            models.Index(
                fields=("job",),
                name="run_parked_by_job",
                condition=Q(status="pending", due_at__isnull=True),
            ),
            models.Index(fields=("status", "id"), name="run_by_status"),
            models.Index(fields=("job", "id"), name="run_by_job"),
            models.Index(
                fields=("job", "id"), name="run_failed_by_job", condition=Q(status="failed")
            ),
            models.Index(
                fields=("finished_at",),
                name="run_finished",
                condition=Q(finished_at__isnull=False),
            ),
            models.Index(
                fields=("error_fingerprint", "id"),
                name="run_by_failure",
                condition=Q(error_fingerprint__isnull=False),
            ),
            models.Index(
                fields=("source_id",), name="run_copies", condition=Q(source_id__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"{self.job} {self.id}"

    @property
    def error(self) -> str | None:
        """Type and message, naming the step; None if the run has no error."""
        if self.error_type is None:
            return None
        text = f"{self.error_type}: {self.error_message}"
        return f"{text} (in step {self.error_step})" if self.error_step else text

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL


class Step(models.Model):
    """A checkpoint: one row per run and step name."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps", db_index=False)
    name = models.CharField(max_length=500)
    index = models.PositiveIntegerField(
        null=True, blank=True, help_text="Order of first completion; none for a failed step."
    )
    status = models.CharField(max_length=10, choices=StepStatus.choices)
    attempts = models.PositiveIntegerField(default=1)
    seq = models.BigIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    error_type = models.CharField(max_length=200, null=True, blank=True)
    error_message = models.TextField(null=True, blank=True)
    error_traceback = models.TextField(null=True, blank=True)
    output = JSONTextField(null=True)

    class Meta:
        ordering = ("run", "seq")
        constraints = (
            models.UniqueConstraint(fields=("run", "name"), name="one_row_per_step_name"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def error(self) -> str | None:
        """Type and message; None if the step has no error."""
        return None if self.error_type is None else f"{self.error_type}: {self.error_message}"


class LogEntry(models.Model):
    """One line of a run's log, in order of emission by ``id``."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="logs", db_index=False)
    step = models.TextField(null=True, blank=True, help_text="Name of the step it came from.")
    level = models.CharField(max_length=5, choices=LogLevel.choices)
    message = models.TextField()
    data = JSONTextField(null=True)
    created_at = models.DateTimeField()
    seq = models.BigIntegerField()

    class Meta:
        ordering = ("id",)
        verbose_name_plural = "log entries"
        indexes = (models.Index(fields=("run", "id"), name="log_by_run"),)

    def __str__(self) -> str:
        return f"{self.level}: {self.message[:80]}"


class RunEvent(models.Model):
    """What happened to a run, when, and who did it: its history and audit trail."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events", db_index=False)
    kind = models.CharField(max_length=20, choices=EventKind.choices)
    actor = models.CharField(max_length=200)
    reason = models.TextField(blank=True)
    data = JSONTextField(null=True)
    created_at = models.DateTimeField()
    seq = models.BigIntegerField()

    class Meta:
        ordering = ("id",)
        indexes = (
            models.Index(fields=("run", "id"), name="event_by_run"),
            models.Index(fields=("created_at",), name="event_by_time"),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} by {self.actor}"


class Label(models.Model):
    """A label of a run, as a row, to find runs by."""

    run = models.ForeignKey(
        Run, on_delete=models.CASCADE, related_name="label_rows", db_index=False
    )
    key = models.CharField(max_length=100)
    value = models.CharField(max_length=255)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "key"), name="one_label_per_key"),)
        indexes = (models.Index(fields=("key", "value", "run"), name="label_by_value"),)

    def __str__(self) -> str:
        return f"{self.key}:{self.value}"
