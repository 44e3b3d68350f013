"""What a change costs after a pause: the time that was bought, whenever it runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from billing import DECLINES

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscription_pauses as pauses
from paydesk.rules.money import USD


def amounts(seen) -> list[int]:
    return [one.amount.minor for one in seen.lines]


def held_up(billing, sub, *spans: tuple[int, int]):
    """Let it run for so many days, and stand for so many, again and again."""
    for run, stand in spans:
        billing.renew(days=run)
        pauses.pause(billing.env, sub.customer_id, sub.id)
        billing.renew(days=stand)
        pauses.resume(billing.env, sub.customer_id, sub.id)


# S1.29 I22 I24
@pytest.mark.parametrize("policy", ["seconds", "days"])
@pytest.mark.parametrize("spans", [[(9, 300)], [(4, 11), (5, 40)], [(9, 0.4)]])
def test_a_change_after_a_pause_costs_what_it_cost_before(billing, clock, policy, spans):
    clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    terms = {"upgrade": policy, "downgrade": policy, "downgrade_when": "now"}
    billing.plan("pro", **terms)
    billing.plan("team", price=USD("50.00"), **terms)
    who = billing.user()
    sub = billing.subscribe(who)
    held_up(billing, sub, *spans)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    # 22 of 31 days are left, as they were when it was paused.
    assert amounts(seen) == [-1419, 3548]
    changes.change(billing.env, who.uuid, sub.id, plan="team", expect=seen)
    back = changes.change(billing.env, who.uuid, sub.id, plan="pro")
    assert back.plan_key == "pro"
    assert billing.books(who, "balance") == 3548 - 1419


# S1.29 I22
@pytest.mark.parametrize(("start", "bought", "whole", "days"), [
    (datetime(2026, 2, 1, tzinfo=UTC), 28, 28, 60),  # A whole month, and no short one of March.
    (datetime(2026, 3, 20, tzinfo=UTC), 12, 31, 5),
    (datetime(2026, 3, 20, tzinfo=UTC), 12, 31, 60),
])  # fmt: skip
def test_a_pause_in_a_period_of_the_calendar_makes_no_other_part_of_it(
    billing, clock, start, bought, whole, days
):
    clock.set(start)
    billing.plan("pro", price=USD("31.00"), billing="calendar")
    billing.plan("team", price=USD("62.00"), billing="calendar")
    who = billing.user()
    sub = billing.subscribe(who)
    paid = billing.invoices(sub)[0][2]
    assert paid == round(3100 * bought / whole)
    held_up(billing, sub, (2, days))
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    left = bought - 2
    assert amounts(seen) == [-round(paid * left / bought), round(6200 * left / whole)]


# S1.28 S1.29 I24
def test_a_period_that_begins_again_forgets_how_long_it_was_paused(billing):
    """Its charge fails in a pause, dunning ends, and it is paid at last: on that day all of the
    period is left."""
    billing.plan("pro", dunning={"days": [1], "final": "unpaid"})
    billing.plan("team", price=USD("50.00"))
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    crash.arm("renewal_after_commit")
    billing.clock.set(sub.period_end + timedelta(minutes=1))
    with pytest.raises(CrashNow):
        billing.renew()
    pauses.pause(billing.env, who.uuid, sub.id)
    billing.recover(rounds=1)
    billing.until(sub.period_end + timedelta(days=10))
    pauses.resume(billing.env, who.uuid, sub.id)
    billing.renew()
    assert billing.look(sub).state == "unpaid"
    billing.card(who)
    billing.renew()
    assert billing.look(sub).state == "active"
    assert amounts(changes.preview(billing.env, who.uuid, sub.id, plan="team")) == [-2000, 5000]


# S1.28 S1.29 I24
@pytest.mark.parametrize(("first", "days", "length"), [
    (datetime(2026, 2, 20, tzinfo=UTC), 12, 30),  # Billed for 31 days, served for 30.
    (datetime(2026, 1, 20, tzinfo=UTC), 12, 31),  # Billed for 28 days, served for 31.
])  # fmt: skip
def test_what_begins_when_it_is_paid_at_last_is_what_was_paid_for(
    billing, clock, first, days, length
):
    clock.set(first)
    terms = {"dunning": {"days": [1], "final": "unpaid"}, "downgrade_when": "now"}
    billing.plan("pro", price=USD("20.00"), **terms)
    billing.plan("team", price=USD("60.00"), **terms)
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    clock.set(sub.period_end)
    billing.renew()
    billing.renew(days=1)
    assert billing.look(sub).state == "unpaid"
    billing.renew(days=days)
    billing.card(who)
    billing.renew()
    one = billing.look(sub)
    assert (one.state, (one.period_end - one.period_start).days) == ("active", length)
    billing.renew(days=3)
    left = length - 3
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    assert amounts(seen) == [-round(2000 * left / length), round(6000 * left / length)]
