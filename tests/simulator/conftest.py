"""Fixtures: one simulator on a port, emptied for each test, driven by the official SDK."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import stripe
from simulator_support import Receiver, make_client

from paydesk.simulator import shapes
from paydesk.simulator.testing import Sandbox, running_simulator


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[Sandbox]:
    with running_simulator() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Iterator[Sandbox]:
    """An empty simulator; what its events told is held against Stripe's description at the end."""
    shared_sandbox.reset()
    yield shared_sandbox
    for event in shared_sandbox.events():
        told = event["data"]["object"]
        if event["api_version"] == shapes.version() and not told.get("deleted"):
            shapes.validate(told["object"], told)


@pytest.fixture
def client(sandbox: Sandbox) -> stripe.StripeClient:
    return make_client(sandbox)


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A bare HTTP client with the key, for what the SDK would not send."""
    headers = {"Authorization": f"Bearer {sandbox.secret_key}"}
    with httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False) as bare:
        yield bare


@pytest.fixture
def browser(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A browser without JavaScript: it follows no redirect by itself."""
    with httpx.Client(base_url=sandbox.url, trust_env=False) as plain:
        yield plain


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    endpoint = Receiver()
    yield endpoint
    endpoint.close()
