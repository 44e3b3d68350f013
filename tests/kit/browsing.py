"""Chromium for tests, and what they look for in every page. With TEST_SCREENSHOTS in the
environment they leave pictures in screenshots/."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCREENSHOTS = Path(__file__).resolve().parents[2] / "screenshots"
#: Size of a screen -> (width, height).
WIDTHS = {"wide": (1440, 900), "phone": (390, 844)}
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def open_chromium() -> Iterator[Any]:
    """The machine's own Chromium, without traffic of its own."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is not installed: apt-get install chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def screenshot(page: Any, name: str) -> None:
    if not os.environ.get("TEST_SCREENSHOTS"):
        return
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


#: What another theme can change about a page that is there already.
COLORS = ("color-contrast", "link-in-text-block")
#: What another width can change about it.
LAYOUT = ("scrollable-region-focusable", "target-size", "button-name", "link-name", "label",
          "summary-name", "page-has-heading-one")  # fmt: skip


def faults_of(page, rules: tuple[str, ...] = ()) -> list[str]:
    """What axe finds wrong with the page that is open. It is brought along once for each page."""
    from axe_playwright_python.sync_playwright import DEFAULT_OPTIONS, Axe

    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    found = page.evaluate("options => axe.run(options).then(result => result.violations)",
                          {**DEFAULT_OPTIONS, **only})  # fmt: skip
    return [f"{v['id']}: {v['nodes'][0]['html'][:160]}" for v in found]


def examined(page, name: str) -> list[str]:
    """What is wrong with the page that is open. It is loaded once: examined whole, wide and in
    light colors; then its colors in dark ones, with all that can be opened open; then how it lies
    on a phone."""
    wrong = [f"{name}, light: {fault}" for fault in faults_of(page)]
    wrong += sideways(page, f"{name}, wide")
    screenshot(page, f"{name}-light-wide")
    page.emulate_media(color_scheme="dark")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    wrong += [f"{name}, dark: {fault}" for fault in faults_of(page, COLORS)]
    page.set_viewport_size({"width": WIDTHS["phone"][0], "height": WIDTHS["phone"][1]})
    wrong += [f"{name}, phone: {fault}" for fault in faults_of(page, LAYOUT)]
    wrong += sideways(page, f"{name}, phone")
    screenshot(page, f"{name}-dark-phone")
    page.set_viewport_size({"width": WIDTHS["wide"][0], "height": WIDTHS["wide"][1]})
    page.emulate_media(color_scheme="light")
    return wrong


def sideways(page, name: str) -> list[str]:
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    return [f"{name}: scrolls sideways"] if wide else []
