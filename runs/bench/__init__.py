"""``manage.py bench``: measures this installation, and never touches its database.

``scratch`` makes a database for each target (SQLite with two settings, PostgreSQL), and
``command`` starts a process there, which measures (``measuring``) with a real worker
(``worker``) and prints its ``results`` as lines of JSON. One module for each kind of
measurement: ``steps``, ``throughput``, ``latency``, ``buffered``, and in a large database that
``seed`` fills (with the runs of a ``month``, which are ``invented``), ``flat``, ``long_run``,
``purge`` and ``pages`` (at their ``addresses``). ``baseline`` is what the same database does
without an engine, taken in turn with the engine's figures, since only their ratio means
something on a machine that does other things too.
"""
