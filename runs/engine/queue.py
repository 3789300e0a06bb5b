"""The queue in SQL: which run is next, and taking it.

The queue's index is ordered by (priority, due_at, id). A loose scan jumps from one priority to
the next, instead of sorting all that is due, so that runs of high priority that are scheduled
for later cost nothing.
"""

from __future__ import annotations

import functools

from runs.engine.database import Statement

# A scalar subquery, not a join: PostgreSQL would want to lock the job's row too.
_CANDIDATE = """
    r.id, r.status, r.lease_owner, r.concurrency_key,
    EXISTS (SELECT 1 FROM runs_job j WHERE j.name = r.job AND j.paused_at IS NOT NULL) AS is_paused
"""

_LEVELS = """
    levels(priority) AS (
        SELECT max(priority) FROM runs_run WHERE due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT max(q.priority) FROM runs_run q
                WHERE q.due_at IS NOT NULL AND q.priority < levels.priority)
        FROM levels WHERE levels.priority IS NOT NULL
    )
"""


def _expired(picked: str, runs: str, ours: str, is_due: str = "r.due_at <= {now}") -> str:
    return f"""
        SELECT {picked} FROM {runs} WHERE r.status = 'running' AND {is_due} AND {ours}
        ORDER BY r.due_at LIMIT 1
    """


def _next_of_level(level: str, picked: str, runs: str, ours: str) -> str:
    return f"""
        SELECT {picked} FROM {runs}
        WHERE r.due_at IS NOT NULL AND r.priority = {level} AND r.due_at <= {{now}} AND {ours}
        ORDER BY r.due_at, r.id LIMIT 1
    """


def _take(deaths: str) -> str:
    return f"""
        UPDATE runs_run AS r SET
            status = 'running', lease_owner = %s, lease_expires_at = {{lease_end}},
            due_at = {{lease_end}}, lease_generation = r.lease_generation + 1,
            held_key = r.concurrency_key, started_at = COALESCE(r.started_at, {{now}}),
            recoveries = r.recoveries + {deaths}, seq = r.seq + 1
    """


# SQLite: a statement costs microseconds, so what is likely comes first.

KEY_IS_HELD = Statement("SELECT 1 FROM runs_run WHERE held_key = %s AND id <> %s")

PARK = Statement("UPDATE runs_run SET due_at = NULL WHERE id = %s AND status = 'pending'")

#: Parameters: owner, seconds of the lease twice, 1 or 0 deaths, id.
TAKE = Statement(_take(deaths="%s") + "WHERE id = %s")


@functools.lru_cache(maxsize=16)
def looks(job_count: int) -> tuple[Statement, ...]:
    """Where SQLite looks for the next run of so many jobs, until it has found one.

    Among those whose lease has run out; those of the highest priority there is; all. The
    parameters are the jobs' names; the columns those of the candidate, then job, input,
    labels, attempt, generation, recoveries and seq.
    """
    ours = f"r.job IN ({', '.join(['%s'] * job_count)})"
    columns = _CANDIDATE + (
        ", r.job, r.input, r.labels, r.attempt, r.lease_generation, r.recoveries, r.seq"
    )
    leases, queue = "runs_run r INDEXED BY run_lease_end", "runs_run r INDEXED BY run_queue"
    top = "(SELECT max(q.priority) FROM runs_run q WHERE q.due_at IS NOT NULL)"
    # No LATERAL: a scalar subquery picks the id, and the row is read by it.
    everywhere = f"""
        WITH RECURSIVE {_LEVELS} SELECT {columns} FROM runs_run r WHERE r.id = (
            SELECT picked FROM (
                SELECT ({_next_of_level("levels.priority", "r.id", queue, ours)}) AS picked
                FROM levels WHERE levels.priority IS NOT NULL
            ) WHERE picked IS NOT NULL LIMIT 1
        )
    """
    return (
        Statement(_expired(columns, leases, ours)),
        Statement(_next_of_level(top, columns, queue, ours)),
        Statement(everywhere),
    )


# PostgreSQL: a statement is a round trip, so a claim is one.

_OURS = "r.job = ANY(%s)"
_LOCK = "FOR UPDATE SKIP LOCKED"

# The same as ``due_at <= now``, but for the planner no proof that ``due_at`` is not null: with
# statistics of before a burst of triggers it would look for running runs in the queue's index,
# and read the whole queue.
_IS_DUE_WHATEVER_THE_QUEUE = """
    (r.due_at, r.id) <= ({now}, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
"""


def _candidate(ours: str, lock: str) -> str:
    """The next run, as ``candidate``. Parameters: those of ``ours``, twice."""
    queue = _next_of_level("levels.priority", _CANDIDATE, "runs_run r", ours)
    expired = _expired(_CANDIDATE, "runs_run r", ours, _IS_DUE_WHATEVER_THE_QUEUE)
    return f"""
        expired AS ({expired} {lock}),
        {_LEVELS},
        queued AS (
            SELECT picked.* FROM levels CROSS JOIN LATERAL ({queue} {lock}) AS picked
            WHERE levels.priority IS NOT NULL AND NOT EXISTS (SELECT 1 FROM expired) LIMIT 1
        ),
        candidate AS (SELECT * FROM expired UNION ALL SELECT * FROM queued)
    """


def _taking(lock_holder: str) -> str:
    """Takes the candidate, unless its job is paused or its key held, and tells the history.

    Parameters: owner, seconds of the lease twice, the owner's name, the time.
    """
    return f"""
        holder AS (
            SELECT h.id FROM runs_run h JOIN candidate c
            ON h.held_key = c.concurrency_key AND h.id <> c.id {lock_holder}
        ),
        chosen AS (
            SELECT id, lease_owner, status = 'running' AND lease_owner IS NOT NULL AS has_died
            FROM candidate
            WHERE NOT (is_paused AND status = 'pending') AND NOT EXISTS (SELECT 1 FROM holder)
        ),
        taken AS (
            {_take(deaths="chosen.has_died::int")} FROM chosen WHERE r.id = chosen.id
            RETURNING r.id, r.job, r.input, r.labels, r.attempt, r.lease_generation, r.recoveries,
                r.concurrency_key, r.seq, chosen.has_died, chosen.lease_owner AS died
        ),
        started AS (
            INSERT INTO runs_runevent (run_id, kind, actor, reason, data, created_at, seq)
            SELECT id, CASE WHEN has_died THEN 'taken_over' ELSE 'started' END, %s, '',
                CASE WHEN has_died THEN json_build_object('attempt', attempt, 'from', died)
                ELSE json_build_object('attempt', attempt) END, %s, seq
            FROM taken
        )
    """


_TAKEN = """
    taken.id, taken.job, taken.input, taken.labels, taken.attempt, taken.lease_generation,
    taken.recoveries, taken.concurrency_key
"""

#: A claim: one row if there was a run to look at, without values if it was parked. The holder of
#: its key is locked, or it could free the key just before this parks the run that waits for it.
CLAIM = Statement(f"""
    WITH RECURSIVE {_candidate(_OURS, _LOCK)}, {_taking("FOR SHARE OF h")},
    parked AS (
        UPDATE runs_run AS r SET due_at = NULL FROM candidate c
        WHERE r.id = c.id AND r.status = 'pending' AND NOT EXISTS (SELECT 1 FROM chosen)
    )
    SELECT {_TAKEN} FROM candidate LEFT JOIN taken ON taken.id = candidate.id
""")

#: The same in the statement that ends a run, if that is ended: ``run``. The parameters of
#: ``candidate`` are the jobs' names and that run's id. It waits for no lock, since the run it
#: ends is locked by now, and two that wait for each other would stop both.
CLAIM_AFTER = f"""
    {_candidate(f"{_OURS} AND r.id <> %s AND EXISTS (SELECT 1 FROM run)", _LOCK)}, {_taking("")}
"""
RESULT_AFTER = f"SELECT {_TAKEN} FROM run LEFT JOIN taken ON true"

#: Whether a run is due.
IS_DUE = Statement(f"WITH RECURSIVE {_candidate(_OURS, '')} SELECT 1 FROM candidate")
