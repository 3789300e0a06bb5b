"""``manage.py web``: the web server alone."""

from __future__ import annotations

import argparse
import os
import socket
from types import FrameType
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs import live, startup


def port_number(text: str) -> int:
    """A number that a port can have, for argparse."""
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 65535")
    return int(text)


def descriptor(text: str) -> int:
    """An open file descriptor, for argparse."""
    try:
        os.fstat(int(text))
    except (OSError, ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the number of an open socket, which the parent has to pass on"
        ) from None
    return int(text)


class Command(BaseCommand):
    """Serves pages and API until SIGTERM or Ctrl-C."""

    help = "Run the web server alone, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="Address to listen on (default: this machine only)."
        )
        parser.add_argument(
            "--port", type=port_number, default=settings.PORT, help="Port (default: PORT, or 8000)."
        )
        parser.add_argument(
            "--fd",
            type=descriptor,
            help="Serve on this listening socket, inherited from the parent.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            listener = self._listener(options)
        except (startup.StartupError, OSError) as error:
            raise CommandError(str(error)) from error
        # By name, so that this command starts without the site's address book.
        module, _, name = settings.ASGI_APPLICATION.rpartition(".")
        config = uvicorn.Config(
            f"{module}:{name}",
            access_log=settings.DEBUG,
            log_config=None,  # Django's settings have the say
            log_level="info" if settings.DEBUG else "warning",
            lifespan="off",  # Django knows nothing of it
            timeout_graceful_shutdown=2,  # an open event stream would keep it for ever
            server_header=False,
            proxy_headers=False,  # TRUSTED_PROXIES has the say; uvicorn's default trusts this host
        )
        with listener:
            Server(config).run(sockets=[listener])

    def _listener(self, options: dict[str, Any]) -> socket.socket:
        if options["fd"] is not None:
            try:
                return socket.socket(fileno=options["fd"])
            except OSError as error:
                problem = f"--fd {options['fd']} can't be served on: {error.strerror}."
                raise startup.StartupError(problem) from None
        listener = startup.open_socket(options["host"], options["port"])
        host = f"[{options['host']}]" if ":" in options["host"] else options["host"]
        self.stdout.write(f"Serving http://{host}:{options['port']}/")
        self.stdout.flush()
        return listener


class Server(uvicorn.Server):
    """Uvicorn, which ends open streams, and obeys a signal only once.

    Left to itself it raises the signal again after the shutdown. So the process ends with exit
    code 0, and what comes after the server still runs.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Nothing that takes a lock: the code that this interrupts may hold it.
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        live.close()  # the server waits for open streams
        await super().shutdown(sockets)
