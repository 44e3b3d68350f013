"""Fixtures of the library's tests: a desk over the test's own database and simulator."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from paydesk import AsyncPaydesk, Paydesk


@pytest.fixture
def pay(env: Any, sim: Any) -> Iterator[Paydesk]:
    """A desk whose handlers run when the test says `pay.deliver()`."""
    with Paydesk(env=env, background=False) as made:
        yield made


@pytest.fixture
def apay(env: Any, sim: Any) -> AsyncPaydesk:
    return AsyncPaydesk(env=env, background=False)


@pytest.fixture
def run() -> Any:
    """Runs a coroutine to its end."""
    return asyncio.run


@pytest.fixture
def wait_until() -> Any:
    """Waits for a condition, not for a time."""
    import time

    def wait(condition: Any, timeout_s: float = 60.0) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, "it did not come to be in time"
            time.sleep(0.01)

    return wait
