"""Random histories of credits on PostgreSQL, step by step against the oracle in memory.

`PAYDESK_PROVE=1` runs the long form; a failure prints the steps that lead to it.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from paydesk.clock import FixedClock
from paydesk.db.group_commit import Lanes
from paydesk.db.postgres import Database
from paydesk.env import Env
from paydesk.errors import InsufficientCredits, SpendNotRefundable
from paydesk.flows import credits, customers, doctor
from paydesk.rules.credits import Oracle, OracleSpend
from paydesk.settings import Settings
from paydesk.testing import databases

_PROVE = os.environ.get("PAYDESK_PROVE") == "1"
#: Fewer than a real lane books, so that histories meet the patient lane too.
_USERS = st.integers(0, 2)
_AMOUNTS = st.integers(1, 40)


class CreditHistories(RuleBasedStateMachine):
    """Three customers, two of one owner; time moves on between the steps and within them."""

    database: databases.TestDatabase
    grace_days = 0

    def __init__(self) -> None:
        super().__init__()
        self.clock = FixedClock(datetime(2026, 3, 1, tzinfo=UTC))
        told = Settings(
            max_credit_balance=10**9, max_daily_transactions=10**6,
            credit_transfer_policy="any", refund_grace_days=self.grace_days, lanes=1,
        )  # fmt: skip
        db = Database(self.database.dsn, max_size=2)
        self.env = Env(db, Lanes(db, told, self.clock), None, None, told, self.clock)  # type: ignore[arg-type]
        grace = timedelta(days=self.grace_days) if self.grace_days else None
        self.users, self.oracles = [], []
        for _ in range(3):
            name = f"user_{os.urandom(6).hex()}"
            self.users.append(customers.ensure(self.env, name).uuid)
            self.oracles.append(Oracle(grace=grace))
        with db.transaction(self.users[1]) as tx:
            tx.run(
                "update customers set owner_id = %s where customer_id = %s",
                (self.users[0], self.users[1]),
            )
        self.spends: list[tuple[int, object, OracleSpend]] = []

    def teardown(self) -> None:
        try:
            broken = [f for f in doctor.check(self.env.db) if not f.ok]
            assert not broken, broken
        finally:
            self.env.close()

    def _tick(self) -> datetime:
        """Grants of one instant are ordered by id; a second apart, their order is plain."""
        return self.clock.advance(seconds=1)

    @rule(user=_USERS, amount=_AMOUNTS, days=st.none() | st.integers(1, 9),
          kind=st.sampled_from(["purchased", "membership", "promotional"]))  # fmt: skip
    def grants(self, user, amount, days, kind):
        now = self._tick()
        expires_at = None if days is None else now + timedelta(days=days)
        credits.grant_now(self.env, self.users[user], amount, kind=kind, expires_at=expires_at)
        self.oracles[user].grant(amount, kind, now, expires_at)

    @rule(user=_USERS, amount=_AMOUNTS)
    def spends_one(self, user, amount):
        now = self._tick()
        verdict = credits.spend_now(self.env, credits.new_spend(self.users[user], amount))
        self._compare(user, amount, verdict, now)

    @rule(user=_USERS, amounts=st.lists(_AMOUNTS, min_size=2, max_size=6))
    def spends_a_group(self, user, amounts):
        now = self._tick()
        items = [credits.new_spend(self.users[user], amount) for amount in amounts]
        for amount, verdict in zip(
            amounts, credits.spend_many_now(self.env, items), strict=True
        ):
            self._compare(user, amount, verdict, now)

    @precondition(lambda self: self.spends)
    @rule(data=st.data(), amount=_AMOUNTS)
    def refunds(self, data, amount):
        user, transfer_id, spend = data.draw(st.sampled_from(self.spends))
        now = self._tick()
        left = self.oracles[user].refundable(spend)
        try:
            done = credits.refund_spend_now(self.env, self.users[user], transfer_id, amount)
        except SpendNotRefundable as refused:
            assert amount > left and refused.refundable == left
        else:
            assert self.oracles[user].refund(spend, amount, now)
            assert done.refundable == left - amount
            assert done.put_back + done.regranted + done.lapsed == amount

    @rule(one=_USERS, step=st.integers(1, 2), amount=_AMOUNTS)
    def moves(self, one, step, amount):
        other = (one + step) % 3
        now = self._tick()
        is_own = {one, other} == {0, 1}
        try:
            credits.transfer_now(self.env, self.users[one], self.users[other], amount)
            moved = True
        except InsufficientCredits:
            moved = False
        assert moved == self.oracles[one].send(
            self.oracles[other], amount, now, promotional=is_own
        )

    @rule(hours=st.integers(1, 60))
    def time_passes(self, hours):
        self.clock.advance(hours=hours)

    @rule(user=_USERS)
    def time_reaches_the_very_end_of_a_batch(self, user):
        ends = [b.expires_at for b in self.oracles[user].open_at(self.clock.now())]
        if soonest := min((end for end in ends if end is not None), default=None):
            self.clock.set(soonest)

    @rule()
    def the_sweep_runs(self):
        credits.expire_due(self.env)
        assert credits.expire_due(self.env) == 0

    @invariant()
    def the_same_is_left_in_the_same_batches(self):  # I3 I15 I16 I17
        now = self.clock.now()
        for user, oracle in zip(self.users, self.oracles, strict=True):
            with self.env.db.read() as tx:
                found = credits.batches(tx, user, now, limit=10_000)
                assert credits.balance_total(tx, user, now) == oracle.balance(now)
                assert credits.balance(tx, user, now).total == oracle.balance(now)
            assert _left(found) == _left(oracle.open_at(now))

    def _compare(self, user, amount, verdict, now):
        spend = self.oracles[user].spend(amount, now)
        assert (verdict.status == "done") == (spend is not None)
        assert verdict.balance == self.oracles[user].balance(now)
        if spend is not None:
            assert [part for _, part in verdict.draws] == [part for _, part in spend.draws]
            self.spends.append((user, verdict.transfer_id, spend))


def _left(batches) -> Counter:
    """What is left by age, kind and end: batches that agree in these are one to everybody."""
    left: Counter = Counter()
    for batch in batches:
        left[batch.granted_at, batch.kind, batch.expires_at] += batch.remaining
    return left


class HistoriesWithGrace(CreditHistories):
    grace_days = 2


@pytest.mark.prove
@pytest.mark.parametrize("machine", [CreditHistories, HistoriesWithGrace])
@pytest.mark.timeout(900)
def test_any_history_leaves_what_the_oracle_says(machine, database):  # S4.27 S4.30 I2 I3 I15 I17
    class Machine(machine):
        pass

    Machine.database = database
    case = Machine.TestCase
    case.settings = settings(
        max_examples=150 if _PROVE else 6, stateful_step_count=60 if _PROVE else 25,
        deadline=None, print_blob=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    case().runTest()
