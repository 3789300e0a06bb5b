"""The product as documented for production: behind nginx, over HTTPS."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission, User

from runs.models import DeniedAttempt
from tests import processes, services
from tests.docs.blocks import ROOT, blocks

HOST = "runs.example.org"
#: Another address of this machine than that of the proxy.
CLIENT = "127.0.0.2"
PASSWORD = "a long and good one"

_PAGE = ROOT / "docs" / "how-to" / "deploy.md"


def documented(file: str) -> str:
    """The text of a file in the page."""
    [found] = [block.text for block in blocks(_PAGE) if block.markers.get("file") == file]
    return found


def environment() -> dict[str, str]:
    """The documented variables, but for where the tests keep their data."""
    found = dict(re.findall(r'export (\w+)="?([^"\n]*)', documented("durably.conf")))
    return {
        name: found[name] for name in found if name not in ("DATABASE_URL", "HUEY_URL", "VAR_DIR")
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def nginx(folder: Path, web: int, plain: int, tls: int) -> Iterator[None]:
    """The documented server, with ports and a certificate of the test."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
    subject = ["-subj", f"/CN={HOST}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *subject], check=True, capture_output=True)
    text = documented("durably.nginx")
    for pattern, value in (
        (r"listen 80;", f"listen 127.0.0.1:{plain};"),
        (r"listen 443 ", f"listen 127.0.0.1:{tls} "),
        (r"ssl_certificate .*;", f"ssl_certificate {certificate};"),
        (r"ssl_certificate_key .*;", f"ssl_certificate_key {key};"),
        (r"127\.0\.0\.1:8000", f"127.0.0.1:{web}"),
    ):
        text, count = re.subn(pattern, value, text)
        assert count == 1, pattern
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    main = f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
    user = "" if Path("/proc/self").owner() != "root" else "user root;"
    config = folder / "nginx.conf"
    config.write_text(f"{user}{main} http {{ access_log off; {paths}\n{text}}}")
    process = subprocess.Popen([services.nginx_path(), "-p", str(folder), "-c", str(config)])
    try:
        processes.until(lambda: answers(tls), "nginx answers")
        yield
    finally:
        processes.end(process, signal.SIGTERM)


def answers(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


class Browser:
    """A client of the site, with cookies, at an address of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def ask(
        self, method: str, path: str, form: dict[str, str] | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=10, source_address=(CLIENT, 0),
            context=ssl._create_unverified_context(),
        )  # fmt: skip
        sent = {"Host": HOST, "Origin": f"https://{HOST}", **headers}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if form is not None:
            form["csrfmiddlewaretoken"] = self.cookies["__Host-csrftoken"]
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urlencode(form) if form else None, sent)
        response = connection.getresponse()
        for cookie in response.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
            assert "Secure" in cookie, cookie
            assert "Path=/" in cookie, cookie
        return response


@pytest.mark.django_db(transaction=True)
def test_the_documented_site_is_safe_and_live_behind_the_documented_proxy(tmp_path: Path) -> None:
    try:
        services.nginx_path()
    except services.Missing as missing:
        services.skip_or_fail(missing)
    ann = User.objects.create_user("ann", password=PASSWORD)
    ann.user_permissions.set(Permission.objects.filter(codename="view_run"))
    web, plain, tls = free_port(), free_port(), free_port()
    log = tmp_path / "web.log"
    process = processes.start(
        "web", "--port", str(web), log=log,
        **{**environment(), "DJANGO_SETTINGS_MODULE": "tests.support.browser_settings"},
    )  # fmt: skip
    try:
        with nginx(tmp_path, web, plain, tls):
            processes.until(lambda: answers(web), f"the web process answers: {log.read_text()}")
            goes_to_https(plain, web)
            browser = Browser(tls)
            signs_in(browser)
            listens(browser)
    finally:
        processes.end(process)


def goes_to_https(*ports: int) -> None:
    """By the proxy, and by the product itself for whoever comes past it with a made-up header."""
    for port in ports:
        response = ask_plainly(port, "/runs/")
        assert (response.status, response.headers["Location"]) == (301, f"https://{HOST}/runs/")
    assert ask_plainly(ports[-1], "/healthz").status != 301  # probes come past the proxy


def ask_plainly(port: int, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, source_address=(CLIENT, 0))
    connection.request("GET", path, headers={"Host": HOST, "X-Forwarded-Proto": "https"})
    return connection.getresponse()


def signs_in(browser: Browser) -> None:
    """With a wrong password first, which is recorded with the address that nginx saw."""
    form = browser.ask("GET", "/login/")
    assert form.status == 200
    assert "max-age=31536000; includeSubDomains" in form.headers["Strict-Transport-Security"]
    assert "upgrade-insecure-requests" in form.headers["Content-Security-Policy"]
    wrong = {"username": "ann", "password": "wrong"}
    assert browser.ask("POST", "/login/", wrong, **{"X-Forwarded-For": "203.0.113.9"}).status == 200
    assert DeniedAttempt.objects.get().address == CLIENT
    right = {"username": "ann", "password": PASSWORD}
    assert browser.ask("POST", "/login/", right).status == 302
    assert "__Host-sessionid" in browser.cookies


def listens(browser: Browser) -> None:
    """To a stream that comes through the proxy while it goes on."""
    stream = browser.ask("GET", "/live/?topic=runs")
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert stream.readline()  # nginx would keep it until its buffer is full
