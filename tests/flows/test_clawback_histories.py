"""Random histories of one customer's purchases: used, held, refunded, disputed, in any order.

`PAYDESK_PROVE=1` runs the long form; a failure prints the steps that lead to it.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from paydesk import ids
from paydesk.cache import Cache
from paydesk.clock import FixedClock
from paydesk.db.group_commit import Lanes
from paydesk.db.postgres import Database
from paydesk.env import Env
from paydesk.errors import (
    GoodsUsed,
    HoldClosed,
    InsufficientCredits,
    NotRefundable,
    OutcomeUnknown,
    ProviderRefused,
    SpendNotRefundable,
)
from paydesk.flows import (
    catalog,
    charges,
    checkout,
    credits,
    customers,
    disputes,
    doctor,
    holds,
    ledger,
    payments,
    provider_calls,
    refunds,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.refunds import WantRefund
from paydesk.providers.base import (
    Charge,
    Provider,
    Providers,
    RemoteCheckout,
    RemoteDispute,
    RemoteRefund,
)
from paydesk.rules.money import Money
from paydesk.rules.refunds import of_sale, share_of
from paydesk.settings import Settings
from paydesk.testing import databases

_PROVE = os.environ.get("PAYDESK_PROVE") == "1"
PRICE, CREDITS = 997, 150
_AMOUNTS = st.integers(1, 90)


def cents(minor: int) -> Money:
    return Money(minor, "usd", minor=True)


class Bank(Provider):
    """A provider in memory, which remembers refunds by key as real ones do."""

    name = "bank"
    can = frozenset({"checkout", "fetch", "refund"})

    def __init__(self, told: Settings) -> None:
        super().__init__(told)
        self.paid: dict[str, Charge] = {}
        self.refunds: dict[str, RemoteRefund] = {}
        self.keys: dict[str, str] = {}
        self.answer = "succeeded"
        self._numbers = itertools.count(1)

    def create_checkout(self, order: Any) -> RemoteCheckout:
        self.paid[f"s_{order.id}"] = Charge(
            ref=f"s_{order.id}", status="succeeded", amount=order.amount, ended=True,
            session_ref=f"s_{order.id}", payment_ref=f"p_{order.id}", payment_id=order.id,
            customer_id=order.customer, method="card",
        )  # fmt: skip
        return RemoteCheckout(id=f"s_{order.id}", url="https://bank.example/pay")

    def fetch(self, ref: str) -> Charge:
        found = [c for c in self.paid.values() if ref in (c.ref, c.payment_ref)]
        return found[0]

    def refund(self, ref: str, amount: Money, key: str, *, reason=None, metadata=None):
        if key not in self.keys:
            gone = sum(r.amount.minor for r in self.refunds.values()
                       if r.payment_ref == ref and r.status != "failed")  # fmt: skip
            if self.answer == "refused" or gone + amount.minor > PRICE:
                raise ProviderRefused("There is not so much.")
            status = "pending" if self.answer == "lost" else self.answer
            self.keys[key] = self.make(ref, amount, status, (metadata or {}).get("refund_id")).id
        if self.answer == "lost":
            self.answer = "succeeded"
            raise OutcomeUnknown("No answer came.")
        return self.refunds[self.keys[key]]

    def make(self, ref: str, amount: Money, status: str, refund_id: str | None) -> RemoteRefund:
        made = RemoteRefund(id=f"r_{next(self._numbers)}", status=status, amount=amount,
                            payment_ref=ref, refund_id=refund_id)  # fmt: skip
        self.refunds[made.id] = made
        return made

    def fetch_refund(self, ref: str) -> RemoteRefund:
        return self.refunds[ref]

    def list_refunds(self, payment_ref: str) -> list[RemoteRefund]:
        return [r for r in self.refunds.values() if r.payment_ref == payment_ref]


class Clawbacks(RuleBasedStateMachine):
    """What was granted is used, held, expired, taken back or there: on every batch, at any time."""

    database: databases.TestDatabase
    policy = "debt"
    grace_days = 0

    def __init__(self) -> None:
        super().__init__()
        self.clock = FixedClock(datetime(2026, 3, 1, tzinfo=UTC))
        told = Settings(
            max_credit_balance=10**9, max_daily_transactions=10**6, lanes=1, data_dir="/tmp",
            refund_grace_days=self.grace_days, refund_window_days=0, clawback_policy=self.policy,
            stripe_webhook_secret="whsec_x", secret_key="sk_test_x", jwt_secret="x" * 32,
        )  # fmt: skip
        db = Database(self.database.dsn, max_size=3)
        self.bank = Bank(told)
        self.env = Env(
            db, Lanes(db, told, self.clock), Providers(told, {"bank": self.bank}, "bank"),
            Cache(), told, self.clock,
        )  # fmt: skip
        self.user = customers.ensure(self.env, f"user_{os.urandom(6).hex()}").uuid
        self.pack = f"credits_{os.urandom(4).hex()}"
        catalog.upsert_pack(
            self.env, self.pack, name="Pack", credits=CREDITS, price=cents(PRICE), expires_days=40
        )
        self.numbers = itertools.count(1)
        self.bought: list[Any] = []
        self.spends: list[Any] = []
        self.held: list[Any] = []
        self.told: list[tuple[int, RemoteRefund]] = []
        self.disputes: dict[int, RemoteDispute] = {}
        self.told_disputes: list[tuple[int, RemoteDispute]] = []
        self.expected = 0

    def teardown(self) -> None:
        try:
            self._everything_fails_and_is_won()
        finally:
            self.env.close()

    # What happens

    def _tick(self) -> None:
        self.clock.advance(seconds=1)

    @precondition(lambda self: len(self.bought) < 3)
    @rule()
    def buys(self):
        self._tick()
        view = checkout.start(
            self.env, StartCheckout(customer_id=self.user, pack=self.pack, provider="bank")
        )
        charges.refresh(self.env, self.user, view.payment.id, "webhook")
        self.bought.append(payments.get(self.env, self.user, view.payment.id))
        self.expected += CREDITS

    @rule(amount=_AMOUNTS)
    def gets_a_gift(self, amount):
        self._tick()
        ends = self.clock.now() + timedelta(days=3)
        credits.grant_now(self.env, self.user, amount, expires_at=ends)
        self.expected += amount

    @rule(amount=_AMOUNTS)
    def uses(self, amount):
        self._tick()
        found = credits.spend_now(self.env, credits.new_spend(self.user, amount))
        if found.status == "done":
            self.spends.append(found.transfer_id)
            self.expected -= amount

    @precondition(lambda self: self.spends)
    @rule(data=st.data(), amount=_AMOUNTS)
    def gets_a_spend_back(self, data, amount):
        self._tick()
        spend = data.draw(st.sampled_from(self.spends))
        try:
            done = credits.refund_spend_now(self.env, self.user, spend, amount)
        except SpendNotRefundable:
            return
        self.expected += done.amount

    @rule(amount=_AMOUNTS)
    def sets_aside(self, amount):
        self._tick()
        try:
            found = holds.hold_now(self.env, self.user, amount, minutes=60)
        except InsufficientCredits:
            return
        self.held.append(found)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), part=st.integers(0, 100))
    def ends_a_hold(self, data, part):
        self._tick()
        found = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        used = found.amount * part // 100
        try:
            holds.capture_now(self.env, self.user, found.id, used)
        except HoldClosed:
            return  # It had ended and is released.
        self.expected -= used

    @precondition(lambda self: self.bought)
    @rule(which=st.integers(0, 2), amount=st.none() | st.integers(1, PRICE),
          answer=st.sampled_from(["succeeded", "pending", "refused", "lost"]))  # fmt: skip
    def refunds(self, which, amount, answer):
        self._tick()
        payment = self._one(which)
        self.bank.answer = answer
        key = f"{next(self.numbers)}"
        want = WantRefund(
            customer_id=self.user, payment_id=payment.id, by="rosa@example.com",
            amount=amount and cents(amount), request_key=ids.request_key("test", str(self.user),
                                                                         key),
            request_hash=hashlib.sha256(key.encode()).digest(),
        )  # fmt: skip
        try:
            seen = refunds.preview(self.env, self.user, payment.id, want.amount)
        except NotRefundable:
            with pytest.raises(NotRefundable):
                refunds.request(self.env, want)
            return
        if seen.obstacle == GoodsUsed.code:
            before = self._standing()
            with pytest.raises(GoodsUsed):
                refunds.request(self.env, want)
            assert self._standing() == before
            return
        for _ in range(2):  # A repeat changes nothing.
            try:
                found = refunds.request(self.env, want)
            except ProviderRefused:
                continue
            assert (seen.credits_taken_back, seen.credits_missing) == (
                found.credits_taken_back, found.credits_owed + found.credits_forgiven)
            assert seen.amount == found.amount
        self._remember(which)

    @precondition(lambda self: self.bought)
    @rule(which=st.integers(0, 2), amount=st.integers(1, PRICE), now=st.booleans())
    def is_refunded_in_the_dashboard(self, which, amount, now):
        self._tick()
        which %= len(self.bought)
        payment = self._one(which)
        made = self.bank.make(payment.payment_ref, cents(amount), "succeeded", None)
        self.told.append((which, made))
        if now:
            self._tell(which, made)

    @precondition(lambda self: self.bank.refunds)
    @rule(data=st.data(), status=st.sampled_from(["succeeded", "failed"]))
    def hears_more_of_a_refund(self, data, status):
        """It goes on at the bank, which never takes a failure back."""
        self._tick()
        ref = data.draw(st.sampled_from(sorted(self.bank.refunds)))
        one = self.bank.refunds[ref]
        if one.status != "failed":
            one = self.bank.refunds[ref] = replace(one, status=status)
        which = next(i for i, p in enumerate(self.bought) if p.payment_ref == one.payment_ref)
        self.told.append((which, one))
        self._tell(which, one)

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def hears_it_again(self, data):
        """Old news and repeated news, in any order."""
        self._tick()
        self._tell(*data.draw(st.sampled_from(self.told)))

    @precondition(lambda self: self.bought)
    @rule(which=st.integers(0, 2), amount=st.just(PRICE) | st.integers(1, PRICE),
          status=st.sampled_from(["warning", "needs_response"]))  # fmt: skip
    def is_disputed(self, which, amount, status):
        self._tick()
        which %= len(self.bought)
        if which in self.disputes:
            return
        payment = self._one(which)
        self._dispute(which, RemoteDispute(
            id=f"d_{payment.payment_ref}", status=status, amount=cents(amount),
            payment_ref=payment.payment_ref, reinstated=cents(0), fee=cents(0),
            withdrawn=cents(0 if status == "warning" else amount),
        ))  # fmt: skip

    @precondition(lambda self: self.disputes)
    @rule(data=st.data(), is_won=st.booleans())
    def is_decided(self, data, is_won):
        self._tick()
        which = data.draw(st.sampled_from(sorted(self.disputes)))
        self._decide(which, is_won)

    @precondition(lambda self: self.disputes)
    @rule(data=st.data())
    def goes_on(self, data):
        """An inquiry becomes a dispute, evidence is looked at."""
        self._tick()
        which = data.draw(st.sampled_from(sorted(self.disputes)))
        one = self.disputes[which]
        following = {"warning": "needs_response", "needs_response": "under_review"}.get(one.status)
        if following is not None:
            self._dispute(which, replace(one, status=following, withdrawn=one.amount))

    @precondition(lambda self: any(d.status == "lost" for d in self.disputes.values()))
    @rule(data=st.data())
    def is_won_after_all(self, data):
        self._tick()
        which = data.draw(st.sampled_from(
            [w for w, d in sorted(self.disputes.items()) if d.status == "lost"]))
        one = self.disputes[which]
        self._dispute(which, replace(one, status="won", reinstated=one.withdrawn))

    @precondition(lambda self: self.told_disputes)
    @rule(data=st.data())
    def hears_a_dispute_again(self, data):
        """Old news of a dispute, in any order, changes nothing."""
        self._tick()
        which, one = data.draw(st.sampled_from(self.told_disputes))
        before = self._standing()
        disputes.apply_remote(
            self.env, "bank", "", one, (self.user, self._one(which).id), "webhook"
        )
        assert self._standing() == before

    @rule(days=st.integers(1, 25))
    def time_passes(self, days):
        self.clock.advance(days=days)

    @rule()
    def the_sweep_runs(self):
        credits.expire_due(self.env)

    # What always holds

    @invariant()
    def nothing_is_lost_or_doubled(self):  # I2 I3 I7 I15 I17
        broken = [f for f in doctor.check(self.env.db) if not f.ok]
        assert not broken, broken
        with self.env.db.read() as tx:
            [balance] = ledger.balances(tx, [self.user], "credits").values()
            [held] = ledger.balances(tx, [self.user], "held").values()
            [debt] = ledger.balances(tx, [self.user], "debt").values()
            [breakage] = ledger.balances(tx, [self.user], "breakage").values()
            asked = tx.one(
                "select coalesce(sum(taken + owed) filter (where reversed_at is null), 0)::int"
                " as gone from clawbacks where customer_id = %(c)s and goods = 'credits'",
                {"c": self.user},
            )
        assert asked is not None
        assert balance + held + debt == self.expected - asked["gone"] - breakage

    @invariant()
    def each_payment_adds_up(self):  # I7 I9
        for payment in self.bought:
            paid = payments.get(self.env, self.user, payment.id)
            found = refunds.list_(self.env, self.user, payment_id=payment.id, limit=100)
            live = [r for r in found if r.state in ("pending", "succeeded")]
            total, lost = (sum(getattr(r, n).minor for r in live) for n in ("amount", "loss"))
            assert paid.refunded.minor == total and total - lost <= PRICE
            assert paid.state == (
                "succeeded" if not total else "refunded" if total >= PRICE
                else "partially_refunded"
            )  # fmt: skip
            self._goods_follow_the_money(payment.id, total - lost)

    def _goods_follow_the_money(self, payment_id, refunded):
        with self.env.db.read() as tx:
            disputed = tx.value(
                "select coalesce(sum(withdrawn_minor - reinstated_minor - loss_minor), 0)::int"
                " from disputes where customer_id = %(c)s and payment_id = %(p)s",
                {"c": self.user, "p": payment_id},
            )
            rows = tx.all(
                "select detail, reversed_at from clawbacks where customer_id = %(c)s"
                " and payment_id = %(p)s and goods = 'credits'",
                {"c": self.user, "p": payment_id},
            )
        asked = sum(part["share"] for row in rows if row["reversed_at"] is None
                    for part in row["detail"]["batches"])  # fmt: skip
        wanted = share_of(CREDITS, PRICE, of_sale(refunded + disputed, PRICE, PRICE))
        assert asked == wanted

    # Steps

    def _one(self, which):
        return self.bought[which % len(self.bought)]

    def _remember(self, which):
        payment = self._one(which)
        for one in self.bank.list_refunds(payment.payment_ref):
            if (which % len(self.bought), one) not in self.told:
                self.told.append((which % len(self.bought), one))

    def _tell(self, which, remote):
        payment = self._one(which)
        refunds.apply_remote(self.env, "bank", "", remote, (self.user, payment.id), "webhook")

    def _standing(self):
        """Every batch, account and sum of the customer's."""
        with self.env.db.read() as tx:
            return [tx.all(sql, {"c": self.user}) for sql in (
                "select id, remaining, owed from batches where customer_id = %(c)s order by id",
                "select code, asset, balance from accounts where customer_id = %(c)s order by 1, 2",
                "select id, state, refunded_minor from payments where customer_id = %(c)s"
                " order by id",
                "select id, withdrawn_minor, reinstated_minor, loss_minor, state from disputes"
                " where customer_id = %(c)s order by id",
                "select count(*) as n from refunds where customer_id = %(c)s",
            )]  # fmt: skip

    def _dispute(self, which, remote):
        self.disputes[which] = remote
        self.told_disputes.append((which, remote))
        owner = (self.user, self._one(which).id)
        disputes.apply_remote(self.env, "bank", "", remote, owner, "webhook")

    def _decide(self, which, is_won):
        one = self.disputes[which]
        if one.status not in ("won", "lost"):
            one = replace(one, status="won" if is_won else "lost", withdrawn=one.amount,
                          reinstated=one.amount if is_won else cents(0))  # fmt: skip
        for _ in range(2):
            self._dispute(which, one)

    def _everything_fails_and_is_won(self):
        """Once all money is here again nothing is owed, and every credit that was not used, held
        or ended is there."""
        for which in self.disputes:
            one = self.disputes[which]
            self._dispute(which, replace(one, status="won", withdrawn=one.amount,
                                         reinstated=one.amount))  # fmt: skip
        for ref, one in sorted(self.bank.refunds.items()):
            self.bank.refunds[ref] = replace(one, status="failed")
        self.clock.advance(minutes=10)
        for call_id in self._open_calls():
            provider_calls.resume(self.env, self.user, call_id)
        for which, payment in enumerate(self.bought):
            for one in self.bank.list_refunds(payment.payment_ref):
                self._tell(which, one)
        self.nothing_is_lost_or_doubled()
        with self.env.db.read() as tx:
            [debt] = ledger.balances(tx, [self.user], "debt").values()
            standing = tx.value(
                "select count(*) from clawbacks where customer_id = %(c)s and reversed_at is null",
                {"c": self.user},
            )
        assert (debt, standing) == (0, 0)

    def _open_calls(self):
        with self.env.db.read() as tx:
            rows = tx.all(
                "select id from provider_calls where customer_id = %(c)s"
                " and state in ('intended', 'unknown')",
                {"c": self.user},
            )
        return [row["id"] for row in rows]


class Forgiving(Clawbacks):
    policy = "clamp"


class Blocking(Clawbacks):
    policy = "block"


class WithGrace(Clawbacks):
    grace_days = 5


@pytest.mark.prove
@pytest.mark.parametrize("machine", [Clawbacks, Forgiving, Blocking, WithGrace])
@pytest.mark.timeout(1800)
def test_any_history_of_refunds_and_disputes_adds_up(machine, database):
    # I2 I3 I7 I9 I15 I17
    class Machine(machine):
        pass

    Machine.database = database
    case = Machine.TestCase
    case.settings = settings(
        max_examples=500 if _PROVE else 5, stateful_step_count=50 if _PROVE else 25,
        phases=list(Phase) if _PROVE else [Phase.explicit, Phase.generate],  # No minutes of search.
        deadline=None, print_blob=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    case().runTest()
