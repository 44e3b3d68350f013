"""Renewals: one invoice for each period, however often, late or in parallel the sweep runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.flows import renewals, subscription_changes, subscription_pauses, sweeps
from paydesk.rules import periods
from paydesk.rules.money import USD


# S1.12 I22 I23
def test_each_period_is_billed_once_and_opens_what_it_opens(billing):
    billing.plan(credits=100)
    who = billing.user()
    sub = billing.subscribe(who)
    starts = [sub.period_start]
    for number in range(1, 4):
        billing.until(billing.look(sub).period_end + timedelta(hours=1))
        starts.append(billing.look(sub).period_start)
        assert billing.invoices(sub)[-1] == (number, "paid", 2000, 2000)
        assert billing.balance(who) == 100, "credits of the month before have ended"
        assert billing.can(who, "tier:pro")
    assert starts == [periods.boundary(sub.period_start, "month", 1, n) for n in range(4)]
    assert billing.events(sub) == ["created", "activated", *["renewed"] * 3]
    assert billing.books(who, "revenue") == 8000


# I22
def test_the_last_day_of_january_bills_on_the_last_day_of_february(billing, clock):
    billing.plan()
    clock.set(datetime(2027, 1, 31, 12, tzinfo=UTC))
    sub = billing.subscribe(billing.user())
    ends = []
    for _ in range(3):
        ends.append(billing.look(sub).period_end)
        billing.until(ends[-1])
    assert [(one.month, one.day) for one in ends] == [(2, 28), (3, 31), (4, 30)]


# I23
def test_a_stop_of_ninety_days_bills_each_missed_period_once(billing):
    billing.plan()
    sub = billing.subscribe(billing.user())
    billing.clock.advance(days=95)
    for _ in range(3):
        billing.renew()
    assert [one[:2] for one in billing.invoices(sub)] == [(n, "paid") for n in range(4)]
    after = billing.look(sub)
    assert after.period_start <= billing.env.now() < after.period_end


# I23
def test_many_workers_bill_a_period_once(billing):
    billing.plan()
    subs = [billing.subscribe(billing.user()) for _ in range(4)]
    billing.clock.advance(days=32)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: renewals.run_due(billing.env), range(6)))
    billing.recover(rounds=2)
    for sub in subs:
        assert [one[:2] for one in billing.invoices(sub)] == [(0, "paid"), (1, "paid")]
        assert billing.payments(sub) == ["succeeded"] * 2


RENEWAL = ("renewal_invoiced", "renewal_before_commit", "renewal_after_commit",
           "before_provider_call", "after_provider_call", "call_before_done_commit",
           "fulfil_before_goods", "fulfil_after_goods", "call_after_done",
           "invoice_before_commit")  # fmt: skip


# I23 I28
@pytest.mark.parametrize("point", RENEWAL)
def test_a_death_in_the_middle_of_a_renewal_bills_once(billing, point):
    billing.plan(credits=50)
    who = billing.user()
    sub = billing.subscribe(who)
    billing.clock.advance(days=32)
    crash.arm(point)
    with pytest.raises(CrashNow):
        renewals.run_due(billing.env)
    billing.recover(rounds=4)
    assert [one[:2] for one in billing.invoices(sub)] == [(0, "paid"), (1, "paid")]
    assert billing.payments(sub) == ["succeeded"] * 2
    assert billing.balance(who) == 50
    assert billing.books(who, "revenue") == 4000
    assert billing.events(sub).count("renewed") == 1


@pytest.mark.parametrize("point", ["subscribe_before_commit", "subscribe_after_commit"])
def test_a_death_while_subscribing_charges_once(billing, point):
    from paydesk import ids

    billing.plan()
    who = billing.user()
    key = ids.request_key("app", point)
    crash.arm(point)
    with pytest.raises(CrashNow):
        billing.subscribe(who, request_key=key)
    billing.recover(rounds=2)
    sub = billing.subscribe(who, request_key=key)
    assert billing.look(sub).state == "active"
    assert billing.payments(sub) == ["succeeded"]


# S1.28! S4.16
def test_canceled_now_it_shuts_at_once_and_bills_no_more(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    done = subscription_changes.cancel(billing.env, who.uuid, sub.id, at="now", reason="too dear")
    assert (done.state, done.cancel_reason, done.end_reason) == ("canceled",) + ("too dear",) * 2
    assert not billing.can(who, "tier:pro")
    billing.until(sub.period_end + timedelta(days=3))
    assert len(billing.invoices(sub)) == 1
    assert billing.subscribe(who).state == "active"


# S1.28
def test_canceled_with_a_refund_gives_back_what_is_unused(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    half = (sub.period_end - sub.period_start) / 2
    billing.clock.advance(seconds=half.total_seconds())
    subscription_changes.cancel(billing.env, who.uuid, sub.id, at="now", refund="unused")
    rows = billing.all("select amount_minor, state from refunds where customer_id = %(c)s",
                       c=who.uuid)  # fmt: skip
    assert [tuple(row.values()) for row in rows] == [(1000, "succeeded")]


# S1.28
def test_canceled_at_the_end_it_runs_until_then_and_may_be_taken_back(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    subscription_changes.cancel(billing.env, who.uuid, sub.id)
    assert billing.look(sub).cancel_at == sub.period_end
    assert billing.can(who, "tier:pro")
    subscription_changes.reactivate(billing.env, who.uuid, sub.id)
    billing.until(sub.period_end + timedelta(hours=1))
    assert len(billing.invoices(sub)) == 2
    subscription_changes.cancel(billing.env, who.uuid, sub.id)
    billing.until(billing.look(sub).period_end + timedelta(hours=1))
    after = billing.look(sub)
    assert (after.state, len(billing.invoices(sub))) == ("canceled", 2)
    assert not billing.can(who, "tier:pro")
    assert billing.events(sub)[-1] == "canceled"


def test_a_pause_stops_time_and_what_is_open(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    billing.until(sub.period_start + timedelta(days=10))
    subscription_pauses.pause(billing.env, who.uuid, sub.id)
    assert not billing.can(who, "tier:pro")
    billing.until(sub.period_end + timedelta(days=30))
    assert len(billing.invoices(sub)) == 1
    resumed = subscription_pauses.resume(billing.env, who.uuid, sub.id)
    assert resumed.state == "active"
    assert resumed.period_end - billing.env.now() == sub.period_end - sub.period_start - timedelta(
        days=10)
    assert billing.can(who, "tier:pro")
    billing.until(resumed.period_end + timedelta(hours=1))
    assert [one[:2] for one in billing.invoices(sub)] == [(0, "paid"), (1, "paid")]


def test_a_pause_with_an_end_resumes_by_itself(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    back = billing.env.now() + timedelta(days=5)
    subscription_pauses.pause(billing.env, who.uuid, sub.id, resume_at=back)
    billing.until(back + timedelta(hours=1))
    assert billing.look(sub).state == "active"


# S4.25 S4.26
def test_a_yearly_plan_gives_its_credits_every_month(billing):
    billing.plan(price=USD("200.00"), interval="year", credits=100)
    who = billing.user()
    sub = billing.subscribe(who)
    for _ in range(3):
        assert billing.balance(who) == 100
        billing.until(billing.env.now() + timedelta(days=32))
    given = billing.all(
        "select count(*) as n from batches where customer_id = %(c)s and kind = 'membership'",
        c=who.uuid,
    )
    assert (given[0]["n"], billing.balance(who)) == (4, 100)
    assert len(billing.invoices(sub)) == 1


# S4.25
@pytest.mark.parametrize(("rule", "cap", "after"), [("all", None, 300), ("capped", 250, 250)])
def test_credits_that_are_left_roll_over_as_the_plan_has_it(billing, rule, cap, after):
    billing.plan(credits=100, credits_rollover=rule, credits_cap=cap)
    who = billing.user()
    sub = billing.subscribe(who)
    billing.until(sub.period_start + timedelta(days=63))
    assert billing.balance(who) == after


# S4.40 S4.41
@pytest.mark.parametrize(
    ("duration", "told", "totals"),
    [("once", {}, [1000, 2000, 2000]), ("repeating", {"duration_periods": 2}, [1000, 1000, 2000]),
     ("forever", {}, [1000, 1000, 1000])],
)
def test_a_code_takes_off_one_some_or_all_periods(billing, make, duration, told, totals):
    billing.plan()
    make.promo("HALF", percent_off=50, duration=duration, **told)
    sub = billing.subscribe(billing.user(), promo="half")
    billing.until(sub.period_start + timedelta(days=63))
    assert [one[2] for one in billing.invoices(sub)] == totals
    used = billing.all("select used from promo_counts")
    assert [row["used"] for row in used] == [1]


def test_what_cannot_be_renewed_stands_in_nobodys_way(billing, env, monkeypatch):
    billing.plan()
    first, second = (billing.subscribe(billing.user()) for _ in range(2))
    done = renewals._do

    def fails_for_the_first(env, tx, now, sub, found):
        if sub.id == first.id:
            raise RuntimeError("a fault of ours")
        return done(env, tx, now, sub, found)

    monkeypatch.setattr(renewals, "_do", fails_for_the_first)
    monkeypatch.setattr(sweeps, "raises_faults", False)
    billing.clock.set(first.period_end + timedelta(hours=1))
    for _ in range(2):
        renewals.run_due(env, limit=1)
    assert [len(billing.invoices(one)) for one in (first, second)] == [1, 2]
    monkeypatch.undo()
    billing.until(billing.clock.now() + sweeps.SET_BACK)
    assert len(billing.invoices(first)) == 2


# I23
def test_a_rest_too_small_to_charge_is_written_off_and_the_plan_goes_on(billing, env):
    billing.plan(upgrade="seconds", downgrade="seconds")
    billing.plan("team", price=USD("59.60"), upgrade="seconds", downgrade="seconds")
    who = billing.user()
    sub = billing.subscribe(who)
    billing.clock.advance(seconds=((sub.period_end - sub.period_start) / 2).total_seconds())
    for plan in ("team", "pro"):
        subscription_changes.change(env, who.uuid, sub.id, plan=plan, at="now")
    assert billing.books(who, "balance") == 1980
    billing.until(sub.period_end + timedelta(hours=1))
    assert billing.invoices(sub)[-1] == (1, "paid", 2000, 0)
    assert billing.look(sub).state == "active"
    assert len(billing.payments(sub)) == 2, "nobody was charged twenty cents"
    assert billing.books(who, "balance") == 0
    rows = billing.all("select reason, written_off_minor from credit_notes"
                       " where customer_id = %(c)s", c=who.uuid)  # fmt: skip
    assert rows == [{"reason": "too_small_to_charge", "written_off_minor": 20}]
