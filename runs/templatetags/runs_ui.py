"""Parts of the pages, each with one template."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from html import escape
from urllib.parse import quote

from django import template
from django.urls import get_script_prefix, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from runs.dashboard import format as fmt
from runs.dashboard.activity import Row
from runs.dashboard.json_tree import Node
from runs.dashboard.logs import Line
from runs.dashboard.progress import Progress
from runs.models import Run, RunStatus, StepStatus

register = template.Library()

# Constants of ours, drawn on a grid of 16 by 16.
_ICONS = {
    "account": '<circle cx="8" cy="5.5" r="2.5"/><path d="M3 13.5a5 5 0 0 1 10 0"/>',
    "alert": '<path d="M8 2.2 14 13H2z"/><path d="M8 6.4v3M8 11.3v.1"/>',
    "again": '<path d="M13 8a5 5 0 1 1-1.6-3.7M13 2.5v2.6h-2.6"/>',
    "auto": '<circle cx="8" cy="8" r="5.5"/><path d="M8 2.5a5.5 5.5 0 0 1 0 11z" '
    'fill="currentcolor"/>',
    "clock": '<circle cx="8" cy="8" r="5.5"/><path d="M8 5v3l2 1.5"/>',
    "close": '<path d="m4 4 8 8M12 4l-8 8"/>',
    "code": '<path d="m6 4.5-3.5 3.5L6 11.5M10 4.5l3.5 3.5-3.5 3.5"/>',
    "copy": '<rect x="5.5" y="5.5" width="8" height="8" rx="1.5"/>'
    '<path d="M10.5 5.5v-2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2"/>',
    "dark": '<path d="M13 9.6A5.4 5.4 0 0 1 6.4 3a5.4 5.4 0 1 0 6.6 6.6z"/>',
    "down": '<path d="m4.5 6.5 3.5 3.5 3.5-3.5"/>',
    "download": '<path d="M8 2.5v8M4.5 7.5 8 11l3.5-3.5M3 13.5h10"/>',
    "left": '<path d="M9.5 4 5.5 8l4 4"/>',
    "light": '<circle cx="8" cy="8" r="2.75"/><path d="M8 1.8v1.4M8 12.8v1.4M1.8 8h1.4M12.8 8'
    'h1.4M3.6 3.6l1 1M11.4 11.4l1 1M12.4 3.6l-1 1M4.6 11.4l-1 1"/>',
    "list": '<path d="M6 4h7.5M6 8h7.5M6 12h7.5"/><circle cx="3" cy="4" r=".6"/>'
    '<circle cx="3" cy="8" r=".6"/><circle cx="3" cy="12" r=".6"/>',
    "disk": '<ellipse cx="8" cy="4" rx="5" ry="1.8"/><path d="M3 4v8c0 1 2.2 1.8 5 1.8s5-.8 '
    '5-1.8V4M3 8c0 1 2.2 1.8 5 1.8S13 9 13 8"/>',
    "pulse": '<path d="M2.5 8h2.7l1.8-4.5 2.3 9 1.7-4.5h2.5"/>',
    "right": '<path d="m6.5 4 4 4-4 4"/>',
    "search": '<circle cx="7" cy="7" r="4.25"/><path d="m10.3 10.3 3.2 3.2"/>',
    "servers": '<rect x="2.5" y="3" width="11" height="4" rx="1"/>'
    '<rect x="2.5" y="9" width="11" height="4" rx="1"/><path d="M5 5h.1M5 11h.1"/>',
}
_WORDS = {**dict(StepStatus.choices), **dict(RunStatus.choices)}


_SHAPES = {
    name: mark_safe(drawn)  # nosec B703 # noqa: S308 (a constant)
    for name, drawn in _ICONS.items()
}
_ICON_TAGS = {
    name: format_html('<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">{}</svg>', shape)
    for name, shape in _SHAPES.items()
}

# What a page shows by the hundred is put together here: a template for each of them, with its
# context and its lookups, takes ten times as long and most of the time of a page.


@register.simple_tag
def icon(name: str) -> SafeString:
    """An icon that says nothing to a screen reader."""
    return _ICON_TAGS[name]


@register.simple_tag
@lru_cache(maxsize=128)
def badge(status: str, size: str = "") -> SafeString:
    """A status: shape, word and colour."""
    classes = f"{status} {size}" if size else status
    return format_html('<span class="badge {}">{}</span>', classes, _WORDS.get(status, status))


@register.simple_tag
def when(value: datetime | None) -> SafeString | str:
    """A time, short, with all of it in the title."""
    if value is None:
        return ""
    local = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(), fmt.full_time(local), fmt.clock(local),
    )  # fmt: skip


@register.simple_tag
def run_path(id: uuid.UUID | str) -> str:
    """The address of a run's page."""
    return f"{_runs_path(get_script_prefix())}{id}/"


@lru_cache(maxsize=8)
def _runs_path(script_prefix: str) -> str:  # noqa: ARG001 (what the address depends on)
    return reverse("runs")


@register.simple_tag
def run_id(id: uuid.UUID | str) -> SafeString:
    """A link to a run: the head of its id dimmed, the tail strong."""
    text = str(id)
    return format_html(
        '<a class="id" href="{}" title="{}">{}…<b>{}</b></a>',
        run_path(text), text, text[:8], text[-4:],
    )  # fmt: skip


@register.simple_tag
def activity(row: Row) -> SafeString:
    """What is going on with a run, or what came of it."""
    tell = _TOLD.get(row.run.status, _tell_steps)
    again = ""
    if row.run.attempt > 1:
        again = format_html('<span class="tag push">attempt {}</span>', row.run.attempt)
    return format_html('<div class="act">{}{}</div>', tell(row), again)


def _tell_progress(row: Row) -> SafeString:
    run, progress, bar = row.run, row.progress, mark_safe("")
    if progress is not None:
        bar = _progress_bar(progress, f"Progress of {run.job}")
    if progress is not None and progress.percent is not None:
        bar = format_html('{}<span class="num">{} %</span>', bar, progress.percent)
    if row.why:
        return format_html('{}<span class="clip">{}</span>', bar, row.reason)
    said = (progress.message or progress.count) if progress else ""
    step = format_html('<span class="mono">{}</span> ', run.current_step or "")
    if not run.current_step:
        step, said = mark_safe(""), said or f"{_steps(run)} done"
    sub = format_html('<span class="sub">{}</span>', said)
    return format_html('{}<span class="clip">{}{}</span>', bar, step, sub)


def _progress_bar(progress: Progress, label: str) -> SafeString:
    if not progress.maximum:
        return format_html('<progress aria-label="{}"></progress>', label)
    return format_html(
        '<progress max="{}" value="{}" aria-label="{}">{} %</progress>',
        progress.maximum, progress.value, label, progress.percent,
    )  # fmt: skip


def _tell_error(row: Row) -> SafeString:
    run, step = row.run, mark_safe("")
    if run.error_step:
        step = format_html(' <span class="mono sub">{}</span>', run.error_step)
    return format_html(
        '<span class="clip" title="{}"><span class="bad">{}: {}</span>{}</span>',
        _cut(run.error or "", 500), run.error_type, _cut(run.error_message or "", 200), step,
    )  # fmt: skip


def _tell_wait(row: Row) -> SafeString:
    if not row.holder:
        return format_html('<span class="clip">{}</span>', row.reason)
    return format_html(
        '<span class="clip">key {} held by <a class="mono" href="{}">…{}</a></span>',
        _cut(row.run.concurrency_key or "", 60), run_path(row.holder), tail(row.holder),
    )  # fmt: skip


def _tell_cancel(row: Row) -> SafeString:
    return format_html('<span class="clip">{}</span>', row.reason or "cancelled")


def _tell_steps(row: Row) -> SafeString:
    return format_html('<span class="clip sub">{}</span>', _steps(row.run))


_TOLD: dict[str, Callable[[Row], SafeString]] = {
    RunStatus.RUNNING: _tell_progress,
    RunStatus.FAILED: _tell_error,
    RunStatus.PENDING: _tell_wait,
    RunStatus.WAITING: _tell_wait,
    RunStatus.CANCELLED: _tell_cancel,
}


def _steps(run: Run) -> str:
    return f"{run.step_count} step{'' if run.step_count == 1 else 's'}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


#: The mark of a run in a drawing, by its status: shape and colour.
_AT = '<svg x="{x}" y="{y}" overflow="visible">'
_DOTS = {
    "failed": _AT + '<rect class="f-bad" x="-3.5" y="-3.5" width="7" height="7" rx="1"/></svg>',
    "cancelled": _AT + '<path class="d-idle" d="M-3 3 3-3M-3-3 3 3"/></svg>',
    "running": '<circle class="f-run" cx="{x}" cy="{y}" r="4"/>',
    "waiting": _AT + '<path class="f-wait" d="M0-4.5 4.5 0 0 4.5-4.5 0z"/></svg>',
    "pending": '<circle class="d-idle" cx="{x}" cy="{y}" r="3"/>',
    "completed": '<circle class="f-ok" opacity=".75" cx="{x}" cy="{y}" r="3"/>',
}


@register.simple_tag
def dot(status: str, x: str = "4", y: str = "4") -> SafeString:
    """The mark of a run at a place in a drawing; alone, in the middle of one of 8 by 8."""
    return format_html(_DOTS[status], x=x, y=y)


@register.simple_tag
def log_lines(lines: Sequence[Line], zone: str, *, of_step: bool = False) -> SafeString:
    """Lines of a log, those of one step without its name."""
    shown = escape(zone)
    drawn = "".join(_log_line(line, shown, of_step) for line in lines)
    return mark_safe(drawn)  # nosec B703 # noqa: S308 (escaped below)


def _log_line(line: Line, zone: str, of_step: bool) -> str:
    entry, step, data = line.entry, "", ""
    level = escape(entry.level)
    if entry.step and not of_step:
        link = f"?step={quote(entry.step, safe='')}#run-step"
        step = f'<a class="sub" href="{link}">{escape(entry.step)}</a> '
    if line.data:
        data = f' <span class="sub">{escape(line.data)}</span>'
    return (
        f'<li class="l-{level}" id="log-{"step-" if of_step else ""}{entry.id}">'
        f'<span title="{line.time} {zone}">{line.offset}</span><span>{level}</span>'
        f"<span>{step}{escape(entry.message)}{data}</span></li>\n"
    )


@register.simple_tag
def json_value(node: Node) -> SafeString:
    """A JSON value as a tree to fold."""
    drawn = _json_node(node)
    return mark_safe(drawn)  # nosec B703 # noqa: S308 (escaped below)


def _json_node(node: Node) -> str:
    key = "" if node.key is None else f"<i>{escape(node.key)}</i>: "
    if not node.is_branch:
        return f'{key}<span class="{node.kind}">{escape(node.text)}</span>'
    children = "".join(f"<li>{_json_node(child)}</li>" for child in node.children)
    more = f'<li class="sub">… {node.more} more</li>' if node.more else ""
    opened = " open" if node.opened else ""
    summary = f"<summary>{key}{escape(node.text)}</summary>"
    return f"<details{opened}>{summary}<ul>{children}{more}</ul></details>"


@register.filter
def took(value: timedelta | float | None) -> str:
    """A duration for people; empty for none."""
    if value is None:
        return ""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return fmt.duration(seconds)


@register.filter("bytes")
def size(value: float | None) -> str:
    """A number of bytes for people; empty for none."""
    return "" if value is None else fmt.size(value)


@register.filter
def of_run(message: str, id: uuid.UUID) -> str:
    """What is said of a run, beside its id: without naming it again."""
    rest = message.removeprefix(f"Run {id} ")
    return rest[:1].upper() + rest[1:]


@register.filter
def tail(id: uuid.UUID | str) -> str:
    """The last four digits, which tell runs apart."""
    return str(id)[-4:]
