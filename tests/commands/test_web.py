"""The web server: how it takes requests, and its end."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvicorn
from asgiref.testing import ApplicationCommunicator
from django.core.management import CommandError, call_command
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin
from pytest_django import Settings

from durably_site.one_thread import Application
from runs.live import hub
from runs.management.commands.web import Command, Server


def test_a_signal_waits_for_no_lock_that_the_code_it_interrupts_may_hold() -> None:
    """A browser that leaves at the moment of the signal has the server in ``hub.leave``."""
    server = Server(uvicorn.Config("durably_site.asgi:application", log_config=None))
    with hub._lock:
        handler = threading.Thread(
            target=server.handle_exit, args=(signal.SIGTERM, None), daemon=True
        )
        handler.start()
        handler.join(5)
    assert not handler.is_alive()
    assert server.should_exit


class Witness(MiddlewareMixin):
    """Says in which thread it was."""

    seen: ClassVar[list[int]] = []

    def process_request(self, request: HttpRequest) -> None:
        self.seen.append(threading.get_ident())

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        self.seen.append(threading.get_ident())
        return response


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--port", "0"], "--port: '0' is not a whole number from 1 to 65535"),
        (["--port", "70000"], "--port: '70000' is not"),
        (["--fd", "-1"], "--fd: '-1' is not the number of an open socket"),
        (["--fd", "9999"], "--fd: '9999' is not"),
    ],
)
def test_wrong_usage_names_the_option(
    capsys: pytest.CaptureFixture[str], options: list[str], problem: str
) -> None:
    with pytest.raises(SystemExit):
        Command().run_from_argv(["manage.py", "web", *options])
    assert problem in capsys.readouterr().err


def test_what_is_open_but_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(CommandError, match="--fd"):
        call_command("web", fd=file.fileno())


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_refused_with_the_remedy(host: str) -> None:
    with pytest.raises(CommandError, match=f"{host}.*Give --host an address of this machine"):
        call_command("web", host=host, port=8000)


def test_a_request_meets_all_middleware_in_one_thread_and_not_in_the_event_loop_s(
    settings: Settings,
) -> None:
    settings.MIDDLEWARE = [f"{__name__}.Witness", *settings.MIDDLEWARE, f"{__name__}.Witness"]
    Witness.seen.clear()

    async def ask() -> dict[str, Any]:
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/healthz"}
        scope["headers"] = [(b"host", b"testserver")]
        call: Any = ApplicationCommunicator(Application(), scope)  # type: ignore[no-untyped-call]
        await call.send_input({"type": "http.request"})
        found: dict[str, Any] = await call.receive_output(10)
        await call.receive_output(10)
        await call.wait(10)
        return found

    assert asyncio.run(ask())["status"] == 200
    assert len(Witness.seen) == 4
    assert len(set(Witness.seen)) == 1
    assert Witness.seen[0] != threading.get_ident()
