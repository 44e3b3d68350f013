"""Every figure equals the rows: random histories, counted again in plain loops.

`PAYDESK_PROVE=1` runs the long form; `PAYDESK_SEED` repeats a history.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import recount
from purchase import DECLINED

from paydesk import EUR, HTG, USD
from paydesk.errors import PaydeskError
from paydesk.flows import (
    checkout,
    credit_moves,
    credits,
    events,
    figure_reports,
    items,
    rates,
    rollups,
    wallet_payments,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.rules.money import Money
from paydesk.simulator.errors import StripeError

_PROVE = os.environ.get("PAYDESK_PROVE") == "1"
STEPS = 160 if _PROVE else 36
ZONE = "America/Port-au-Prince"


class History:
    """A desk that sells in three currencies; one of them has no rate at first."""

    def __init__(self, refunding: Any, seed: int) -> None:
        refunding.use(time_zone=ZONE, max_credit_balance=10**9, max_daily_transactions=10**6)
        self.refunding, self.desk, self.random = refunding, refunding.desk, random.Random(seed)
        self.env, make = self.desk.env, self.desk.make
        make.pack("gwo", name="Gwo", credits=70, price=HTG("1310.55"))
        make.pack("short", name="Short", credits=33, price=EUR("7.01"), expires_days=2)
        items.upsert(self.env, "python", name="Python", price=USD("49.99"), repeatable=True)
        make.promo("TEN", percent_off=10)
        make.promo("MORE", bonus_credits=5)
        rates.enter(self.env, "usd", "htg", "130.95", by="rosa@example.com")
        self.users = [make.user() for _ in range(3)]
        self.bought: list[Any] = []
        self.spends: list[Any] = []
        self.disputes: list[Any] = []

    def run(self, steps: int) -> None:
        acts = [self.buy] * 6 + [self.decline, self.leave, self.refund, self.refund, self.dispute,
                                 self.decide, self.spend, self.spend, self.unspend, self.pass_time,
                                 self.pass_time, self.top_up, self.pay_from_wallet, self.give,
                                 self.enter_rate, self.tidy]  # fmt: skip
        for _ in range(steps):
            act = self.random.choice(acts if self.bought else [self.buy])
            with suppress(PaydeskError, StripeError):  # What is refused changes nothing.
                act()

    def buy(self) -> None:
        what: dict[str, Any] = self.random.choice([
            {"pack": "creator"}, {"pack": "gwo"}, {"pack": "short"}, {"item": "python"},
            {"amount": EUR("3.33")},
        ])  # fmt: skip
        promo = self.random.choice([None, None, "TEN", "MORE"])
        if promo and "pack" in what:
            what["promo"] = promo
        view = self.desk.open(self.random.choice(self.users), **what)
        self.desk.pay(view)
        self.desk.deliver(view)
        self.bought.append(view)

    def decline(self) -> None:
        view = self.desk.open(self.random.choice(self.users))
        self.desk.pay(view, card=DECLINED)
        self.desk.deliver(view)
        if self.random.random() < 0.5:
            self.desk.pay(view)
            self.desk.deliver(view)

    def leave(self) -> None:
        view = self.desk.open(self.random.choice(self.users))
        if self.random.random() < 0.5:
            checkout.expire_now(self.env, view.customer_id, view.id)

    def refund(self) -> None:
        view = self.random.choice(self.bought)
        payment = self.desk.payment(view)
        left = payment.captured.minor - payment.refunded.minor
        amount = self.random.choice([None, self.random.randint(1, max(1, left))])
        money = amount and Money(amount, payment.captured.currency, minor=True)
        why = self.random.choice([None, "duplicate", "requested_by_customer"])
        self.refunding.refund(view, money, reason=why, force=True)

    def dispute(self) -> None:
        view = self.random.choice(self.bought)
        made = self.desk.sim.dispute(self.desk.payment(view).payment_ref)
        self.disputes.append(made["id"])
        self.hear()

    def decide(self) -> None:
        if self.disputes:
            ref = self.disputes.pop(self.random.randrange(len(self.disputes)))
            self.desk.sim.decide_dispute(ref, self.random.choice(["won", "lost"]))
            self.hear()

    def hear(self) -> None:
        for one in self.desk.sim.deliveries():
            with suppress(PaydeskError):
                self.desk.receive(one)

    def spend(self) -> None:
        owner = self.random.choice(self.users).uuid
        item = credits.new_spend(owner, self.random.randint(1, 60), "render")
        if credits.spend_now(self.env, item).status == "done":
            self.spends.append(item)

    def unspend(self) -> None:
        if self.spends:
            item = self.random.choice(self.spends)
            credit_moves.refund_spend_now(self.env, item.customer_id, item.transfer_id, 1)

    def give(self) -> None:
        self.desk.make.credits(self.random.choice(self.users), 20, days=self.random.choice([1, 9]))

    def top_up(self) -> None:
        view = self.desk.open(self.random.choice(self.users), wallet=HTG("5000"))
        self.desk.pay(view)
        self.desk.deliver(view)

    def pay_from_wallet(self) -> None:
        who = self.random.choice(self.users)
        wallet_payments.pay(self.env, StartCheckout(customer_id=who.uuid, pack="gwo"))

    def enter_rate(self) -> None:
        rates.enter(self.env, "eur", "usd", f"1.{self.random.randint(10, 99)}", by="rosa")

    def pass_time(self) -> None:
        self.desk.clock.advance(hours=self.random.choice([1, 5, 26, 49]))

    def tidy(self) -> None:
        self.desk.sweep("credit_expiry", "sessions", "fulfillment")
        self.publish()
        if self.random.random() < 0.7:
            rollups.keep(self.env)

    def publish(self) -> None:
        while events.publish(self.env):
            pass


def said(found: Any, want: dict[Any, dict[str, Any]], what: str) -> None:
    """The report has these rows, no others, with these members."""
    rows = {tuple(row[h] for h in found.by): row for row in found.rows}
    assert set(rows) == set(want), what
    for key, told in want.items():
        assert {n: rows[key][n] for n in told} == told, (what, key)


def check(history: History) -> None:
    """Every report, by several groupings, in several zones and ranges."""
    desk, env = history.desk, history.env
    t = recount.Tables(desk)
    today = env.now()
    for zone in (ZONE, "UTC", "Asia/Kathmandu"):
        for told in ({"last": "60d"}, {"start": today - timedelta(hours=77),
                                       "end": today - timedelta(hours=7)}):
            def ask(kind: str, by: str, told=told, zone=zone, **where: str) -> Any:
                return figure_reports.report(env, kind, by=by, time_zone=zone, where=where, **told)

            found = ask("payments", "day")
            over = found.over
            assert found.behind == 0
            for by in ("day", "week,method", "month,country,status", "hour", "provider,purpose",
                       "reason"):
                names = [n for n in by.split(",") if n not in ("day", "week", "month", "hour")]
                period = next((n for n in by.split(",") if n not in names), None)
                heads = [*names, "currency"]
                said(ask("payments", by), recount.payments(t, over, period, heads), by)
                if "status" not in by and by != "reason":
                    said(ask("revenue", by), recount.revenue(t, over, period, heads), by)
            for period in ("day", "week", "hour"):
                said(ask("credits", period), recount.credits(t, over, period), period)
            said(ask("packs", "product"), recount.goods(t, over, "product"), "packs")
            said(ask("promos", "promo"), recount.goods(t, over, "promo"), "promos")
            said(ask("customers", "currency"), recount.customers(t, over), "customers")
            said(ask("refunds", "reason"), recount.refunds(t, over), "refunds")
            methods = ask("methods", "provider")
            rows = {tuple(row[h] for h in methods.by): row for row in methods.rows}
            for key, one in recount.tries(t, over).items():
                assert {n: rows[key][n] for n in one} == one
            risk = {(row["currency"],): row for row in ask("risk", "currency").rows}
            for key, one in recount.disputes(t, over).items():
                assert {n: risk[key][n] for n in one} == one


def equals_the_books(history: History) -> None:
    """Over all time the figures are the accounts' balances."""
    t = recount.Tables(history.desk)
    told = {"start": "2000-01-01", "end": "2100-01-01"}
    revenue = figure_reports.report(history.env, "revenue", by="year", **told)
    balance = {(a["code"], a["asset"]): 0 for a in t.accounts}
    for a in t.accounts:
        balance[a["code"], a["asset"]] += a["balance"]
    for row in revenue.totals:
        asset = row["currency"]
        assert row["recognized"] == balance.get((6, asset), 0)
        assert row["net"] - row["withdrawn"] == -balance.get((10, asset), 0)
    credit = figure_reports.report(history.env, "credits", **told).total
    assert credit["outstanding"] == balance.get((1, "CREDIT"), 0) + balance.get((3, "CREDIT"), 0)
    change = (credit["granted"] - credit["spent"] + credit["refunded"] - credit["expired"]
              - credit["taken_back"])  # fmt: skip
    assert change == credit["outstanding"] + balance.get((4, "CREDIT"), 0)


@pytest.mark.prove
@pytest.mark.slow
@pytest.mark.timeout(600 if _PROVE else 180)
def test_every_figure_equals_the_rows_over_a_random_history(refunding, seed):  # S0.33 S3.11 C24
    history = History(refunding, seed)
    for _ in range(2):
        history.run(STEPS // 2)
        check(history)  # Nothing of the last part is in the days' tables yet.
        history.publish()
        rollups.mark(history.env)
        check(history)  # Days are marked.
        rollups.keep(history.env)
        check(history)
        equals_the_books(history)
    assert history.bought and len(recount.Tables(history.desk).payments) > 5


def test_the_totals_are_the_sums_of_the_rows(refunding, seed):
    history = History(refunding, seed)
    for _ in range(3):
        history.buy()
    history.env = replace(history.env)
    for kind in ("payments", "revenue", "packs", "refunds", "methods"):
        found = figure_reports.report(history.env, kind)
        for total in found.totals:
            rows = [r for r in found.rows if r["currency"] == total["currency"]]
            for name in found.columns:
                one = figure_reports.FIGURES[name]
                if one.sums and name != "net" and name != "net_usd":
                    assert total[name] == sum(r[name] for r in rows), (kind, name)
