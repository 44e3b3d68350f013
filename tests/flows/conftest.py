"""Fixtures for flows: an environment whose limits are out of the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from billing import Billing
from purchase import Desk

from paydesk import crash
from paydesk.clock import FixedClock
from paydesk.db.group_commit import Lanes
from paydesk.env import Env


@pytest.fixture
def wide(env: Env) -> Iterator[Env]:
    """`env` with high limits, and lanes that wait only shortly for locks and lost databases."""
    settings = replace(
        env.settings, max_credit_balance=10**12, max_daily_transactions=10**6,
        max_transaction_amount=10**9,
    )  # fmt: skip
    lanes = Lanes(env.db, settings, env.clock, busy_wait_s=0.4, outage_s=5.0)
    yield replace(env, settings=settings, lanes=lanes)
    lanes.close()


@pytest.fixture
def desk(env: Env, sim, make, clock: FixedClock) -> Iterator[Desk]:
    """A desk with the pack `creator` on sale, and the simulator as its provider."""
    make.pack()
    yield Desk(env, sim, make, clock)
    crash.disarm()


@pytest.fixture
def billing(env: Env, sim, make, clock: FixedClock) -> Iterator[Billing]:
    """Plans, customers with cards, subscriptions, and time that is moved."""
    yield Billing(env, sim, make, clock)
    crash.disarm()
