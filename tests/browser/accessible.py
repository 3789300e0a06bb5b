"""What every page must stand: axe in both themes and widths, and a very narrow screen."""

from __future__ import annotations

from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_WIDTHS = (1280, 390)

#: How far the page can be scrolled sideways.
_SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def check(page: Page) -> None:
    """Fail with all that axe finds, and if the page is wider than a screen of 320 pixels."""
    found: list[str] = []
    page.evaluate(Axe().axe_script)
    for width in _WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for theme in _THEMES:
            page.emulate_media(color_scheme=theme)
            # Contrast is all that a theme changes.
            options = {} if theme == "light" else {"runOnly": ["color-contrast"]}
            found += [f"{theme} {width}: {text}" for text in _violations(page, options)]
    page.set_viewport_size({"width": 320, "height": 800})
    if sideways := page.evaluate(_SIDEWAYS):
        found.append(f"At 320 pixels it scrolls {sideways} pixels sideways")
    assert not found, "\n".join([page.url, *found])


def _violations(page: Page, options: dict[str, Any]) -> list[str]:
    options = {"resultTypes": ["violations"], **options}
    results = page.evaluate("async options => (await axe.run(options)).violations", options)
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for rule in results
        for node in rule["nodes"][:3]
    ]
