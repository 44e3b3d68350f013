"""Two workers renew, and are killed again and again: each period is billed and charged once.

The workers are processes of their own on one database, whose clock stands where the test says; one
that is started anew after a kill stands later, as it would after the leases of the dead.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from billing import CARD, Billing
from load import wait_for
from purchase import PROVE

from paydesk.flows import doctor
from paydesk.rules.money import USD

ROOT = Path(__file__).resolve().parent.parent.parent
CUSTOMERS = 400 if PROVE else 16
KILLS = 16 if PROVE else 2
PERIODS = 3

#: What a worker does of its sweeps; all of it in the long form.
SWEEPS = "" if PROVE else "renewals,provider_calls,fulfillment,invoice_numbers"
#: A worker on a clock that stands.
WORKER = """
import os, sys
from datetime import datetime
from paydesk.assemble import build_env
from paydesk.clock import FixedClock
from paydesk.settings import load
from paydesk.worker import SWEEPS, Worker
clock = FixedClock(datetime.fromisoformat(sys.argv[1]))
env = build_env(load(environ=dict(os.environ)).settings, start_missing=False, clock=clock)
chosen = sys.argv[2].split(",")
Worker(env, [one for one in SWEEPS if chosen == [""] or one[0] in chosen]).run_forever()
"""


class Workers:
    """Workers of one database; `kill` ends one with SIGKILL."""

    def __init__(self, settings: Any, folder: Path) -> None:
        told = {
            "DATABASE_URL": settings.database_url, "PAYDESK_SIMULATOR_URL": settings.simulator_url,
            "STRIPE_WEBHOOK_SECRET": settings.stripe_webhook_secret,
            "JWT_SECRET": settings.jwt_secret, "PAYDESK_DATA_DIR": folder / "data",
            "PYTHONPATH": ROOT / "src", "HOME": folder, "PATH": os.environ["PATH"],
        }  # fmt: skip
        self._environ = {name: str(value) for name, value in told.items()}
        self._folder, self.log = folder, folder / "workers.log"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, at: datetime) -> None:
        with open(self.log, "ab") as log:
            self.running.append(subprocess.Popen(
                [sys.executable, "-c", WORKER, at.isoformat(), SWEEPS], env=self._environ,
                cwd=self._folder, stdout=log, stderr=log,
            ))  # fmt: skip

    def kill(self, which: int) -> None:
        one = self.running.pop(which)
        assert one.poll() is None, self.log.read_text(errors="replace")[-3000:]
        one.kill()
        one.wait(60)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.running:
            one.kill()
            one.wait(60)


@pytest.fixture
def billing(env, sim, make, clock):
    return Billing(env, sim, make, clock)


def subscribers(billing: Billing, count: int) -> list[Any]:
    """Customers who subscribed so long ago that some periods are due by now."""
    begun = billing.clock.now()
    billing.clock.set(begun - timedelta(days=PERIODS * 7 + 1))
    billing.plan(price=USD("20.00"), interval="week", credits=10)
    for _ in range(count):  # The simulator and the database are quicker with several at once.
        billing.make.user()
    users = [row["customer_id"] for row in billing.all("select customer_id from heads")]

    def one(uuid: Any) -> Any:
        who = type("Who", (), {"uuid": uuid})
        billing.card(who, CARD)
        return billing.subscribe(who)

    with ThreadPoolExecutor(4) as pool:
        subs = list(pool.map(one, users))
    billing.clock.set(begun)
    return subs


# I23 I5 I28
@pytest.mark.prove
@pytest.mark.timeout(3600 if PROVE else 240)
def test_two_workers_that_are_killed_while_they_renew_bill_each_period_once(
    billing, env, sim, db, tmp_path, seed
):
    dice = random.Random(seed)
    subs = subscribers(billing, CUSTOMERS)
    wanted = CUSTOMERS * PERIODS

    def paid() -> int:
        return billing.all("select count(*) as n from invoices where state = 'paid'"
                           " and cycle > 0")[0]["n"]  # fmt: skip

    at = billing.clock.now()
    with Workers(env.settings, tmp_path) as workers:
        workers.start(at)
        workers.start(at)
        for number in range(KILLS):
            enough = paid() + dice.randint(1, max(1, wanted // (2 * KILLS)))
            wait_for(lambda enough=enough: paid() >= min(enough, wanted), 120)
            # Every other time both, so that nobody is there.
            dead = 1 + number % 2
            for _ in range(dead):
                workers.kill(dice.randrange(len(workers.running)))
            # Who comes later finds what the dead had under way.
            at += timedelta(minutes=3)
            for _ in range(dead):
                workers.start(at)
        wait_for(lambda: paid() >= wanted, 900 if PROVE else 120)
        wait_for(lambda: not waiting(billing), 60)
    billing.clock.set(at + timedelta(minutes=30))
    assert_each_once(billing, sim, subs)
    assert [one for one in doctor.check(db) if not one.ok] == []


def waiting(billing: Billing) -> int:
    """What the dead left to be done: calls that were not answered, money without goods."""
    return billing.all(
        "select (select count(*) from provider_calls where state in ('intended', 'unknown'))"
        " + (select count(*) from fulfillments where state = 'due')"
        " + (select count(*) from invoices where number is null) as n")[0]["n"]  # fmt: skip


def assert_each_once(billing: Billing, sim: Any, subs: list[Any]) -> None:
    invoices = billing.all(
        "select subscription_id, cycle, state, payment_id, number from invoices")  # fmt: skip
    found = Counter((row["subscription_id"], row["cycle"]) for row in invoices)
    expected = {(sub.id, cycle) for sub in subs for cycle in range(PERIODS + 1)}
    assert found == dict.fromkeys(expected, 1)
    assert {row["state"] for row in invoices} == {"paid"}
    payments = billing.all("select id, state, captured_minor from payments")
    assert len(payments) == len(invoices)
    assert {(row["state"], row["captured_minor"]) for row in payments} == {("succeeded", 2000)}
    assert {row["payment_id"] for row in invoices} == {row["id"] for row in payments}
    charged = Counter(
        one["metadata"]["invoice_id"] for one in sim.objects("payment_intent")
        if one["status"] == "succeeded"
    )  # fmt: skip
    assert len(charged) == len(invoices), "the simulator was asked for each invoice"
    assert set(charged.values()) == {1}, "and charged each once"
    numbers = sorted(int(row["number"].rpartition("-")[2]) for row in invoices)
    assert numbers == list(range(1, len(invoices) + 1)), "without a gap"
    for sub in subs:
        assert billing.books(sub, "revenue") == 2000 * (PERIODS + 1)
        assert billing.balance(sub) == 10
        assert billing.events(sub).count("renewed") == PERIODS
