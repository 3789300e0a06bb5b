"""Hosts on one machine: network namespaces whose cables meet in a bridge.

Nothing outside of them is touched: the bridge lies in a namespace of its own, where the
servers live. What a killed test run has left behind, the next one removes.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.services import Missing

_PREFIX = "durably"
_NETWORK = "10.87.0"

#: The address of the host that the servers live on.
SERVER = f"{_NETWORK}.1"


def ip(*words: str) -> str:
    """What ``ip`` prints. Raises Missing if it isn't there or may not."""
    if shutil.which("ip") is None:
        raise Missing("no ip(8) on PATH, of Debian's package iproute2")
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Host:
    """A machine with its own network, name and directory."""

    def __init__(self, name: str, namespace: str, address: str, folder: Path) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address
        self.var = folder / name
        self.port = ""

    @property
    def prefix(self) -> list[str]:
        """What makes the command behind it run there."""
        named = 'echo "$0" >/proc/sys/kernel/hostname && exec "$@"'
        entered = ["ip", "netns", "exec", self.namespace, "unshare", "--uts"]
        return [*entered, "sh", "-c", named, self.name]

    def run(self, *command: str, timeout: float = 30) -> str:
        """What a command prints there."""
        words = [*self.prefix, *command]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill(self) -> None:
        """SIGKILL all that runs there."""
        for pid in ip("netns", "pids", self.namespace).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


class Network:
    """A bridge, and the hosts that are plugged into it."""

    def __init__(self, folder: Path) -> None:
        _remove_leftovers()
        self._folder = folder
        self._prefix = f"{_PREFIX}-{os.getpid()}"
        self._hosts: list[Host] = []
        self._numbers = itertools.count(10)
        self.server = self._make("server", SERVER)
        self._at_server("link", "add", "bridge0", "type", "bridge")
        self._at_server("addr", "add", f"{SERVER}/24", "dev", "bridge0")
        self._at_server("link", "set", "bridge0", "up")

    def add(self) -> Host:
        """A host with a cable to the bridge."""
        number = next(self._numbers)
        host = self._make(f"host-{number}", f"{_NETWORK}.{number}")
        host.port = f"port{number}"
        peer = ["peer", "name", "eth0", "netns", host.namespace]
        self._at_server("link", "add", host.port, "type", "veth", *peer)
        self._at_server("link", "set", host.port, "master", "bridge0", "up")
        ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        ip("-n", host.namespace, "link", "set", "eth0", "up")
        return host

    def cut(self, host: Host) -> None:
        """Lose all that is sent to or from a host; nobody is told."""
        self._at_server("link", "set", host.port, "nomaster")

    def mend(self, host: Host) -> None:
        """Let a host's packets through again."""
        self._at_server("link", "set", host.port, "master", "bridge0")

    def power_off(self, host: Host) -> None:
        """End a host at once: nothing that runs there says a farewell to anybody."""
        self.cut(host)
        host.kill()

    def close(self) -> None:
        """End what runs on the hosts, and remove them."""
        for host in list(self._hosts):
            self.remove(host)

    def remove(self, host: Host) -> None:
        """End what runs on a host, and remove it."""
        self._hosts.remove(host)
        host.kill()
        ip("netns", "del", host.namespace)

    def _make(self, name: str, address: str) -> Host:
        host = Host(name, f"{self._prefix}-{name}", address, self._folder)
        ip("netns", "add", host.namespace)
        self._hosts.append(host)
        host.var.mkdir()
        ip("-n", host.namespace, "link", "set", "lo", "up")
        return host

    def _at_server(self, *words: str) -> None:
        ip("-n", self.server.namespace, *words)


def _remove_leftovers() -> None:
    """Remove the hosts of test runs that are no more."""
    for line in ip("netns", "list").splitlines():
        namespace = line.split()[0]
        prefix, _, rest = namespace.partition("-")
        pid = rest.partition("-")[0]
        if prefix == _PREFIX and pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            Host("", namespace, "", Path()).kill()
            ip("netns", "del", namespace)
