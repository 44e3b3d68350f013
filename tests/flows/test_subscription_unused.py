"""What is unused when a subscription is canceled at once: all of it comes back, and only once."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from billing import Billing

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.flows import credit_notes, credits, invoices, subscription_changes, tax_rates
from paydesk.rules.money import USD, Money


def half_of(billing: Billing, sub) -> None:
    """Time passes to the middle of the running period."""
    half = (sub.period_end - sub.period_start) / 2
    billing.clock.set(sub.period_start + half)


def give_up(billing: Billing, who, sub):
    return subscription_changes.cancel(billing.env, who.uuid, sub.id, at="now", refund="unused")


def back(billing: Billing, who) -> list[tuple[int, str]]:
    rows = billing.all("select amount_minor, state from refunds where customer_id = %(c)s"
                       " order by created_at, amount_minor desc", c=who.uuid)  # fmt: skip
    return [tuple(row.values()) for row in rows]


# S1.28 I13
def test_the_taxes_of_the_rest_come_back_with_it_and_a_note_says_so(billing):
    billing.plan()
    tax_rates.add(billing.env, "GST", "5")
    tax_rates.add(billing.env, "QST", "9.975")
    who = billing.user()
    sub = billing.subscribe(who)
    assert billing.invoices(sub) == [(0, "paid", 2300, 2300)]
    half_of(billing, sub)
    give_up(billing, who, sub)
    assert back(billing, who) == [(1150, "succeeded")]
    note = credit_notes.list_(billing.env, who.uuid)[0]
    assert (note.amount.minor, note.refunded.minor, note.tax.minor) == (1150, 1150, 150)
    assert (billing.books(who, "revenue"), billing.books(who, "tax")) == (1000, 150)


# S1.28
def test_taxes_that_the_price_includes_are_not_added(billing):
    billing.plan()
    tax_rates.add(billing.env, "VAT", "20", inclusive=True)
    who = billing.user()
    sub = billing.subscribe(who)
    half_of(billing, sub)
    give_up(billing, who, sub)
    assert back(billing, who) == [(1000, "succeeded")]


# S1.28 I24
def test_after_a_change_the_rest_comes_back_from_every_payment_of_the_period(billing):
    billing.plan()
    billing.plan("team", price=USD("50.00"))
    who = billing.user()
    sub = billing.subscribe(who)
    half_of(billing, sub)
    subscription_changes.change(billing.env, who.uuid, sub.id, plan="team")
    give_up(billing, who, sub)
    # Half of 50.00 is unused: 15.00 were paid for the change, and 20.00 before it.
    assert sorted(back(billing, who)) == [(1000, "succeeded"), (1500, "succeeded")]
    assert billing.books(who, "revenue") == 1000


# S1.28 S4.25
def test_credits_go_back_with_the_rest_and_are_never_owed_for_it(billing):
    billing.plan(credits=100)
    billing.plan("team", price=USD("50.00"), credits=300)
    who = billing.user()
    sub = billing.subscribe(who)
    credits.spend_now(billing.env, credits.new_spend(who.uuid, 30, reason="work"))
    half_of(billing, sub)
    subscription_changes.change(billing.env, who.uuid, sub.id, plan="team")
    assert billing.balance(who) == 20 + 150
    give_up(billing, who, sub)
    assert sum(amount for amount, _ in back(billing, who)) == 2500
    assert 0 <= billing.balance(who) <= 20
    assert billing.books(who, "revenue") == 1000
    owed = billing.all("select coalesce(sum(owed), 0)::int as n from batches"
                       " where customer_id = %(c)s", c=who.uuid)  # fmt: skip
    assert owed == [{"n": 0}]


# S1.28
def test_what_the_balance_had_paid_goes_back_to_it(billing):
    billing.plan()
    who = billing.user()
    first = invoices.create(billing.env, invoices.NewInvoice(
        customer_id=who.uuid, currency="usd", request_key=uuid4(),
        items=[invoices.NewItem(kind="adjustment", description="Goodwill", amount_minor=-1500)],
    ))  # fmt: skip
    assert first.status == "paid"
    sub = billing.subscribe(who)
    assert billing.invoices(sub) == [(0, "paid", 2000, 500)]
    half_of(billing, sub)
    give_up(billing, who, sub)
    assert back(billing, who) == [(500, "succeeded")]
    assert billing.books(who, "balance") == 500


# S1.28 I6
@pytest.mark.parametrize("point", ["refund_before_commit", "refund_after_commit",
                                   "before_provider_call", "after_provider_call"])
def test_a_death_while_it_is_given_up_gives_the_rest_back_once(billing, point):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    half_of(billing, sub)
    crash.arm(point)
    with pytest.raises(CrashNow):
        give_up(billing, who, sub)
    billing.recover(rounds=3)
    give_up(billing, who, sub)
    assert billing.look(sub).state == "canceled"
    assert len(back(billing, who)) == 1
    amount, state = back(billing, who)[0]
    assert state == "succeeded"
    assert 990 <= amount <= 1000, "a few minutes later at most"


# I13 S1.59
def test_a_currency_that_cards_charge_in_steps_loses_the_last_digit_and_no_plan(billing):
    """Cards charge Kuwaiti dinars in hundredths; taxes and parts of periods have thousandths."""
    for key, price in (("pro", "6.130"), ("team", "15.070")):
        billing.plan(key, price=Money(price, "kwd"))
    tax_rates.add(billing.env, "VAT", "5")
    who = billing.user()
    sub = billing.subscribe(who, currency="kwd")
    # 6.130 and 0.3065 of tax, half up.
    assert billing.invoices(sub) == [(0, "paid", 6437, 6430)]
    billing.clock.advance(days=10, hours=3, minutes=7)
    seen = subscription_changes.preview(billing.env, who.uuid, sub.id, plan="team")
    assert seen.due_now.minor == seen.total.minor - seen.total.minor % 10
    after = subscription_changes.change(billing.env, who.uuid, sub.id, plan="team", expect=seen)
    assert after.plan_key == "team"
    billing.until(sub.period_end)
    assert billing.look(sub).state == "active"
    assert billing.invoices(sub)[-1] == (1, "paid", 15824, 15820)
    notes = credit_notes.list_(billing.env, who.uuid)
    assert {note.reason for note in notes} == {"too_small_to_charge"}
    assert sorted(note.written_off.minor for note in notes)[-1] < 10


# S1.59
def test_a_short_first_period_that_costs_some_cents_is_free(billing):
    billing.plan(billing="calendar")
    who = billing.user()
    billing.clock.set(datetime(2027, 5, 31, 21, tzinfo=UTC))
    sub = billing.subscribe(who)
    # Three of 744 hours cost eight cents.
    assert (sub.state, billing.invoices(sub)) == ("active", [(0, "paid", 8, 0)])
    assert billing.payments(sub) == []
    billing.until(sub.period_end)
    assert billing.invoices(sub)[1:] == [(1, "paid", 2000, 2000)]


def goodwill(billing: Billing, who, minor: int) -> None:
    """So much stands on the customer's balance."""
    invoices.create(billing.env, invoices.NewInvoice(
        customer_id=who.uuid, currency="usd", request_key=uuid4(),
        items=[invoices.NewItem(kind="adjustment", description="Goodwill", amount_minor=-minor)],
    ))  # fmt: skip


# S1.28 S4.25
def test_credits_that_the_balance_paid_go_back_with_its_money(billing):
    billing.plan(credits=100)
    who = billing.user()
    goodwill(billing, who, 2000)
    sub = billing.subscribe(who)
    assert (billing.invoices(sub), billing.balance(who)) == ([(0, "paid", 2000, 0)], 100)
    credits.spend_now(billing.env, credits.new_spend(who.uuid, 20, reason="work"))
    half_of(billing, sub)
    give_up(billing, who, sub)
    assert (billing.books(who, "balance"), billing.balance(who)) == (1000, 30)
    give_up(billing, who, sub)
    assert (billing.books(who, "balance"), billing.balance(who)) == (1000, 30)


# S1.28 S4.25
@pytest.mark.parametrize("policy", ["debt", "block"])
def test_of_what_balance_and_card_paid_no_more_credits_go_back_than_are_unused(billing, policy):
    from dataclasses import replace

    billing.plan(credits=100)
    who = billing.user()
    goodwill(billing, who, 1500)
    sub = billing.subscribe(who)
    assert billing.invoices(sub) == [(0, "paid", 2000, 500)]
    credits.spend_now(billing.env, credits.new_spend(who.uuid, 50, reason="work"))
    half_of(billing, sub)
    strict = replace(billing.env, settings=replace(billing.env.settings, clawback_policy=policy))
    subscription_changes.cancel(strict, who.uuid, sub.id, at="now", refund="unused")
    assert back(billing, who) == [(500, "succeeded")]
    assert (billing.books(who, "balance"), billing.balance(who)) == (500, 0)
    owed = billing.all("select coalesce(sum(owed), 0)::int as n from batches"
                       " where customer_id = %(c)s", c=who.uuid)  # fmt: skip
    assert owed == [{"n": 0}]


# S1.28 I32
def test_who_gave_it_up_does_not_approve_the_refund_by_another_name(billing):
    from dataclasses import replace
    from decimal import Decimal

    from paydesk.errors import ApprovalRequired
    from paydesk.flows import refunds

    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    half_of(billing, sub)
    settings = replace(billing.env.settings, refund_approval_threshold=Decimal("5"))
    strict = replace(billing.env, settings=settings)
    subscription_changes.cancel(strict, who.uuid, sub.id, at="now", refund="unused", by="key:1",
                                persons=["eve@example.com"])  # fmt: skip
    assert back(billing, who) == [(1000, "requested")]
    (asked,) = refunds.list_(strict, who.uuid)
    with pytest.raises(ApprovalRequired):
        refunds.decide(strict, who.uuid, asked.id, "approve", by="user:eve",
                       persons=["eve@example.com"])  # fmt: skip
    refunds.decide(strict, who.uuid, asked.id, "approve", by="user:max",
                   persons=["max@example.com"])  # fmt: skip
    assert back(billing, who) == [(1000, "succeeded")]


# S1.28 I13
@pytest.mark.parametrize("part", [500, 1150])
def test_a_partial_refund_before_counts_without_its_taxes(billing, part):
    from paydesk.flows import refunds
    from paydesk.flows.refunds import WantRefund

    billing.plan()
    tax_rates.add(billing.env, "GST", "15")
    who = billing.user()
    sub = billing.subscribe(who)
    (bill,) = invoices.list_(billing.env, who.uuid)
    key = uuid4()
    refunds.request(billing.env, WantRefund(
        customer_id=who.uuid, payment_id=bill.payment_id, by="desk", request_key=key,
        request_hash=key.bytes, amount=USD(str(part / 100)),
    ))  # fmt: skip
    give_up(billing, who, sub)
    # At once: all that was not given back before is unused, to the cent.
    assert sum(amount for amount, _ in back(billing, who)) == pytest.approx(2300, abs=1)
