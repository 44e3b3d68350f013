"""Fixtures for pages: a desk that sells plans, and browsers that are signed in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "flows"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "http"))

from billing import Billing

from paydesk.flows import api_keys
from paydesk.http.app import create_app


@pytest.fixture
def billing(env: Any, sim: Any, make: Any, clock: Any) -> Billing:
    """Plans, customers with cards, subscriptions, and time that is moved."""
    return Billing(env, sim, make, clock)


@pytest.fixture
def visitor(env: Any) -> Iterator[Callable[[str], TestClient]]:
    """`visitor("support")` is a browser that is signed in with a key of that role."""
    opened = []

    def sign_in(role: str = "admin") -> TestClient:
        client = TestClient(
            create_app(env), base_url="http://localhost:8000", follow_redirects=False
        )
        client.__enter__()
        opened.append(client)
        _, key = api_keys.create(env, role, role)
        page = client.get("/dashboard/sign-in")
        told = {"key": key, "csrf": page.text.split('name="csrf" value="')[1].partition('"')[0]}
        assert client.post("/dashboard/sign-in", data=told).status_code == 303
        return client

    yield sign_in
    for client in opened:
        client.__exit__(None, None, None)
