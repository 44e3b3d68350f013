"""Clocks that disagree: five minutes between application and database, and steps back in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from purchase import Desk

from paydesk import crash
from paydesk.assemble import build_env
from paydesk.clock import SystemClock
from paydesk.crash import CrashNow
from paydesk.errors import InvalidSignature
from paydesk.flows import checkout, credits, inbox
from paydesk.simulator import signing

SKEWS = [timedelta(minutes=5), timedelta(minutes=-5)]


@dataclass
class Skewed:
    """Real time and a difference, which a test may change while others read it."""

    by: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by


@pytest.fixture
def skewed(env, sim) -> Iterator[list[Desk]]:
    """Two processes of one desk, whose clocks are five minutes ahead and behind."""
    desks = []
    for by in SKEWS:
        clock = Skewed(by)
        desks.append(Desk(build_env(env.settings, start_missing=False, clock=clock), sim, None,
                          clock))  # fmt: skip
    yield desks
    for one in desks:
        one.env.close()


def granted(desk: Desk) -> list[tuple]:
    return [
        tuple(row.values())
        for row in desk.all(
            "select payment_id, count(*), sum(granted)::int from batches"
            " where payment_id is not null group by 1"
        )
    ]


@pytest.mark.parametrize("by", SKEWS, ids=["ahead", "behind"])
def test_a_purchase_by_a_skewed_clock_grants_once(desk, by):
    """I1 I25: webhooks, verify and the sweep, whatever the application thinks the time is."""
    desk.clock.set(datetime.now(UTC) + by)
    view = desk.open()
    desk.pay(view)
    for _ in range(2):
        desk.deliver(view)
        checkout.verify(desk.env, view.payment.session_ref)
    desk.clock.advance(minutes=-7)
    desk.deliver(view)
    desk.sweep(rounds=2)
    assert granted(desk) == [(view.payment.id, 1, 150)]
    assert desk.payment(view).state == "succeeded"


def test_two_processes_with_other_clocks_grant_each_payment_once(desk, skewed):
    """I1 I25 C."""
    views = [skewed[n % 2].open(desk.make.user()) for n in range(12)]
    for view in views:
        desk.pay(view)
    jobs = []
    with ThreadPoolExecutor(6) as pool:
        for view in views:
            for one in skewed:
                jobs.append(pool.submit(one.deliver, view))
                jobs.append(pool.submit(checkout.verify, one.env, view.payment.session_ref))
    for job in jobs:
        job.result()
    assert sorted(granted(desk)) == sorted((view.payment.id, 1, 150) for view in views)


@pytest.mark.parametrize("by", SKEWS, ids=["ahead", "behind"])
def test_the_tolerance_of_webhooks_is_real_time(desk, by):
    """I25 I31: neither does a skewed application refuse a genuine one nor take an old one."""
    desk.clock.set(datetime.now(UTC) + by)
    view = desk.open()
    desk.pay(view)
    one = desk.events(view, "checkout.session.completed")[0]
    now = int(time.time())
    for at in (now - 310, now + 310):
        headers = {"Stripe-Signature": signing.header(desk.sim.webhook_secret, one.body, at)}
        with pytest.raises(InvalidSignature):
            inbox.receive(desk.env, "stripe", one.body, headers)
    for at in (now - 290, now + 290):
        headers = {"Stripe-Signature": signing.header(desk.sim.webhook_secret, one.body, at)}
        inbox.receive(desk.env, "stripe", one.body, headers)
    assert granted(desk) == [(view.payment.id, 1, 150)]


@pytest.mark.parametrize("back", [timedelta(minutes=5), timedelta(hours=2)])
def test_credits_that_have_ended_stay_ended_after_a_step_back(env, make, clock, back):
    """I16 I25: their end was booked once; an earlier clock makes nothing spendable again."""
    user = make.user()
    make.credits(user, 10, days=1)
    clock.advance(days=1)
    refused = credits.spend_now(env, credits.new_spend(user.uuid, 1))
    assert refused.status == "insufficient"
    clock.set(clock.now() - back)
    for _ in range(2):
        assert credits.spend_now(env, credits.new_spend(user.uuid, 1)).status == "insufficient"
        assert credits.expire_due(env) == 0
    with env.db.read() as tx:
        assert credits.balance_total(tx, user.uuid, env.now()) == 0
        assert credits.balance(tx, user.uuid, env.now()).total == 0
        ended = tx.all("select amount from transfers where reason = 'CREDIT_EXPIRY'")
    assert [row["amount"] for row in ended] == [10]


def test_spending_that_races_the_end_has_one_winner_under_two_clocks(desk, skewed):
    """I16 I25 C: one process already is past the end, the other is not: each credit goes once."""
    early, late = skewed[1], skewed[0]
    users = [desk.make.user() for _ in range(6)]
    ends = datetime.now(UTC) + timedelta(minutes=2)
    for user in users:
        credits.grant_now(early.env, user.uuid, 100, kind="promotional", expires_at=ends)
    start = threading.Barrier(len(users) + 1)

    def spend(user) -> int:
        start.wait()
        items = [credits.new_spend(user.uuid, 3, "race") for _ in range(40)]
        found = [credits.spend_now(early.env, one).status for one in items]
        done = found.count("done")
        assert found == ["done"] * done + ["insufficient"] * (len(items) - done)
        return done * 3

    def end() -> None:
        start.wait()
        while credits.expire_due(late.env):
            pass

    with ThreadPoolExecutor(len(users) + 1) as pool:
        spent = [pool.submit(spend, user) for user in users]
        pool.submit(end).result()
        taken = [one.result() for one in spent]
    rows = desk.all(
        "select customer_id, sum(amount) filter (where reason = 'CREDIT_EXPIRY')::int as ended"
        " from transfers group by 1"
    )
    ended = {row["customer_id"]: row["ended"] or 0 for row in rows}
    assert [ended[user.uuid] for user in users] == [100 - one for one in taken]


def test_instants_of_a_customer_never_run_back(desk, skewed):
    """I25: what is later in the books and in the feed is not earlier on the clock."""
    user = desk.make.user()
    ahead, behind = skewed
    ends = datetime.now(UTC) + timedelta(days=9)
    for number in range(3):
        for one in (behind, ahead, behind):
            credits.grant_now(one.env, user.uuid, 20, kind="promotional", expires_at=ends)
            credits.spend_now(one.env, credits.new_spend(user.uuid, 3, f"turn {number}"))
        view = behind.open(user)
        desk.pay(view)
        (ahead if number % 2 else behind).deliver(view)
    transfers = desk.all("select effective_at as at from transfers order by seq")
    events = desk.all("select created_at as at from events where customer_id = %(c)s order by seq",
                      c=user.uuid)  # fmt: skip
    for rows in (transfers, events):
        instants = [row["at"] for row in rows]
        assert instants == sorted(instants)
    assert len(events) > 20


def test_a_paid_session_that_ends_early_by_our_clock_is_kept(desk):
    """I1 I6 I25: our clock runs ahead, no webhook came; the provider is asked before it ends."""
    view = desk.open()
    desk.pay(view)
    desk.clock.advance(minutes=36)
    desk.sweep("sessions")
    desk.sweep(rounds=2)
    assert desk.payment(view).state == "succeeded"
    assert granted(desk) == [(view.payment.id, 1, 150)]


@pytest.mark.parametrize("point", ["checkout_after_intend", "after_provider_call"])
def test_a_call_without_an_answer_ends_after_a_step_back(desk, point):
    """I6 I25: leases of the time before the step only delay the sweep."""
    user = desk.make.user()
    crash.arm(point)
    with pytest.raises(CrashNow):
        desk.open(user)
    desk.clock.advance(minutes=-5)
    desk.recover(rounds=14)
    states = {row["state"] for row in desk.all("select state from payments")}
    assert states == {"expired"}
    assert {one["status"] for one in desk.sim.objects("checkout.session")} <= {"expired"}


def test_the_services_clock_is_the_databases_and_no_step_moves_it(settings, db, monkeypatch):
    """I25: measured at the start, then monotonic: the machine's wall clock may jump."""
    shift = [300.0]
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    env = build_env(settings, start_missing=False)
    try:
        seen = [env.now()]
        for shift[0] in (-300.0, 0.0, 86_400.0):
            seen.append(env.now())
        with env.db.read() as tx:
            there = tx.value("select clock_timestamp()")
    finally:
        env.close()
    assert seen == sorted(seen)
    assert abs(there - seen[-1]) < timedelta(seconds=2)


def test_a_measured_clock_follows_a_database_that_is_elsewhere():
    """I25: five minutes of difference are in the offset, for every process alike."""
    clock = SystemClock(measure_every_s=0.0)
    for by in SKEWS:
        clock.measure(lambda by=by: datetime.now(UTC) + by)
        assert abs(clock.now() - (datetime.now(UTC) + by)) < timedelta(seconds=1)


def test_a_day_s_count_does_not_start_anew_after_a_step_back(env, make, clock):
    """I25: over midnight and back, the limit of the day holds."""
    limited = replace(env, settings=replace(env.settings, max_daily_transactions=3))
    lanes = type(env.lanes)(env.db, limited.settings, clock)
    limited = replace(limited, lanes=lanes)
    user = make.user()
    make.credits(user, 100)
    clock.set(clock.now().replace(hour=23, minute=58) + timedelta(days=1))

    def spend() -> str:
        return credits.spend_now(limited, credits.new_spend(user.uuid, 1)).status

    try:
        assert [spend() for _ in range(4)] == ["done"] * 3 + ["limit"]
        clock.advance(minutes=4)
        assert [spend() for _ in range(2)] == ["done"] * 2
        clock.advance(minutes=-5)
        assert [spend() for _ in range(3)] == ["done", "limit", "limit"]
    finally:
        lanes.close()
