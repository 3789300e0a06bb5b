"""People in front of a browser."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlparse

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Response

from tests.support.site import Site
from tests.support.streams import session_of

#: Text that would run a script if it became markup.
SCRIPT = "<script>window.hacked=1</script>"
IMAGE = '"><img src=x onerror="window.hacked=1">'


class People:
    """Opens browsers for people, and hears what these complain about."""

    def __init__(self, browser: Browser, site: Site) -> None:
        self._browser = browser
        self._site = site
        self._contexts: list[BrowserContext] = []
        self._expected: list[re.Pattern[str]] = []
        self.complaints: list[str] = []

    def open(self, name: str | None = "operator", path: str = "", **options: Any) -> Page:
        """A page of a browser of their own, signed in unless ``name`` is None."""
        context = self.context(name, **options)
        page = context.new_page()
        if path:
            page.goto(path)
        return page

    def context(self, name: str | None = "operator", **options: Any) -> BrowserContext:
        """A browser of their own."""
        zone = options.pop("zone", "UTC")
        context = self._browser.new_context(
            **{
                "base_url": self._site.url,
                "timezone_id": "UTC",
                "reduced_motion": "reduce",
                "viewport": {"width": 1280, "height": 900},
                **options,
            }
        )
        context.set_default_timeout(15_000)
        if zone:
            self._set(context, "zone", zone)
        if name is not None:
            self._set(context, "sessionid", session_of(self._site.people[name]))
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self._complain(f"JavaScript: {error.error}"))
        context.on("response", self._on_response)
        context.on("dialog", self._on_dialog)
        self._contexts.append(context)
        return context

    def expect(self, pattern: str) -> None:
        """This complaint is part of the test."""
        self._expected.append(re.compile(pattern))

    def close(self) -> None:
        """Close all browsers."""
        for context in self._contexts:
            context.close()

    def _set(self, context: BrowserContext, name: str, value: str) -> None:
        context.add_cookies([{"name": name, "value": value, "url": self._site.url}])

    def _complain(self, text: str) -> None:
        if not any(pattern.search(text) for pattern in self._expected):
            self.complaints.append(text)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._complain(f"Console {message.type}: {message.text} {message.location}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 500:
            self._complain(f"Server: {response.status} for {urlparse(response.url).path}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self._complain(f"Dialog: {dialog.message}")
        dialog.dismiss()
