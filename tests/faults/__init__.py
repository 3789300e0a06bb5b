"""Attempts to break the engine's promises.

- ``invariants``: the promises that a look at the database can check, as a table
- ``hostile``, ``test_hostile_handlers``: jobs that misbehave
- ``races``, ``test_races``: many threads and processes at one moment
- ``servers``, ``test_dependencies``: databases and queues that fail
- ``crash_points``, ``test_crash_points``: a kill between any two statements
- ``test_stop_points``: SIGTERM between any two statements of a worker
- ``disk``, ``test_power_loss``: what a disk holds at an arbitrary moment
- ``load``, ``soak``, ``test_soak``: everything at once, for minutes
- ``test_log_lines``: a log whose worker dies, or that can't be written

docs/guarantees.md says which promise each of them attacks.
"""
