"""Credits of a membership whose month was given or paid for late."""

from __future__ import annotations

import pytest
from billing import DECLINES, Billing

RULES = [("none", None, 100), ("all", None, 300), ("capped", 250, 250)]


@pytest.mark.parametrize(("rule", "cap", "left"), RULES)
def test_months_that_were_missed_give_what_rolls_over(billing: Billing, rule, cap, left):
    """Nobody worked for two months: each is billed, and what a month gives that ends with it is
    over, what rolls over is there."""  # I23 I16
    billing.plan(credits=100, credits_rollover=rule, credits_cap=cap)
    who = billing.user()
    sub = billing.subscribe(who)
    billing.clock.advance(days=63)
    for _ in range(4):
        billing.renew()
    assert [row[:2] for row in billing.invoices(sub)] == [(0, "paid"), (1, "paid"), (2, "paid")]
    assert billing.balance(who) == left


@pytest.mark.parametrize(("rule", "cap", "left"), RULES)
def test_months_of_a_year_that_were_missed_give_what_rolls_over(
    billing: Billing, rule, cap, left
):  # S4.25 S4.26
    billing.plan(credits=100, credits_rollover=rule, credits_cap=cap, interval="year")
    who = billing.user()
    billing.subscribe(who)
    billing.clock.advance(days=63)
    for _ in range(4):
        billing.renew()
    assert billing.balance(who) == left


@pytest.mark.parametrize(("rule", "left"), [("none", 10), ("all", 30)])
def test_a_period_that_is_paid_after_the_next_began_gives_what_rolls_over(
    billing: Billing, rule, left
):
    """By the day, the try of a failed charge comes after the next day has begun."""  # I26
    billing.plan(credits=10, credits_rollover=rule, interval="day",
                 dunning={"days": [5], "final": "cancel"})
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    for _ in range(2):
        billing.renew(days=1)
    assert [row[1] for row in billing.invoices(sub)] == ["paid", "open", "open"]
    billing.card(who)
    billing.renew()
    assert [row[1] for row in billing.invoices(sub)] == ["paid", "paid", "paid"]
    assert (billing.balance(who), billing.look(sub).state) == (left, "active")
