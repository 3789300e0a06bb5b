"""How connections to PostgreSQL behave when the network is cut, or the other machine dies.

Left to itself, TCP takes two hours to notice. Until then a worker would wait for an answer that
never comes, and the server would keep the locks of a transaction whose client is gone: nobody
could take over the run that it was about to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def noticing_loss(
    seconds: float, given: Mapping[str, Any] | None = None, *, pooler: bool = False
) -> dict[str, Any]:
    """Parameters for libpq, by which client and server give up a lost connection in this time.

    Those given win. The server gets its part in ``options``, which a ``pooler`` in between would
    refuse. On a Unix socket they do nothing. The shortest time that TCP allows for is about 4
    seconds.
    """
    given = given or {}
    idle, interval, count = max(1, int(seconds / 3)), max(1, int(seconds / 6)), 3
    unanswered = max(1_000, int(seconds * 800))  # milliseconds
    server = {
        "tcp_keepalives_idle": idle,
        "tcp_keepalives_interval": interval,
        "tcp_keepalives_count": count,
        "tcp_user_timeout": unanswered,
    }
    added = " ".join(f"-c {name}={value}" for name, value in server.items())
    client = {
        "connect_timeout": max(2, idle),
        "keepalives_idle": idle,
        "keepalives_interval": interval,
        "keepalives_count": count,
        "tcp_user_timeout": unanswered,
        **given,
    }
    return client if pooler else {**client, "options": f"{added} {client.get('options', '')}"}
