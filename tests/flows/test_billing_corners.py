"""Billing at its corners: a rule for each direction, grace, currencies, why of each line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from billing import CARD, DECLINES
from provider_run import There

from paydesk import causes
from paydesk.flows import invoices, promos, subscriptions, tax_rates
from paydesk.flows import subscription_changes as changes
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.rules import invoices as rules
from paydesk.rules.money import JPY, KWD, USD

JUNE = datetime(2025, 6, 1, tzinfo=UTC)


# S1.44 S1.59 I24
@pytest.mark.parametrize(("policy", "moved", "up"), [
    ("seconds", JUNE + timedelta(days=15), [-1000, 2500]),
    ("days", JUNE + timedelta(days=15, hours=18), [-1000, 2500]),
])  # fmt: skip
def test_a_plan_prorates_upgrades_and_leaves_downgrades_alone(billing, clock, policy, moved, up):
    """Each direction by its own rule, both of them at once: the rule of the plan that is left."""
    for key, price in (("pro", "20.00"), ("team", "50.00")):
        billing.plan(key, price=USD(price), upgrade=policy, downgrade="none")
    clock.set(JUNE)
    who = billing.user()
    sub = billing.subscribe(who, "pro")
    clock.set(moved)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team", at="now")
    assert [one.amount.minor for one in seen.lines] == up
    changes.change(billing.env, who.uuid, sub.id, plan="team", at="now", expect=seen)
    assert billing.look(sub).plan_key == "team"
    assert billing.invoices(sub)[-1] == (None, "paid", sum(up), sum(up))
    clock.advance(days=1)
    down = changes.preview(billing.env, who.uuid, sub.id, plan="pro", at="now")
    assert (down.lines, down.credit.minor, down.due_now.minor) == ((), 0, 0)
    changes.change(billing.env, who.uuid, sub.id, plan="pro", at="now", expect=down)
    after = billing.look(sub)
    assert (after.plan_key, after.period_end) == ("pro", sub.period_end)
    assert len(billing.invoices(sub)) == 2
    assert billing.books(who, "balance") == 0
    billing.until(sub.period_end)
    assert billing.invoices(sub)[-1] == (1, "paid", 2000, 2000)


# S1.58 I20
def test_what_is_open_stays_so_for_the_grace_and_not_for_all_of_the_dunning(billing):
    billing.plan(grace_days=2)
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    billing.until(sub.period_end)
    assert billing.look(sub).state == "past_due"
    billing.clock.set(sub.period_end + timedelta(days=2, minutes=-1))
    assert billing.can(who, "tier:pro")
    billing.clock.set(sub.period_end + timedelta(days=2))
    assert not billing.can(who, "tier:pro")
    billing.until(sub.period_end + timedelta(days=4))
    assert billing.look(sub).state == "past_due"
    assert not billing.can(who, "tier:pro")
    billing.card(who, CARD)
    billing.renew()
    after = billing.look(sub)
    assert after.state == "active"
    assert billing.can(who, "tier:pro")
    billing.clock.set(after.period_end + timedelta(days=2, minutes=-1))
    assert billing.can(who, "tier:pro")


# I26 I13
@pytest.mark.parametrize(("price", "minor"), [(JPY("1980"), 1980), (KWD("6.130"), 6130)])
def test_dunning_is_the_same_in_currencies_of_no_and_of_three_decimals(billing, price, minor):
    billing.plan(price=price)
    who = billing.user()
    sub = billing.subscribe(who, currency=price.currency)
    billing.card(who, DECLINES)
    billing.until(sub.period_end + timedelta(days=3, minutes=1))
    assert billing.look(sub).state == "past_due"
    billing.card(who, CARD)
    billing.renew()
    assert billing.look(sub).state == "active"
    rows = billing.all(
        "select asked_minor, captured_minor, currency, state from payments"
        " where customer_id = %(c)s order by created_at, id", c=who.uuid)  # fmt: skip
    assert [tuple(row.values()) for row in rows] == [
        (minor, minor, price.currency, "succeeded"),
        *[(minor, 0, price.currency, "failed")] * 3,
        (minor, minor, price.currency, "succeeded"),
    ]  # fmt: skip
    assert [one[1:] for one in billing.invoices(sub)] == [("paid", minor, minor)] * 2
    days = billing.all(
        "select attempts from invoices where customer_id = %(c)s order by created_at", c=who.uuid)
    assert [row["attempts"] for row in days] == [1, 4]


# S1.16 I26
def test_a_free_first_period_without_a_method_waits_for_one_in_the_next(billing):
    promos.upsert_promo(billing.env, "GIFT", amount_off=USD("20.00"), duration="once")
    billing.plan()
    who = billing.user(card=None)
    sub = billing.subscribe(who, promo="GIFT")
    assert (sub.state, sub.url) == ("active", None)
    billing.until(sub.period_end)
    assert billing.look(sub).state == "past_due"
    bill = invoices.get(billing.env, who.uuid, billing.look(sub).latest_invoice_id)
    assert (bill.due.minor, bill.error_code) == (2000, "payment_method_not_usable")
    assert billing.can(who, "tier:pro"), "the days of grace"
    billing.card(who)
    billing.renew()
    assert billing.look(sub).state == "active"
    assert billing.payments(sub) == ["succeeded"]


# Why -------------------------------------------------------------------------------------------


def reasons(billing, who, invoice_id):
    rows = billing.all(
        "select id, kind from invoice_items where customer_id = %(c)s and invoice_id = %(i)s"
        " order by position", c=who.uuid, i=invoice_id)  # fmt: skip
    return [subscriptions.why(billing.env, who.uuid, row["id"]) for row in rows]


# S1.59 I22
def test_every_line_of_a_taxed_discounted_and_adjusted_invoice_says_why(billing):
    promos.upsert_promo(billing.env, "FIFTH", percent_off=20, duration="forever")
    tax_rates.add(billing.env, "GST", "5")
    billing.plan()
    billing.plan("team", price=USD("50.00"))
    who = billing.user()
    sub = billing.subscribe(who, promo="FIFTH")
    billing.renew(days=10)
    changes.change(billing.env, who.uuid, sub.id, plan="team")
    change = billing.look(sub).latest_invoice_id
    with causes.by("maya", "dashboard"):
        by_hand = invoices.create(billing.env, NewInvoice(
            customer_id=who.uuid, currency="usd", memo="Ticket 81", request_key=uuid4(),
            items=[NewItem(kind="one_off", description="Consulting", amount_minor=4500,
                           quantity=3, unit_minor=1500),
                   NewItem(kind="adjustment", description="Goodwill", amount_minor=-500)],
        )).id  # fmt: skip
    invoices.pay(billing.env, who.uuid, by_hand)
    bills = (sub.latest_invoice_id, change, by_hand)
    found = [one for bill in bills for one in reasons(billing, who, bill)]
    kinds = [one.kind for one in found]
    assert set(kinds) == rules.KINDS
    told = {one.kind: one.inputs for one in found}
    for kind, quantity, unit, amount in (("one_off", 3, 1500, 4500), ("adjustment", 1, None, -500)):
        assert told[kind] == {
            "rule": "by hand", "by": "maya", "via": "dashboard",
            "at": billing.env.now().isoformat(), "quantity": quantity, "unit_minor": unit,
            "amount_minor": amount, "currency": "usd", "reason": "Ticket 81",
            "reference": told[kind]["reference"],
        }  # fmt: skip
        assert UUID(told[kind]["reference"])
    for one in found:
        assert one.inputs, one.kind
        assert one.entries, one.kind
        told = one.explain().splitlines()
        assert len(told) == 1 + len(one.inputs) + len(one.entries)
        if one.kind in ("discount", "proration_credit"):
            assert one.of_item in {other.item_id for other in found}
    for bill in bills:
        view = invoices.get(billing.env, who.uuid, bill)
        assert sum(one.amount.minor for one in reasons(billing, who, bill)) == view.total.minor


# S1.59
def test_every_line_of_what_stripe_runs_says_why(billing):
    there = There(billing)
    there.plan("pro")
    there.plan("team", price=USD("50.00"))
    who = there.user()
    sub = there.begin(who)
    changes.change(billing.env, who.uuid, sub.id, plan="team")
    there.deliver()
    bills = billing.all("select id from invoices where customer_id = %(c)s", c=who.uuid)
    found = [one for bill in bills for one in reasons(billing, who, bill["id"])]
    assert len(bills) >= 2
    assert len(found) >= 3
    for one in found:
        assert one.inputs, one.kind
        assert one.entries, one.kind
        assert one.explain()
