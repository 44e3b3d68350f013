"""Changes of plan and seats: previewed, paid for, given back; a failed charge changes nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from billing import DECLINES, Billing

from paydesk import crash, ids
from paydesk.crash import CrashNow
from paydesk.errors import Conflict, InvalidRequest, PaymentFailed, PreviewOutdated
from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscriptions
from paydesk.rules.money import EUR, USD

#: A card that asks for its owner at every charge.
ASKS_THE_BANK = "pm_card_authenticationRequired"


def half_way(billing: Billing, **more):
    """A customer in the exact middle of a paid period of `pro`, with `team` for sale."""
    more = {"upgrade": "seconds", "downgrade": "seconds", "most_quantity": 10, **more}
    billing.plan(**more)
    billing.plan("team", price=USD("50.00"), **more)
    who = billing.user()
    sub = billing.subscribe(who)
    half = (sub.period_end - sub.period_start) / 2
    billing.clock.advance(seconds=half.total_seconds())
    return who, sub


# S1.29! S1.44! S1.59
def test_an_upgrade_charges_the_difference_of_what_is_left(billing):
    who, sub = half_way(billing)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    assert [(one.description, one.amount.minor) for one in seen.lines] == [
        ("Unused time on Pro", -1000), ("Remaining time on Team", 2500)]
    assert (seen.due_now.minor, seen.total.minor, seen.when) == (1500, 1500, "now")
    assert billing.look(sub).plan_key == "pro", "nothing changed"
    after = changes.change(billing.env, who.uuid, sub.id, plan="team", expect=seen)
    assert (after.plan_key, after.period_end) == ("team", sub.period_end)
    assert billing.invoices(sub)[-1] == (None, "paid", 1500, 1500)
    assert billing.can(who, "tier:team")
    assert not billing.can(who, "tier:pro")
    assert billing.books(who, "revenue") == 3500
    rows = billing.all("select payment_type from payments where customer_id = %(c)s"
                       " order by created_at, id", c=who.uuid)  # fmt: skip
    assert [row["payment_type"] for row in rows] == ["subscription", "upgrade"]
    billing.until(sub.period_end + timedelta(hours=1))
    assert billing.invoices(sub)[-1] == (1, "paid", 5000, 5000)


# S1.44
def test_a_change_refuses_where_the_preview_no_longer_holds(billing):
    who, sub = half_way(billing)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    billing.clock.advance(minutes=10)
    billing.plan("team", price=USD("60.00"), most_quantity=10)
    with pytest.raises(PreviewOutdated) as refused:
        changes.change(billing.env, who.uuid, sub.id, plan="team", expect=seen.token)
    assert refused.value.code == "preview_outdated"
    again = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    billing.clock.advance(minutes=59)
    done = changes.change(billing.env, who.uuid, sub.id, plan="team", expect=again)
    assert billing.invoices(done)[-1][2] == again.due_now.minor
    old = changes.preview(billing.env, who.uuid, sub.id, quantity=2)
    billing.clock.advance(minutes=61)
    with pytest.raises(PreviewOutdated):
        changes.change(billing.env, who.uuid, sub.id, quantity=2, expect=old)


# S1.29
def test_where_the_charge_fails_nothing_changes_and_nothing_is_owed(billing):
    who, sub = half_way(billing)
    billing.card(who, DECLINES)
    with pytest.raises(PaymentFailed):
        changes.change(billing.env, who.uuid, sub.id, plan="team")
    after = billing.look(sub)
    assert (after.plan_key, after.state, after.next) == ("pro", "active", None)
    assert billing.invoices(sub)[-1][:2] == (None, "void")
    assert not billing.can(who, "tier:team")


# S1.29 I24
def test_a_change_and_the_change_back_come_to_nothing(billing):
    who, sub = half_way(billing)
    changes.change(billing.env, who.uuid, sub.id, plan="team", at="now")
    changes.change(billing.env, who.uuid, sub.id, plan="pro", at="now")
    totals = [one[2] for one in billing.invoices(sub)]
    assert totals == [2000, 1500, -1500]
    assert billing.books(who, "balance") == 1500
    assert billing.look(sub).plan_key == "pro"
    billing.until(sub.period_end + timedelta(hours=1))
    assert billing.invoices(sub)[-1] == (1, "paid", 2000, 500), "the balance pays first"
    assert billing.books(who, "balance") == 0


# S1.29
def test_a_downgrade_waits_for_the_period_s_end_and_may_be_taken_back(billing):
    who, sub = half_way(billing)
    changes.change(billing.env, who.uuid, sub.id, plan="team")
    waiting = changes.change(billing.env, who.uuid, sub.id, plan="pro")
    assert (waiting.plan_key, waiting.next["plan"]) == ("team", "pro")
    assert changes.change(billing.env, who.uuid, sub.id, plan="team").next is None
    changes.change(billing.env, who.uuid, sub.id, plan="pro")
    billing.until(sub.period_end + timedelta(hours=1))
    after = billing.look(sub)
    assert (after.plan_key, after.next) == ("pro", None)
    assert billing.invoices(sub)[-1] == (1, "paid", 2000, 2000)
    assert billing.can(who, "tier:pro")
    assert not billing.can(who, "tier:team")


def test_seats_are_charged_for_what_is_left(billing):
    who, sub = half_way(billing, most_quantity=10)
    seen = changes.preview(billing.env, who.uuid, sub.id, quantity=3)
    assert [one.amount.minor for one in seen.lines] == [-1000, 3000]
    after = changes.change(billing.env, who.uuid, sub.id, quantity=3, expect=seen)
    assert (after.quantity, after.amount.minor) == (3, 6000)
    with pytest.raises(InvalidRequest):
        changes.change(billing.env, who.uuid, sub.id, quantity=3)
    with pytest.raises(InvalidRequest):
        changes.change(billing.env, who.uuid, sub.id, quantity=11)


def test_another_interval_begins_a_new_cycle(billing):
    who, sub = half_way(billing)
    billing.plan("yearly", price=USD("200.00"), interval="year")
    after = changes.change(billing.env, who.uuid, sub.id, plan="yearly", at="now")
    assert after.period_start == billing.env.now()
    assert (after.period_end - after.period_start).days in (365, 366)
    assert billing.invoices(sub)[-1][1:3] == ("paid", 19000)
    billing.until(after.period_end + timedelta(hours=1), timedelta(days=20))
    assert [one[2] for one in billing.invoices(sub)] == [2000, 19000, 20000]


# S1.59!
@pytest.mark.parametrize(("policy", "due"), [("none", 0), ("full", 3000), ("seconds", 1500)])
def test_the_plan_says_how_the_rest_of_a_period_counts(billing, policy, due):
    who, sub = half_way(billing, upgrade=policy)
    assert changes.preview(billing.env, who.uuid, sub.id, plan="team").due_now.minor == due
    after = changes.change(billing.env, who.uuid, sub.id, plan="team")
    assert after.plan_key == "team"
    assert sum(one[2] for one in billing.invoices(sub)) == 2000 + due


def test_a_discount_is_carried_to_the_new_charge(billing, make):
    billing.plan()
    billing.plan("team", price=USD("50.00"))
    make.promo("HALF", percent_off=50, duration="forever")
    who = billing.user()
    sub = billing.subscribe(who, promo="HALF")
    half = (sub.period_end - sub.period_start) / 2
    billing.clock.advance(seconds=half.total_seconds())
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    assert [(one.kind, one.amount.minor) for one in seen.lines] == [
        ("proration_credit", -500), ("proration_charge", 2500), ("discount", -1250)]
    changes.change(billing.env, who.uuid, sub.id, plan="team", expect=seen)
    back = changes.preview(billing.env, who.uuid, sub.id, plan="pro", at="now")
    assert back.credit.minor == 750


def test_credits_follow_the_change_by_what_is_left_and_unspent(billing, env):
    from paydesk.flows import credits

    who, sub = half_way(billing, credits=100)
    verdict = credits.spend_now(env, credits.new_spend(who.uuid, 80, reason="work"))
    assert verdict.status == "done"
    seen = changes.preview(env, who.uuid, sub.id, plan="team")
    assert [one.amount.minor for one in seen.lines] == [-400, 2500]
    assert (seen.credits_back, seen.credits_given) == (20, 50)
    changes.change(env, who.uuid, sub.id, plan="team", expect=seen)
    assert billing.balance(who) == 50
    assert billing.books(who, "revenue") == 4100


def waiting_change(billing, env, price=USD("20.00")):
    """A change to `team` whose payment waits for the bank; 40 of 100 credits are unspent."""
    from paydesk.flows import credits

    billing.plan("team", price=USD("50.00"), credits=100, most_quantity=10)
    billing.plan(price=price, credits=100, upgrade="seconds", most_quantity=10)
    who = billing.user()
    sub = billing.subscribe(who)
    half = (sub.period_end - sub.period_start) / 2
    billing.clock.advance(seconds=half.total_seconds())
    assert credits.spend_now(env, credits.new_spend(who.uuid, 60)).status == "done"
    billing.card(who, ASKS_THE_BANK)
    changes.change(env, who.uuid, sub.id, plan="team")
    return who, sub


def test_credits_that_money_is_given_back_for_are_not_spent_while_the_bank_is_asked(billing, env):
    from paydesk.flows import credits

    who, sub = waiting_change(billing, env)
    after = billing.look(sub)
    assert (after.plan_key, after.next["plan"]) == ("pro", "team")
    assert billing.balance(who) == 0, "40 of 100 are given back for: 40 % of the price"
    assert credits.spend_now(env, credits.new_spend(who.uuid, 1)).status == "insufficient"


@pytest.mark.parametrize("price", [USD("20.00"), USD("0.00")])
@pytest.mark.parametrize("way", ["fails", "cancel"])
def test_credits_taken_for_a_change_come_back_where_it_comes_to_nothing(billing, env, way, price):
    who, sub = waiting_change(billing, env, price)
    assert billing.balance(who) == 0
    if way == "cancel":
        changes.cancel(env, who.uuid, sub.id, at="now")
    else:
        billing.clock.advance(hours=2)
        billing.recover(rounds=3)
        assert billing.look(sub).plan_key == "pro"
        assert billing.look(sub).next is None
    assert billing.balance(who) == 40
    rows = billing.all("select kind, remaining from batches where customer_id = %(c)s and open",
                       c=who.uuid)  # fmt: skip
    assert rows == [{"kind": "membership", "remaining": 40}], "the very batch"


def test_in_a_trial_the_plan_changes_without_a_charge(billing):
    billing.plan(trial_days=14)
    billing.plan("team", price=USD("50.00"))
    who = billing.user()
    sub = billing.subscribe(who)
    after = changes.change(billing.env, who.uuid, sub.id, plan="team")
    assert (after.plan_key, after.state, after.trial_end) == ("team", "trialing", sub.trial_end)
    assert billing.can(who, "tier:team")
    billing.until(sub.trial_end)
    assert billing.invoices(sub) == [(1, "paid", 5000, 5000)]


def test_who_subscribed_keeps_a_price_until_moved(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    billing.plan(price=USD("30.00"))
    billing.until(sub.period_end + timedelta(hours=1))
    assert billing.invoices(sub)[-1][2] == 2000
    changes.change(billing.env, who.uuid, sub.id, plan="pro", at="period_end")
    billing.until(billing.look(sub).period_end + timedelta(hours=1))
    assert billing.invoices(sub)[-1][2] == 3000


def test_another_family_or_currency_and_what_is_owed_are_refused(billing):
    who, sub = half_way(billing)
    billing.plan("storage", family="storage")
    billing.plan("euro", price=EUR("10.00"))
    for plan in ("storage", "euro"):
        with pytest.raises(InvalidRequest):
            changes.change(billing.env, who.uuid, sub.id, plan=plan)
    billing.card(who, DECLINES)
    billing.until(sub.period_end)
    with pytest.raises(Conflict):
        changes.change(billing.env, who.uuid, sub.id, plan="team")


# S1.44
def test_every_line_says_why(billing):
    who, sub = half_way(billing)
    changes.change(billing.env, who.uuid, sub.id, plan="team")
    rows = billing.all(
        "select id, kind from invoice_items where customer_id = %(c)s order by created_at,"
        " position", c=who.uuid)  # fmt: skip
    found = {row["kind"]: subscriptions.why(billing.env, who.uuid, row["id"]) for row in rows}
    assert found.keys() == {"recurring", "proration_credit", "proration_charge"}
    credit = found["proration_credit"]
    assert (credit.inputs["policy"], credit.inputs["paid_minor"]) == ("seconds", 2000)
    assert credit.of_item == found["recurring"].item_id
    assert any(one["credit"] == "revenue" and one["amount"] == 1500 for one in credit.entries)
    assert "Unused time on Pro" in credit.explain()


# I27
def test_the_same_key_changes_once(billing):
    who, sub = half_way(billing, most_quantity=9)
    key = ids.request_key("app", "change")
    for _ in range(2):
        after = changes.change(billing.env, who.uuid, sub.id, quantity=2, request_key=key)
    assert (after.quantity, len(billing.invoices(sub))) == (2, 2)


@pytest.mark.parametrize("point", ["change_before_commit", "change_after_commit",
                                   "after_provider_call", "fulfil_after_goods"])
def test_a_death_in_the_middle_of_a_change_charges_once(billing, point):
    who, sub = half_way(billing)
    key = ids.request_key("app", "change")
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    crash.arm(point)
    with pytest.raises(CrashNow):
        changes.change(billing.env, who.uuid, sub.id, plan="team", request_key=key, expect=seen)
    billing.recover(rounds=3)
    changes.change(billing.env, who.uuid, sub.id, plan="team", request_key=key, expect=seen)
    assert billing.look(sub).plan_key == "team"
    assert [one[1:3] for one in billing.invoices(sub)] == [("paid", 2000), ("paid", 1500)]
