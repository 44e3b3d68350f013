"""Pytest fixtures for applications that use Paydesk: `pay`, `clock`, `paydesk_simulator`.

    def test_renewal(pay, clock):
        pay.subscribe("u1", plan="pro").complete(card="4242")
        clock.advance(days=31)
        assert [p.status for p in pay.payments.list(customer="u1")] == ["succeeded", "succeeded"]

The desk sells what `paydesk dev` sells, or nothing where `paydesk_catalog` says so. Each test has a
database of its own on a real, embedded PostgreSQL, and a simulator of Stripe in this process. Time
stands until the test moves it: `clock.advance(days=31)` does on the way, in due order, everything
that falls due for the test's customers.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from paydesk import Paydesk
    from paydesk.testing.desk_clock import DeskClock

_WEBHOOK_SECRET = "whsec_of_an_applications_tests"


@pytest.fixture
def clock() -> DeskClock:
    """A clock that stands at the present minute: `clock.advance(days=31)`. With `pay`, all its
    customers stand on it."""
    from paydesk.testing.desk_clock import DeskClock

    return DeskClock(datetime.now(UTC).replace(second=0, microsecond=0))


@pytest.fixture(scope="session")
def paydesk_simulator() -> Iterator[Any]:
    """A simulator of Stripe: `paydesk_simulator.pay(session.payment.provider_session)`."""
    from paydesk.providers.stripe import SIMULATOR_KEY
    from paydesk.simulator.testing import running_simulator

    with running_simulator(secret=_WEBHOOK_SECRET, secret_key=SIMULATOR_KEY) as running:
        yield running


@pytest.fixture
def paydesk_catalog() -> bool:
    """Whether `pay` sells what `paydesk dev` sells: packs (`creator`), items, plans (`pro`, which
    charges from its first day here) and codes (`WELCOME10`). Override it with False for an empty
    desk."""
    return True


@pytest.fixture
def pay(
    clock: DeskClock, paydesk_simulator: Any, paydesk_catalog: bool, tmp_path: Path
) -> Iterator[Paydesk]:
    """A desk without customers. Handlers run when the test says `pay.deliver()`."""
    from paydesk import Paydesk, Settings
    from paydesk.flows import demo_catalog
    from paydesk.testing import databases

    paydesk_simulator.reset()
    with databases.lent_database() as made:
        settings = Settings(
            database_url=made.dsn,
            data_dir=str(tmp_path / "paydesk"),
            simulator_url=paydesk_simulator.url,
            stripe_webhook_secret=_WEBHOOK_SECRET,
        )
        with Paydesk(settings, clock=clock, background=False) as desk:
            if paydesk_catalog:
                demo_catalog.load(desk.env, trials=False)
            clock.move_with_it(desk)
            yield desk
