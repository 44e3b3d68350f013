"""A year that is given up: its money goes back with what is unused of its credits, no more."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from billing import Billing

from paydesk.flows import credits, refunds, subscription_changes
from paydesk.rules.money import USD


def year(billing: Billing, policy: str = "debt", **more):
    """A year at 120 USD with 100 credits a month."""
    settings = replace(billing.env.settings, clawback_policy=policy)
    billing.env = replace(billing.env, settings=settings)
    billing.plan(price=USD("120.00"), interval="year", credits=100, **more)
    who = billing.user()
    return who, billing.subscribe(who)


def months(billing: Billing, who, sub, count: int, each: int) -> None:
    """So many months pass, in each of which so many credits are spent."""
    for _ in range(count):
        if each:
            credits.spend_now(billing.env, credits.new_spend(who.uuid, each, reason="work"))
        billing.until(billing.look(sub).due_at)


def give_up(billing: Billing, who, sub) -> int:
    """What came back, in minor units."""
    subscription_changes.cancel(billing.env, who.uuid, sub.id, at="now", refund="unused")
    return sum(one.amount.minor for one in refunds.list_(billing.env, who.uuid))


def clawed(billing: Billing, who) -> tuple[int, int]:
    """(taken, owed or forgiven) credits of everything that went back."""
    row = billing.all("select coalesce(sum(taken), 0)::int as taken,"
                      " coalesce(sum(owed + forgiven), 0)::int as missing from clawbacks"
                      " where customer_id = %(c)s and goods = 'credits'"
                      " and reversed_at is null", c=who.uuid)[0]  # fmt: skip
    return row["taken"], row["missing"]


# S1.28 S4.25 I6
@pytest.mark.parametrize("policy", ["debt", "clamp", "block"])
@pytest.mark.parametrize(("rollover", "each"), [
    ("none", 100), ("all", 100), ("none", 0), ("all", 0), ("all", 40),
])  # fmt: skip
def test_no_credits_of_months_gone_by_are_asked_for_the_months_to_come(
    billing, policy, rollover, each
):
    """Of 1,200 credits seven months were given. Of the lesser of the two parts, the time that is
    left and the credits that are, those that were never given go back first."""
    who, sub = year(billing, policy, credits_rollover=rollover)
    months(billing, who, sub, 6, each)
    before, left = billing.balance(who), sub.period_end - billing.env.now()
    whole = int((sub.period_end - sub.period_start).total_seconds())
    money = give_up(billing, who, sub)
    if before == 100:  # Six hundred of them, the later ones and this month's: a half.
        assert (money, clawed(billing, who)) == (6000, (100, 0))
    else:
        part = int(left.total_seconds())
        assert money == 12000 * part // whole
        assert clawed(billing, who) == (-(-1200 * part // whole) - 500, 0)
    assert billing.balance(who) == before - clawed(billing, who)[0] >= 0
    assert billing.look(sub).state == "canceled"


# S1.28 S4.25
def test_after_a_change_in_the_year_only_what_is_unused_is_asked_of_either_payment(billing):
    who, sub = year(billing)
    billing.plan("team", price=USD("240.00"), interval="year", credits=200)
    months(billing, who, sub, 3, 100)
    subscription_changes.change(billing.env, who.uuid, sub.id, plan="team")
    months(billing, who, sub, 1, billing.balance(who))
    before = billing.balance(who)
    money = give_up(billing, who, sub)
    assert 15000 < money < 17000, "eight months of twelve, at 240 USD"
    assert clawed(billing, who)[1] == 0
    assert 0 <= billing.balance(who) < before
    owed = billing.all("select coalesce(sum(owed), 0)::int as n from batches"
                       " where customer_id = %(c)s", c=who.uuid)  # fmt: skip
    assert owed == [{"n": 0}]


# S1.28 I6
def test_a_refund_of_the_rest_that_fails_gives_its_credits_back(billing):
    who, sub = year(billing, credits_rollover="all")
    months(billing, who, sub, 6, 40)
    before = billing.balance(who)
    give_up(billing, who, sub)
    taken = clawed(billing, who)[0]
    assert taken > 0
    refund = refunds.list_(billing.env, who.uuid)[0]
    billing.sim.finish_refund(refund.provider_ref, "failed")
    refunds.refresh(billing.env, who.uuid, refund.id, "poll")
    assert refunds.list_(billing.env, who.uuid)[0].state == "failed"
    assert clawed(billing, who) == (0, 0)
    assert billing.balance(who) == before
    # All of it goes back by hand then: the credits of every month are asked.
    refunds.request(billing.env, refunds.WantRefund(
        customer_id=who.uuid, payment_id=refund.payment_id, by="ann", force=True,
        request_key=uuid4(), request_hash=b"all",
    ))  # fmt: skip
    assert clawed(billing, who) == (before, 700 - before)
