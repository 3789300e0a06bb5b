"""Jobs by name or by key.

``createDurably({api}).importCsv.useJob()`` sends the property's name, ``importCsv``, as that
of the job ``import-csv``. So a name in camelCase will do wherever a job is named.
"""

from __future__ import annotations

import re

from runs.errors import NotFoundError, ValidationError
from runs.registry import registry

_SEPARATORS = re.compile(r"[-_.]+")


def key_of(name: str) -> str:
    """A job's name as a JavaScript property: ``import-csv`` is ``importCsv``."""
    first, *rest = _SEPARATORS.split(name)
    return first[:1].lower() + first[1:] + "".join(word[:1].upper() + word[1:] for word in rest)


def names_of(text: str) -> tuple[str, ...]:
    """The jobs that a name or key stands for; the text itself if this process knows none."""
    known = registry.names()
    if text in known:
        return (text,)
    return tuple(name for name in known if key_of(name) == text) or (text,)


def name_of(text: str) -> str:
    """The one job that a name or key stands for.

    Raises NotFoundError; ValidationError for a key that several jobs have.
    """
    names = names_of(text)
    if len(names) > 1:
        raise ValidationError(f"jobName {text} may be {' or '.join(names)}: use the job's name")
    if registry.get(names[0]) is None:
        raise NotFoundError(f"Job not found: {text}")
    return names[0]
