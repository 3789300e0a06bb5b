"""The form that triggers a run. Nothing typed is lost; what is wrong is said where it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest

from runs import access, files
from runs.access import Actor
from runs.dashboard.input_fields import (
    MAX_LEAVES,
    BadField,
    InputField,
    Unfit,
    read_json,
    without_row,
)
from runs.dashboard.query import plain, whole
from runs.dashboard.schema_fields import form_of, skeleton
from runs.engine.triggers import BatchItem
from runs.errors import FieldError, RunsError, ValidationError
from runs.filters import parse_time
from runs.models import Run, RunQuerySet
from runs.registry import JobDefinition

OPTIONS = ("labels", "concurrency_key", "idempotency_key", "priority", "run_at", "coalesce")
_TITLES = {"labels": "Labels", "priority": "Priority", "run_at": "Run at"}


@dataclass(frozen=True)
class Complaint:
    """A field with something wrong, and where it is on the page."""

    name: str
    id: str


class TriggerForm:
    """The form of one job, empty or posted. ``root`` is None where the input is typed as JSON."""

    def __init__(
        self,
        job: JobDefinition,
        actor: Actor,
        *,
        as_json: bool = False,
        source: Run | None = None,
    ) -> None:
        self.job = job
        self.actor = actor
        self.possible = form_of(job.input_schema)
        self.root = None if as_json else self.possible
        self.json_text = skeleton(job.input_schema)
        self.options: dict[str, str] = dict.fromkeys(OPTIONS, "")
        self.errors: dict[str, str] = {}
        self.complaints: list[Complaint] = []
        self.problem = ""
        self.focus = ""  # the id of the field to go on with
        self.status = 200
        self.source = source
        self.repeats = ""  # the id of the run that this one repeats, perhaps with another input
        if source is not None:
            self._fill_from(source)
        else:
            self.options["labels"] = _label_of_all(self._runs())
            if self.root is not None:
                self.root.prefill()

    @property
    def function(self) -> str:
        """The job's name in the code."""
        return self.job.handler.__name__

    @property
    def has_file(self) -> bool:
        return self.root is not None and any(item.kind == "file" for item in self.root.walk())

    @property
    def more_open(self) -> bool:
        """Whether the part with labels, keys and time has something to show."""
        return any(self.options.values()) or any(name in self.errors for name in OPTIONS)

    @property
    def key_holder(self) -> Run | None:
        """The run that holds the key that was typed; None also for one that is hidden."""
        key = plain(self.options["concurrency_key"])
        return self._runs().summaries().filter(held_key=key).first() if key else None

    def handle(self, request: HttpRequest) -> Run | None:
        """Do what was posted: change the form, or trigger.

        None if nothing was triggered; if something is wrong, the form then says what.
        """
        post = request.POST.dict()
        if "remove" in post:
            path, _, row = post["remove"].rpartition("[")
            number = whole(row.rstrip("]"))
            if number is not None:
                post = without_row(post, path, number)
        self._take(post, request)
        if "add" in post:
            self._add_row(post["add"])
        elif "as" in post:
            self._switch(post["as"])
        elif "remove" not in post:
            return self._submit()
        return None

    def _submit(self) -> Run | None:
        value = self._read_input()
        options = self._read_options()
        if self.errors:
            self._refuse_all(value)
            return None
        try:
            item = BatchItem(value, **options)
            return access.trigger(self.actor, self.job.name, item, source_id=self._repeated())
        except ValidationError as error:
            self._place(error)
        except RunsError as error:
            self._refuse(str(error), error.status)
        return None

    def _repeated(self) -> UUID | None:
        try:
            id = UUID(self.repeats)
        except ValueError:
            return None
        return id if self._runs().filter(pk=id, job=self.job.name).exists() else None

    def _runs(self) -> RunQuerySet:
        return access.scoped(self.actor, Run.objects.all())

    def _refuse_all(self, value: Any) -> None:
        """Say at once what is wrong with labels, keys and time, and what the schema refuses."""
        if self.errors.keys() <= set(OPTIONS):  # else there is no input to check
            try:
                self.job.parse_input(value)
            except ValidationError as error:
                self._place(error)
                return
        self._refuse("", 400)

    def _refuse(self, problem: str, status: int) -> None:
        self.problem, self.status = problem, status
        found = {item.path: item for item in self.root.walk()} if self.root else {}
        for name in self.errors:
            where = found[name].id if name in found else name
            self.complaints.append(Complaint(_TITLES.get(name, name), where))
        self.focus = self.complaints[0].id if self.complaints else ""

    def _take(self, post: Mapping[str, str], request: HttpRequest) -> None:
        """Keep all that was typed, and what was uploaded."""
        self.options = {name: post.get(name, "").strip() for name in OPTIONS}
        self.repeats = post.get("source", "")
        if "input" in post or self.possible is None:
            self.root = None
            self.json_text = post.get("input", "")
        else:
            self.root = self.possible
            self.root.read(post)
        for item in self.root.walk() if self.root else ():
            upload = request.FILES.get(f"upload.{item.path}")
            if item.kind == "file" and upload is not None:
                item.text = files.save_upload(upload)

    def _fill_from(self, run: Run) -> None:
        """Start from the input of a run, its labels, key and priority."""
        self.options["labels"] = "\n".join(f"{key}:{value}" for key, value in run.labels.items())
        self.options["concurrency_key"] = run.concurrency_key or ""
        if run.priority != self.job.priority:
            self.options["priority"] = str(run.priority)
        self.json_text = json.dumps(run.input, indent=2, ensure_ascii=False)
        if self.root is not None and not self._fill(run.input):
            self.root = None

    def _fill(self, value: Any) -> bool:
        """Show a value in the fields; False, saying why, if they can't hold it."""
        root = form_of(self.job.input_schema)
        try:
            if root is None:
                return False
            root.fill(value)
            if sum(1 for _ in root.walk()) > MAX_LEAVES:
                raise Unfit("it has too many values")
        except Unfit as error:
            self.problem = f"Shown as JSON: {error}."
            return False
        self.root = self.possible = root
        return True

    def _add_row(self, path: str) -> None:
        found = self.root.find(path) if self.root else None
        if found is not None and found.path == path and found.kind == "list":
            row = found.add_row()
            self.focus = _first_leaf(row)

    def _switch(self, to: str) -> None:
        """Show what was typed the other way."""
        if to == "json" and self.root is not None:
            self.root.drop_blank_rows()
            value = self.root.value()
            self.json_text = json.dumps(value, indent=2, ensure_ascii=False)
            self.root, self.focus = None, "input"
        elif to == "form" and self.root is None:
            self.focus = "input"
            try:
                self._fill(read_json(self.json_text))
            except BadField as error:
                self.errors["input"] = str(error)
            if self.root is not None:
                self.focus = _first_leaf(self.root)

    def _read_input(self) -> Any:
        if self.root is None:
            try:
                return read_json(self.json_text) if self.json_text.strip() else None
            except BadField as error:
                self.errors["input"] = str(error)
                return None
        self.root.drop_blank_rows()
        value = self.root.value()
        self.errors |= {item.path: item.error for item in self.root.walk() if item.error}
        return value

    def _read_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            name: self.options[name] for name in OPTIONS if self.options[name]
        }
        readers: dict[str, Callable[[str], Any]] = {
            "labels": read_labels,
            "priority": _priority,
            "run_at": _run_at,
        }
        for name, read in readers.items():
            if name in options:
                try:
                    options[name] = read(options[name])
                except ValueError as error:
                    self.errors[name] = str(error)
        return options

    def _place(self, error: ValidationError) -> None:
        """Show each of the engine's complaints at its field, the others above the form."""
        rest = []
        for complaint in error.errors or (FieldError("", str(error)),):
            found = self.root.find(complaint.path) if self.root and complaint.path else None
            if found is not None and found.path:
                text = complaint.message if complaint.path == found.path else str(complaint)
                found.error = self.errors[found.path] = f"{found.error}\n{text}".strip()
            elif self.root is None and complaint.path:
                said = self.errors.get("input", "")
                self.errors["input"] = f"{said}\n{complaint}".strip()
            else:
                about_all = complaint.path in ("", "input")
                rest.append(complaint.message if about_all else str(complaint))
        self._refuse(" ".join(rest), 400)


def _first_leaf(field: InputField) -> str:
    """The id of the first field below that something can be typed into."""
    return next((item.id for item in field.walk() if item.kind not in ("object", "list")), "")


def _label_of_all(runs: RunQuerySet) -> str:
    """The label that all of the person's runs have, and a new one needs; empty if it is open."""
    key, values = runs.along_label or ("", ())
    return f"{key}:{values[0]}" if len(values) == 1 else ""


def read_labels(text: str) -> dict[str, str]:
    """Labels as they are typed, ``key:value`` a line. Raises ValueError that names the line."""
    labels = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        key, colon, value = line.partition(":")
        if not colon or not key.strip():
            raise ValueError(f"Line {number} is not key:value: {line.strip()[:80]}")
        if key.strip() in labels:
            raise ValueError(f"Line {number} names {key.strip()[:80]} a second time.")
        labels[key.strip()] = value.strip()
    return labels


def _priority(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"A whole number such as 10, not {text[:40]}.") from None


def _run_at(text: str) -> datetime:
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise ValueError(f"A time such as 2026-11-22 14:30, not {text[:40]}.") from None
