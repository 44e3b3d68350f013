"""Random lives of subscriptions, held against an integral: when one is given up, what was kept of
the money is the sum of prices over the time that it ran, to one unit a line.

The reckoning knows the prices, the periods' lengths and how long each plan ran; nothing of
proration. Plans are changed now and by the second, so that every second costs what it should.
"""

from __future__ import annotations

import contextlib
import os
import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from paydesk.errors import PaydeskError
from paydesk.flows import doctor
from paydesk.rules.money import Money
from paydesk.testing.desk_clock import DeskClock
from paydesk.testing.plugin import pay, paydesk_simulator

__all__ = ["pay", "paydesk_simulator"]

PROVE = os.environ.get("PAYDESK_PROVE") == "1"
INTERVALS = {"a": ("month", 1), "b": ("month", 1), "c": ("month", 1), "y": ("year", 1),
             "w": ("week", 3)}  # fmt: skip
ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Apia")
DAY, MICRO = 86_400, timedelta(microseconds=1)
VISA, DECLINED = "pm_card_visa", "pm_card_chargeCustomerFail"


@pytest.fixture
def paydesk_catalog() -> bool:
    return False


@pytest.fixture
def clock() -> DeskClock:
    return DeskClock(datetime(2026, 1, 31, 22, 17, 5, tzinfo=UTC))


class Life:
    """A customer's subscription, and what its time should have cost, before taxes on top."""

    def __init__(self, pay, clock, rng: random.Random) -> None:
        self.pay, self.clock, self.rng = pay, clock, rng
        self.currency = rng.choice(["usd", "usd", "jpy", "kwd"])
        self.by_calendar = rng.random() < 0.3
        self.tax = rng.choice([None, ("20", False), ("20", True), ("9.975", False)])
        self.off = rng.choice([0, 0, 10, 20])
        self.zone = rng.choice(ZONES)
        self.prices: dict[str, int] = {}
        self.cost = Fraction(0)
        self._sell()
        pay.customers.upsert("ada")
        pay.methods.add("ada", VISA, default=True)
        self.sub = pay.subscribe(
            "ada", rng.choice("abc" if self.by_calendar else "abcyw"), zone=self.zone,
            quantity=rng.randint(1, 4), promo="TENTHS" if self.off else None,
        )  # fmt: skip
        self.length = self._whole()

    def _sell(self) -> None:
        if self.tax:
            self.pay.tax_rates.add("VAT", self.tax[0], inclusive=self.tax[1])
        if self.off:
            self.pay.promos.upsert("TENTHS", percent_off=self.off, duration="forever")
        for key, (interval, count) in INTERVALS.items():
            self.prices[key] = self.rng.randint(500, 9000) * (10 if self.currency == "kwd" else 1)
            self.prices[key] *= 10 if key == "y" else 1
            self.pay.plans.upsert(
                key, price=Money(self.prices[key], self.currency, minor=True), family="app",
                interval=interval, interval_count=count, most_quantity=9, downgrade_when="now",
                billing="calendar" if self._is_calendar(key) else "anniversary",
            )  # fmt: skip

    def _is_calendar(self, key: str) -> bool:
        return self.by_calendar and key in "abc"

    def _whole(self) -> int:
        """Microseconds of the running period, of a short first one those of its whole month."""
        start, end = self.sub.period_start, self.sub.period_end
        last = end.astimezone(ZoneInfo(self.zone))
        if self._is_calendar(self.sub.plan) and (last.day, last.hour, last.minute) == (1, 0, 0):
            before = (last.replace(tzinfo=None) - timedelta(days=1)).replace(day=1)
            start = min(start, before.replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC))
        return (end - start) // MICRO

    def go(self, seconds: int) -> None:
        """Let time run; what a period ends with is done at its end."""
        left = timedelta(seconds=seconds)
        while left:
            step = left
            if self.sub.status == "active":
                step = min(left, self.sub.period_end - self.clock.now())
                price = Fraction(self.prices[self.sub.plan] * self.sub.quantity)
                self.cost += price * (100 - self.off) * (step // MICRO) / (100 * self.length)
            self.clock.advance(seconds=step.total_seconds())
            left -= step
            self.look()

    def look(self) -> None:
        was, self.sub = self.sub, self.pay.subscriptions.get(self.sub)
        spans = [(one.period_start, one.period_end) for one in (was, self.sub)]
        if spans[0] != spans[1] and "paused" not in (was.status, self.sub.status):
            assert spans[1][0] in (was.period_end, self.clock.now()), "periods tile"
            self.length = self._whole()

    def change(self, back: bool = False, card: str | None = None, **what) -> None:
        before, old = self.sub.plan, self.pay.subscriptions
        if card:
            self.pay.methods.add("ada", card, default=True)
        seen = old.preview(self.sub, at="now", **what)
        assert sum(one.amount.minor for one in seen.lines) == seen.total.minor
        old.change(self.sub, at="now", expect=seen, **what)
        self.look()
        if back and INTERVALS[before] == INTERVALS[self.sub.plan]:
            again = old.preview(self.sub, plan=before, at="now")
            lines = len(seen.lines) + len(again.lines)
            small = (seen.total.minor - seen.due_now.minor) if seen.total.minor > 0 else 0
            assert abs(seen.total.minor + again.total.minor) <= lines + small

    def live(self) -> None:
        """One thing that a customer may do."""
        rng, plan = self.rng, self.rng.choice("abcyw")
        what = rng.choice(["go", "go", "go", "plan", "plan", "seats", "pause", "back", "declined"])
        if what == "go":
            self.go(rng.choice([60, 3600 * rng.randint(1, 30), DAY * rng.randint(1, 25),
                                rng.randint(1, 40 * DAY)]))  # fmt: skip
        elif what == "pause":
            self.sub = self.pay.subscriptions.pause(self.sub)
            self.go(rng.randint(60, 50 * DAY))
            self.sub = self.pay.subscriptions.resume(self.sub)
        elif what == "seats":
            self.change(quantity=rng.randint(1, 9))
        else:
            self.change(plan=plan, quantity=self.sub.quantity, back=what == "back",
                        card=DECLINED if what == "declined" else None)  # fmt: skip


# S1.28 S1.29 I13 I22 I24
@pytest.mark.prove
@pytest.mark.parametrize("number", range(40 if PROVE else 4))
def test_what_is_kept_of_the_money_is_the_price_of_the_time_that_it_ran(pay, clock, number):
    life = Life(pay, clock, random.Random(f"lives {number}"))
    for _ in range(life.rng.randint(4, 14)):
        with contextlib.suppress(PaydeskError):
            life.live()
        pay.methods.add("ada", VISA, default=True)
        life.look()
    pay.subscriptions.cancel(life.sub, at="now", refund="unused")
    with pay.env.db.read() as tx:
        told = tx.one(
            "select (select coalesce(sum(captured_minor - refunded_minor), 0)::bigint"
            "  from payments) as paid,"
            " (select coalesce(sum(balance), 0)::bigint from accounts where code = 18) as balance,"
            " (select coalesce(sum(written_off_minor), 0)::bigint from credit_notes"
            "  where state = 'issued') as off, (select count(*) from invoice_items) as lines"
        )
    cost = life.cost
    if life.tax and not life.tax[1]:
        cost *= 1 + Fraction(life.tax[0]) / 100
    kept = told["paid"] - told["balance"]
    assert abs(kept - cost) <= told["lines"] + told["off"] + 3
    assert [one for one in doctor.check(pay.env.db) if not one.ok] == []
