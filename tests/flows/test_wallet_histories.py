"""Random histories of wallets, holds and credits on PostgreSQL, against a plain model in memory.

`PAYDESK_PROVE=1` runs the long form; a failure prints the steps that lead to it.
"""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from purse import fill, paid

from paydesk import ids
from paydesk.clock import FixedClock
from paydesk.db.group_commit import Lanes
from paydesk.db.postgres import Database
from paydesk.env import Env
from paydesk.errors import (
    AmountTooSmall,
    Conflict,
    GoodsUsed,
    HoldClosed,
    InsufficientCredits,
    InsufficientFunds,
    PaydeskError,
)
from paydesk.flows import (
    credits,
    customers,
    doctor,
    holds,
    ledger,
    rates,
    wallet_moves,
    wallet_payments,
    wallets,
    withdrawals,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.rules.credits import Oracle
from paydesk.rules.ledger import CREDIT
from paydesk.rules.money import Money, exponent
from paydesk.settings import Settings
from paydesk.testing import databases

_PROVE = os.environ.get("PAYDESK_PROVE") == "1"
_USERS = st.integers(0, 1)
_CODES = st.sampled_from(["usd", "htg", "jpy", "kwd"])
_AMOUNTS = st.integers(1, 3_000)
_RATES = st.decimals("0.001", "200", places=4)
_PICK = st.integers(0, 10**6)


@dataclass(eq=False)
class Aside:
    """Something set aside: a hold, or a withdrawal or waiting transfer where `is_hold` is false."""

    user: int
    asset: str
    amount: int
    row: Any
    expires_at: datetime | None = None
    draws: list[Any] = field(default_factory=list)
    is_hold: bool = True


class WalletHistories(RuleBasedStateMachine):
    """Two customers of one owner; the model keeps what each wallet and batch must hold."""

    database: databases.TestDatabase
    #: Rates belong to nobody: histories that share a database take place one after the other.
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        start = datetime(2026, 3, 1, tzinfo=UTC) + next(self.numbers) * timedelta(days=400)
        self.clock = FixedClock(start)
        told = Settings(
            max_credit_balance=10**9, max_daily_transactions=10**6, max_transaction_amount=10**9,
            wallet_transfer_policy="any", lanes=1,
        )  # fmt: skip
        db = Database(self.database.dsn, max_size=2)
        self.env = Env(db, Lanes(db, told, self.clock), None, None, told, self.clock)  # type: ignore[arg-type]
        self.users = [
            customers.ensure(self.env, f"user_{os.urandom(6).hex()}") for _ in range(2)
        ]
        self.oracles = [Oracle() for _ in self.users]
        self.money: dict[tuple[int, str], int] = defaultdict(int)
        self.owed: dict[tuple[int, str], int] = defaultdict(int)
        self.aside: list[Aside] = []
        self.taken: list[tuple[int, Any, Any]] = []

    def teardown(self) -> None:
        try:
            broken = [f for f in doctor.check(self.env.db) if not f.ok]
            assert not broken, broken
        finally:
            self.env.close()

    # The model ----------------------------------------------------------------------------------

    def _tick(self) -> datetime:
        return self.clock.advance(seconds=1)

    def _arrive(self, user: int, code: str, minor: int) -> None:
        repaid = min(self.owed[user, code], minor)
        self.owed[user, code] -= repaid
        self.money[user, code] += minor - repaid

    def _worth(self, one: str, other: str) -> Fraction:
        """Of a minor unit of one currency in those of the other, by the rate that serves now."""
        with self.env.db.transaction() as tx:
            rate = rates.to_convert(tx, one, other, self.clock.now())
        worth = Fraction(rate.rate) ** (1 if rate.base == one else -1)
        return worth * Fraction(10 ** exponent(other), 10 ** exponent(one))

    def _leave(self, user: int, code: str, minor: int) -> bool:
        if self.money[user, code] < minor:
            return False
        self.money[user, code] -= minor
        return True

    def _back(self, one: Aside, rest: int) -> None:
        """What is released: to the wallet, or to the batches that still run."""
        if one.asset != CREDIT:
            self._arrive(one.user, one.asset, rest)
            return
        for batch, part in reversed(one.draws):
            now_back = min(part, rest)
            rest -= now_back
            if batch.expires_at is None or batch.expires_at > self.clock.now():
                batch.remaining += now_back

    def _expire(self, *chosen: Aside) -> None:
        now = self.clock.now()
        for one in [a for a in chosen if a.expires_at is not None and a.expires_at <= now]:
            self.aside.remove(one)
            self._back(one, one.amount)

    def _chosen(self, pick: int, *, is_hold: bool) -> Aside:
        found = [one for one in self.aside if one.is_hold == is_hold]
        return found[pick % len(found)]

    def _has(self, *, is_hold: bool) -> bool:
        return any(one.is_hold == is_hold for one in self.aside)

    def _try(self, work: Any, refusal: type[PaydeskError], is_possible: bool) -> Any:
        """The work's answer; it must be refused exactly where the model says so."""
        if is_possible:
            return work()
        with pytest.raises(refusal):
            work()
        return None

    # Steps --------------------------------------------------------------------------------------

    @rule(user=_USERS, code=_CODES, minor=_AMOUNTS)
    def deposits(self, user, code, minor):
        self._tick()
        fill(self.env, self.users[user], Money(minor, code, minor=True))
        self._arrive(user, code, minor)

    @rule(user=_USERS, code=_CODES, minor=_AMOUNTS)
    def pays(self, user, code, minor):
        self._tick()
        wanted = StartCheckout(
            customer_id=self.users[user].uuid, amount=Money(minor, code, minor=True)
        )
        self._try(lambda: wallet_payments.pay(self.env, wanted), InsufficientFunds,
                  self._leave(user, code, minor))  # fmt: skip

    @rule(user=_USERS, code=_CODES, minor=_AMOUNTS)
    def transfers(self, user, code, minor):
        self._tick()
        pair = self.users[user].uuid, self.users[1 - user].uuid
        if is_possible := self._leave(user, code, minor):
            self._arrive(1 - user, code, minor)
        self._try(
            lambda: wallet_moves.transfer_now(self.env, *pair, Money(minor, code, minor=True)),
            InsufficientFunds, is_possible,
        )  # fmt: skip

    @rule(user=_USERS, code=_CODES, minor=_AMOUNTS, policy=st.sampled_from(
        ["debt", "clamp", "block"]))  # fmt: skip
    def is_taken_back(self, user, code, minor, policy):
        self._tick()
        owner, had = self.users[user], self.money[user, code]
        payment = paid(owner, Money(minor, code, minor=True))
        short = max(0, minor - had)

        def work():
            with self.env.db.transaction(owner.uuid) as tx:
                return wallets.take_back(
                    tx, self.clock.now(), payment, minor, cause="refund",
                    cause_id=ids.new_owned(owner.uuid), policy=policy,
                )  # fmt: skip

        done = self._try(work, GoodsUsed, not (short and policy == "block"))
        if done is not None:
            self.money[user, code] -= minor - short
            self.owed[user, code] += short if policy == "debt" else 0
            self.taken.append((user, payment, done))

    @precondition(lambda self: self.taken)
    @rule(pick=_PICK)
    def is_given_back(self, pick):
        self._tick()
        user, payment, was = self.taken.pop(pick % len(self.taken))
        with self.env.db.transaction(self.users[user].uuid) as tx:
            wallets.give_back(tx, self.clock.now(), payment, was, cause="dispute",
                              cause_id=ids.new_owned(self.users[user].uuid))  # fmt: skip
        self._arrive(user, payment.currency, was.taken + was.owed)

    @rule(user=_USERS, pair=st.permutations(["usd", "htg", "jpy", "kwd"]), value=_RATES,
          minor=_AMOUNTS, is_turned=st.booleans())  # fmt: skip
    def converts_there_and_back(self, user, pair, value, minor, is_turned):
        self._tick()
        one, other = pair[:2]
        rates.enter(self.env, *((other, one) if is_turned else (one, other)), value, by=None)
        told = Fraction(value) ** (-1 if is_turned else 1)
        told *= Fraction(10 ** exponent(other), 10 ** exponent(one))
        worth, back_worth = self._worth(one, other), self._worth(other, one)
        # A way around, by the rates of steps before, is taken where it brings less.
        assert worth <= told and back_worth <= 1 / told
        got = int(minor * worth)
        give, owner = Money(minor, one, minor=True), self.users[user].uuid
        had = self.money[user, one]
        if not got:
            refusal = AmountTooSmall if had >= minor else (AmountTooSmall, InsufficientFunds)
            with pytest.raises(refusal):
                wallet_moves.convert_now(self.env, owner, give, other)
            return
        done = self._try(lambda: wallet_moves.convert_now(self.env, owner, give, other),
                         InsufficientFunds, self._leave(user, one, minor))  # fmt: skip
        if done is None:
            return
        assert done.get.minor == got
        assert 0 <= done.rounding.minor < minor
        free = self.money[user, other]
        self._arrive(user, other, got)
        back = min(got, self.money[user, other] - free)
        if int(back * back_worth):
            returned = wallet_moves.convert_now(
                self.env, owner, Money(back, other, minor=True), one
            ).get.minor
            assert returned == int(back * back_worth) and returned <= minor  # I14
            assert self._leave(user, other, back)
            self._arrive(user, one, returned)

    @rule(user=_USERS, amount=st.integers(1, 60), days=st.none() | st.integers(1, 5))
    def is_granted_credits(self, user, amount, days):
        now = self._tick()
        until = None if days is None else now + timedelta(days=days)
        credits.grant_now(self.env, self.users[user].uuid, amount, expires_at=until)
        self.oracles[user].grant(amount, "promotional", now, until)

    @rule(user=_USERS, amount=st.integers(1, 60))
    def spends_credits(self, user, amount):
        now = self._tick()
        item = credits.new_spend(self.users[user].uuid, amount)
        verdict = credits.spend_now(self.env, item)
        assert (verdict.status == "done") == (
            self.oracles[user].spend(amount, now) is not None
        )

    @rule(user=_USERS, asset=st.just(CREDIT) | _CODES, amount=st.integers(1, 60),
          minutes=st.integers(1, 4_000))  # fmt: skip
    def holds(self, user, asset, amount, minutes):
        now = self._tick()
        mine = [one for one in self.aside if one.user == user and one.is_hold]
        draws: list[Any] = []
        # What has run out is released in passing, and stays so where the hold is then refused.
        before = [one for one in mine if one.expires_at and one.expires_at <= now]
        there = self._would_have(user, asset, before)
        is_possible = there >= amount
        if is_possible:
            self._expire(*mine)
            if asset == CREDIT:
                draws = self.oracles[user]._take(self.oracles[user].open_at(now), amount)
            else:
                assert self._leave(user, asset, amount)
        made = self._try(
            lambda: holds.hold_now(self.env, self.users[user].uuid, amount, asset,
                                   minutes=minutes),
            InsufficientCredits if asset == CREDIT else InsufficientFunds, is_possible,
        )  # fmt: skip
        if made is not None:
            self.aside.append(Aside(user, asset, amount, made, made.expires_at, draws))

    def _would_have(self, user: int, asset: str, ended: list[Aside]) -> int:
        """What could be held once these holds are released."""
        now = self.clock.now()
        if asset != CREDIT:
            back = sum(one.amount for one in ended if one.asset == asset)
            return self.money[user, asset] + max(0, back - self.owed[user, asset])
        back = sum(
            part for one in ended for batch, part in one.draws
            if one.asset == CREDIT and (batch.expires_at is None or batch.expires_at > now)
        )  # fmt: skip
        return self.oracles[user].balance(now) + back

    @precondition(lambda self: self._has(is_hold=True))
    @rule(pick=_PICK, part=st.none() | st.integers(0, 60), is_release=st.booleans())
    def ends_a_hold(self, pick, part, is_release):
        now = self._tick()
        one = self._chosen(pick, is_hold=True)
        used = 0 if is_release else min(one.amount if part is None else part, one.amount)
        is_open = now < one.expires_at
        owner = self.users[one.user].uuid

        def work():
            if is_release:
                return holds.release_now(self.env, owner, one.row.id)
            return holds.capture_now(self.env, owner, one.row.id, used)

        self._try(work, HoldClosed, is_open)
        if is_open:
            self.aside.remove(one)
            self._back(one, one.amount - used)
        else:
            self._expire(one)
        with pytest.raises(HoldClosed):
            work()

    @precondition(lambda self: self._has(is_hold=True))
    @rule(pick=_PICK, part=st.integers(1, 30))
    def captures_a_part(self, pick, part):
        now = self._tick()
        one = self._chosen(pick, is_hold=True)
        if part >= one.amount:
            return
        owner = self.users[one.user].uuid
        is_open = now < one.expires_at
        self._try(
            lambda: holds.capture_now(self.env, owner, one.row.id, part, is_final=False),
            HoldClosed, is_open,
        )  # fmt: skip
        if not is_open:
            self._expire(one)
            return
        one.amount -= part
        draws = []
        for batch, taken in one.draws:
            used = min(taken, part)
            part -= used
            draws.append((batch, taken - used))
        one.draws = draws

    @rule()
    def sweeps(self):
        self._tick()
        holds.expire_due(self.env)
        credits.expire_due(self.env)
        self._expire(*self.aside)

    @rule(user=_USERS, code=_CODES, minor=_AMOUNTS)
    def asks_for_a_withdrawal(self, user, code, minor):
        self._tick()
        made = self._try(
            lambda: withdrawals.request(self.env, self.users[user].uuid,
                                        Money(minor, code, minor=True), "MonCash", by="user"),
            InsufficientFunds, self._leave(user, code, minor),
        )  # fmt: skip
        if made is not None:
            self.aside.append(Aside(user, code, minor, made, is_hold=False))

    @rule(user=_USERS, code=_CODES, minor=_AMOUNTS)
    def asks_for_a_transfer(self, user, code, minor):
        self._tick()
        asked = replace(self.env.settings, transfer_approval_threshold=Decimal("0.000001"))
        pair = self.users[user].uuid, self.users[1 - user].uuid
        made = self._try(
            lambda: wallet_moves.transfer_now(replace(self.env, settings=asked), *pair,
                                              Money(minor, code, minor=True), by="user"),
            InsufficientFunds, self._leave(user, code, minor),
        )  # fmt: skip
        if made is not None:
            with self.env.db.read() as tx:
                row = withdrawals.get(tx, pair[0], made.withdrawal_id)
            self.aside.append(Aside(user, code, minor, row, is_hold=False))

    @precondition(lambda self: self._has(is_hold=False))
    @rule(pick=_PICK, end=st.sampled_from(["paid", "reject", "cancel"]))
    def ends_a_withdrawal(self, pick, end):
        self._tick()
        one = self._chosen(pick, is_hold=False)
        key = self.users[one.user].uuid, one.row.id
        is_possible = end != "paid" or not self.owed[one.user, one.asset]
        if is_possible:
            self.aside.remove(one)
        if end == "paid":
            found = self._try(lambda: withdrawals.decide(self.env, *key, "approve", by="ann"),
                              Conflict, is_possible)  # fmt: skip
            if found is not None and one.row.to_id is not None:
                self._arrive(1 - one.user, one.asset, one.amount)
            elif found is not None:
                withdrawals.mark_paid(self.env, *key, "MC-42", by="ann")
            return
        if end == "reject":
            withdrawals.decide(self.env, *key, "reject", by="ann")
        else:
            withdrawals.cancel(self.env, *key, by="user")
        self._arrive(one.user, one.asset, one.amount)

    @rule(minutes=st.integers(1, 3_000))
    def time_passes(self, minutes):
        self.clock.advance(minutes=minutes)

    # What must hold -----------------------------------------------------------------------------

    @invariant()
    def everything_is_as_the_model_says(self):  # I3 I8 I15 I16
        now = self.clock.now()
        with self.env.db.read() as tx:
            for user, customer in enumerate(self.users):
                held: dict[str, int] = defaultdict(int)
                for one in self.aside:
                    held[one.asset] += one.amount * (one.user == user)
                for found in wallets.list_(tx, customer.uuid):
                    key = (user, found.currency)
                    assert (found.balance, found.owed) == (self.money[key], self.owed[key])
                    assert found.held == held[found.currency]
                    assert not (found.balance and found.owed)
                total = credits.balance_total(tx, customer.uuid, now)
                assert total == self.oracles[user].balance(now)
                booked = ledger.balances(tx, [customer.uuid], "held")[customer.uuid]
                assert booked == held[CREDIT]


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_any_history_of_wallets_leaves_what_the_model_says(database):  # I2 I3 I8 I14 I15 I16
    class Machine(WalletHistories):
        pass

    Machine.database = database
    case = Machine.TestCase
    case.settings = settings(
        max_examples=100 if _PROVE else 6, stateful_step_count=60 if _PROVE else 30,
        deadline=None, print_blob=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    case().runTest()
