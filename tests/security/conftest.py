"""Fixtures of the security tests: the clients of the HTTP tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "http"))

from http_support import OWN_KEY, Client

from paydesk.http.app import create_app


@pytest.fixture
def http(env: Any) -> Iterator[Client]:
    """The application's own server: role admin."""
    with Client(create_app(env), f"Bearer {OWN_KEY}") as client:
        yield client


@pytest.fixture
def user(http: Client) -> Client:
    """A customer: `user_123`."""
    return http.as_user("user_123")
