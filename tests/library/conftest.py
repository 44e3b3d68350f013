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
