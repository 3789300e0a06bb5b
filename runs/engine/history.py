"""The history of a run: RunEvent rows, in the transaction of the change they tell of."""

from __future__ import annotations

from typing import Any

from runs.engine import database
from runs.engine.database import Hot, Statement
from runs.models import EventKind, Run
from runs.payloads import clean_text, dumps

#: An event of the run that has just been updated. Parameters: kind, actor, data, time.
INSERT_FOR_RUN = """
    INSERT INTO runs_runevent (run_id, kind, actor, reason, data, created_at, seq)
    SELECT id, %s, %s, '', %s, %s, seq FROM {run}
"""

_INSERT = Statement(
    "INSERT INTO runs_runevent (run_id, kind, actor, reason, data, created_at, seq) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s)"
)


def describe_actor(actor: Any) -> str:
    """Who did it, as text: a user's name, or what the caller says; ``code`` for nobody."""
    if actor is None:
        return "code"
    name = actor.get_username() if hasattr(actor, "get_username") else str(actor)
    return clean_text(name)[:200] or "code"


def record(run: Run, kind: EventKind, actor: str, *, reason: str = "", data: Any = None) -> None:
    """Append an event with the run's present ``seq``. Call inside the change's transaction."""
    run_id = database.id_param(run.pk)
    record_hot(database.directly, run_id, kind, actor, run.seq, data, clean_text(reason))


def record_hot(
    hot: Hot,
    run_id: Any,
    kind: EventKind,
    actor: str,
    seq: int,
    data: Any = None,
    reason: str = "",
) -> None:
    """The same with ids as parameters, from inside ``hot_write()``."""
    text = None if data is None else dumps(data)
    now = database.time_param(database.utc_now())
    hot.count(_INSERT, (run_id, kind.value, actor, reason, text, now, seq))
