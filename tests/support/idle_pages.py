"""What open pages cost while nothing happens: measured with real streams.

Opens event streams to a running web process (``manage.py web``) as pages do, and prints the
processor time, memory and threads that it needs for them. Needs Linux, and a session of
somebody who may see runs::

    python -m tests.support.idle_pages --pid 4242 --port 8000 --session <sessionid>
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from pathlib import Path


def open_stream(port: int, session: str, query: str) -> socket.socket:
    """A stream that nobody reads: what little is sent while idle fits into its buffer."""
    stream = socket.create_connection(("127.0.0.1", port), timeout=20)
    request = (
        f"GET /live/?{query} HTTP/1.1\r\nHost: localhost:{port}\r\n"
        f"Cookie: sessionid={session}\r\n\r\n"
    )
    stream.sendall(request.encode())
    status = stream.recv(12)
    assert status.endswith(b"200"), status
    return stream


def processor_seconds(pid: int) -> float:
    """What the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status_of(pid: int, name: str) -> int:
    """A number of ``/proc/<pid>/status``."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--session", required=True)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    found = parser.parse_args()
    before = status_of(found.pid, "VmRSS")
    began, used = time.monotonic(), processor_seconds(found.pid)
    queries = ["topic=runs", "topic=runs&topic=workers", "topic=job%3Aprocess-order"]
    streams = [
        open_stream(found.port, found.session, queries[number % len(queries)])
        for number in range(found.pages)
    ]
    opening = processor_seconds(found.pid) - used
    sys.stdout.write(f"{found.pages} pages opened in {time.monotonic() - began:.1f} s, ")
    sys.stdout.write(f"{opening:.1f} s of a core\n")
    time.sleep(5)
    used = processor_seconds(found.pid)
    time.sleep(found.seconds)
    share = (processor_seconds(found.pid) - used) / found.seconds
    grown = (status_of(found.pid, "VmRSS") - before) / found.pages
    threads = status_of(found.pid, "Threads")
    sys.stdout.write(
        f"idle: {share:.1%} of a core, {grown:.0f} kB a page, {threads} threads in all\n"
    )
    for stream in streams:
        stream.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
