"""Changes within a trial: at its end begins a period of the new plan, for its price."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import USD


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


# S1.29 S4.40 I22
@pytest.mark.parametrize(("was", "then", "total", "end"), [
    ("calendar", "month", 2000, utc(2026, 4, 15)),
    ("calendar", "year", 20000, utc(2027, 3, 15)),
    ("month", "calendar", 1700, utc(2026, 4, 1)),
    ("year", "calendar", 1700, utc(2026, 4, 1)),
    ("month", "year", 20000, utc(2027, 3, 15)),
    ("calendar", "quarter", 6000, utc(2026, 4, 1)),
])  # fmt: skip
def test_a_trial_ends_in_a_period_of_the_plan_that_it_was_changed_to(
    billing, clock, was, then, total, end
):
    clock.set(utc(2026, 3, 1))
    terms = {"trial_days": 14}
    billing.plan("month", **terms)
    billing.plan("year", price=USD("200.00"), interval="year", **terms)
    billing.plan("calendar", price=USD("31.00"), billing="calendar", **terms)
    billing.plan("quarter", price=USD("90.00"), interval_count=3, billing="calendar", **terms)
    who = billing.user()
    sub = billing.subscribe(who, was)
    assert sub.state == "trialing"
    changes.change(billing.env, who.uuid, sub.id, plan=then)
    if then == "quarter":  # 1 January to 1 April has 90 days, of which 17 are left.
        total = 1700
    clock.set(utc(2026, 3, 14))
    billing.renew()
    (told,) = billing.all(
        "select data ->> 'total' as total from events where customer_id = %(c)s"
        " and type = 'subscription.trial_will_end'", c=who.uuid)  # fmt: skip
    assert int(told["total"]) == total
    clock.set(utc(2026, 3, 15))
    billing.renew()
    one = billing.look(sub)
    assert (one.state, one.period_start, one.period_end) == ("active", utc(2026, 3, 15), end)
    assert billing.invoices(sub)[-1] == (1, "paid", total, total)
