"""What the documentation says is true: its snippets run, its links lead somewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from django.apps import apps
from django.conf import settings
from django.dispatch import Signal
from django.test import override_settings

from runs import checks, conf, errors, signals
from runs.models import EventKind
from runs.registry import JobDefinition
from tests import services
from tests.docs.blocks import ROOT, blocks, pages, prose
from tests.docs.runner import Page, environment_names, read_settings

#: Names in capitals that are no settings of this product.
_OTHER_NAMES = {"SIGTERM", "SIGINT", "SIGKILL", "FULL", "NORMAL", "EXTRA", "PR_SET_PDEATHSIG"}
_OTHER_NAMES |= {"INPUT", "UUID", "COMMIT", "VACUUM", "ANALYZE"}
_REFERENCE = ROOT / "docs" / "reference"


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def page_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.chdir(tmp_path)
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    state = Page(tmp_path)
    yield state
    state.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("doc", pages(), ids=_id)
def test_every_snippet_does_what_the_page_says(
    doc: Path, page_state: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in blocks(doc):
        if "not run" in block.markers:
            continue
        try:
            page_state.run(block)
        except services.Missing as missing:
            services.skip_or_fail(missing)
        except Exception as error:
            raise AssertionError(f"{block.place}: {type(error).__name__}: {error}") from error
    _check_environment(page_state.environment, monkeypatch)


def _check_environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page sets makes usable settings, and the system checks agree."""
    if not environment:
        return
    monkeypatch.setenv("VAR_DIR", str(settings.VAR_DIR))
    found = read_settings({k: v for k, v in environment.items() if k != "VAR_DIR"}, monkeypatch)
    chosen = {name: found[name] for name in (*conf.SETTINGS, "PORT", "SQLITE_SYNCHRONOUS")}
    with override_settings(**chosen):
        assert checks.check_settings() == []


def test_what_is_not_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    everything = [block for page in pages() for block in blocks(page)]
    left_out = [block for block in everything if "not run" in block.markers]
    with capsys.disabled():
        sys.stderr.write(f"\ndocs: {len(everything)} snippets, {len(left_out)} of them not run\n")
        for block in left_out:
            sys.stderr.write(f"  {block.place}: {block.markers['not run']}\n")
    assert all(len(block.markers["not run"]) > 5 for block in left_out)


@pytest.mark.parametrize("doc", pages(), ids=_id)
def test_links_lead_somewhere(doc: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(doc)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        linked = (doc.parent / path).resolve() if path else doc
        assert linked.exists(), f"{_id(doc)} links to {target}"
        if anchor:
            assert anchor in _anchors(linked), f"{_id(doc)} links to {target}: no such heading"


def test_pictures_are_there() -> None:
    sources = re.findall(r'(?:src|srcset)="([^"]+)"', prose(ROOT / "README.md"))
    assert sources == ["docs/images/run-dark.png", "docs/images/run-light.png"]
    if (ROOT / "docs" / "images").exists():
        assert all((ROOT / source).is_file() for source in sources)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("doc", pages(), ids=_id)
def test_settings_that_pages_name_exist(doc: Path) -> None:
    known = {*conf.SETTINGS, *environment_names(), *_OTHER_NAMES}
    for name in re.findall(r"`([A-Z][A-Z0-9_]{3,})(?:=[^`]*)?`", prose(doc)):
        assert name in known, f"{_id(doc)} names {name}"


def _documented(page: str) -> set[str]:
    """What a reference page has a heading or a table row for."""
    text = prose(_REFERENCE / page)
    headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return set(re.findall(r"`([\w.-]+)[^`]*`", "\n".join([*headings, *rows])))


@pytest.mark.parametrize("name", sorted({*conf.SETTINGS, *environment_names()}))
def test_every_setting_is_documented(name: str) -> None:
    assert name in _documented("settings.md")


@pytest.mark.parametrize("setting", conf.SETTINGS.values(), ids=lambda setting: setting.name)
def test_the_defaults_are_the_documented_ones(setting: conf.Setting) -> None:
    text = (_REFERENCE / "settings.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"| `{setting.name}`"))
    shown = row.split("|")[2].strip().strip("`").replace(",", "")
    assert shown == str("empty" if setting.default in ("", None) else setting.default)


@pytest.mark.parametrize(
    "name",
    sorted(
        path.stem
        for path in (ROOT / "runs" / "management" / "commands").glob("*.py")
        if path.stem != "__init__"
    ),
)
def test_every_command_is_documented(name: str) -> None:
    assert name in _documented("commands.md")


def test_every_error_is_documented_with_its_status_and_code() -> None:
    text = (_REFERENCE / "errors.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.RunsError)
    ]
    assert len(classes) > 10
    for error in classes:
        row = f"| `{error.__name__}` | {error.status} | `{error.code}` |"
        assert any(line.startswith(row) for line in rows), row


def test_every_signal_is_documented() -> None:
    names = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert names <= _documented("signals.md")


@pytest.mark.parametrize(
    "name", sorted(apps.all_models["runs"][name].__name__ for name in apps.all_models["runs"])
)
def test_the_documented_fields_of_models_exist(name: str) -> None:
    from runs import models

    text = prose(_REFERENCE / "models.md").partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    kinds = set(EventKind.values) if name == "RunEvent" else set()
    named = set(re.findall(r"`(\w+)`", "\n".join(rows))) - kinds
    assert named
    assert {field for field in named if not hasattr(getattr(models, name), field)} == set()


def test_the_fields_that_other_code_may_read_are_documented() -> None:
    documented = _documented("models.md")
    promised = """id job status input output labels error attempt idempotency_key concurrency_key
        priority run_at created_at started_at finished_at run name index attempts step level
        message data"""
    assert set(promised.split()) <= documented
    assert set(EventKind.values) <= documented


def test_every_public_name_is_documented() -> None:
    import runs

    text = "\n".join(path.read_text() for path in sorted(_REFERENCE.glob("*.md")))
    for name in runs.__all__:
        assert f"`{name}" in text or f".{name}`" in text, name


@pytest.mark.parametrize("owner", ["Step", "JobDefinition"])
def test_every_public_method_is_documented(owner: str) -> None:
    from runs import Step

    page, classes = {
        "Step": ("step.md", Step.__mro__[:-1]),
        "JobDefinition": ("jobs.md", (JobDefinition,)),
    }[owner]
    text = (_REFERENCE / page).read_text()
    for cls in classes:
        for name, value in vars(cls).items():
            if not name.startswith("_") and (callable(value) or isinstance(value, property)):
                assert re.search(rf"[`.]{name}\b", text), f"{owner}.{name} is not in {page}"


def test_the_job_of_the_readme_has_at_most_twenty_lines() -> None:
    job = next(b for b in blocks(ROOT / "README.md") if "file" in b.markers)
    assert len(job.text.splitlines()) <= 20


@pytest.mark.parametrize(
    ("language", "text", "problem"),
    [
        ("python", "print(1 + 1)  # 3\n", "'3' is not printed"),
        ("python", "print(1 + 1)\n", "say what it prints"),
        ("python", "1 / 0\n", "division by zero"),
        ("sh", "make coffee\n", "make knows no 'coffee'"),
        ("sh", "python manage.py brew\n", "there is no command 'brew'"),
        ("sh", "python manage.py web --prot 1\n", "ended with 2"),
        ("sh", "python manage.py trigger no-such-job\n", "ended with 64"),
        ("sh", "COLOUR=1 make up\n", "the settings read no COLOUR"),
        ("sh", "rm -rf var\n", "nobody knows how to check 'rm'"),
        ("console", "$ echo tea\ncoffee\n", "'coffee' is not printed"),
        ("ini", "[Service]\nExecStart=x manage.py web --prot 1\n", "ended with 2"),
        ("json", "{'a': 1}\n", "Expecting property name"),
        ("text", "anything\n", "nobody knows how to check text"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_what_is_not_true_is_found(
    language: str, text: str, problem: str, tmp_path: Path, page_state: Page
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```{language}\n{text}```\n")
    [block] = blocks(page)
    with pytest.raises((AssertionError, ValueError, ArithmeticError), match=problem):
        page_state.run(block)


def test_markers_are_spelled_right() -> None:
    for page in pages():
        for comment in re.findall(r"^<!-- (.+?) -->$", page.read_text(), re.MULTILINE):
            known = re.match(r"(file|with|exits|same as|not run): .", comment)
            assert known, f"{_id(page)}: {comment}"
