"""Browser tests: one desk for all of them, one Chromium for a file's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kit"))

from browsing import WIDTHS, open_chromium
from desk_billing import fill_billing
from desk_process import Desk
from desk_shop import fill


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(str(item.fspath)).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """`paydesk dev`, as somebody would start it."""
    running = Desk(tmp_path_factory.mktemp("desk"))
    try:
        yield running.wait()
    finally:
        running.close()


@pytest.fixture(scope="session")
def shop(desk: Desk) -> dict[str, Any]:
    """Purchases of several people, so that every page has something to show."""
    shop = fill(desk)
    return {**shop, "billing": fill_billing(desk, shop["paid"])}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Of one file: while it is open, no other test of the process can run an event loop."""
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """`visit(theme="dark", size="phone", js=True)` is a fresh page; faults in it fail the test."""
    contexts, faults = [], []

    def open_page(theme: str = "light", size: str = "wide", js: bool = True) -> Any:
        width, height = WIDTHS[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme,
            java_script_enabled=js,
        )  # fmt: skip
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: _note(message, faults))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults, faults


def _note(message: Any, faults: list[str]) -> None:
    """A refused style, script or address is a fault; an answer that is a problem page is not."""
    if message.type == "error" and "status of 4" not in message.text:
        faults.append(message.text)

