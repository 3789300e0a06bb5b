"""The durable engine: the only code that changes a run.

By who acts:

- ``triggers``, ``operations``: a person or a program (trigger, retry, cancel, delete …)
- ``claims``, ``leases``: a worker takes a run and keeps it
- ``checkpoints``: the fenced writes of the lease's holder
- ``step``, ``execution``, ``executor``: one claimed run, from its handler to its outcome
- ``worker``, ``wakeups``: the process, and the doorbell that wakes it
- ``recovery``: the clock (dead workers, expired leases, retention)
- ``lookups``, ``waiting``: reads
- ``database``, ``history``: the ground the others stand on
"""
