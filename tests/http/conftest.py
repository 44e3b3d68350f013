"""Fixtures of the HTTP tests: clients of the application, in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from http_support import OWN_KEY, Client

from paydesk.flows import inbox
from paydesk.http.app import create_app


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a webhook leaves to be asked about is taken up without waiting for more."""
    monkeypatch.setattr(inbox, "GATHER_S", 0.0)


@pytest.fixture
def app(env: Any) -> Any:
    return create_app(env)


@pytest.fixture
def http(app: Any) -> Iterator[Client]:
    """The application's own server: role admin."""
    with Client(app, f"Bearer {OWN_KEY}") as client:
        yield client


@pytest.fixture
def user(http: Client) -> Client:
    """A customer: `user_123`."""
    return http.as_user("user_123")
