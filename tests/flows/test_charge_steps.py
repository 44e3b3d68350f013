"""Every currency to the digit that cards are charged: parts of periods, codes, taxes, changes."""

from __future__ import annotations

from uuid import uuid4

import pytest
from billing import Billing

from paydesk.flows import credit_notes, invoices, promos, subscription_changes, tax_rates
from paydesk.rules.money import Money
from paydesk.rules.promo import charge_step

#: Of no, two and three digits, and what cards or their banks treat in their own way.
PRICES = [
    ("jpy", "3001", "7111"), ("isk", "3001", "7111"), ("ugx", "30001", "71111"),
    ("usd", "19.99", "47.77"), ("huf", "3999.99", "8999.51"), ("twd", "300.51", "711.13"),
    ("kwd", "6.130", "15.070"), ("bhd", "6.110", "15.090"), ("mga", "30001.00", "71111.00"),
]  # fmt: skip


def whole(billing: Billing, who, currency: str) -> None:
    """All that was asked was charged, in whole steps, and nothing of it is owed."""
    rows = billing.all(
        "select asked_minor, captured_minor, state from payments where customer_id = %(c)s",
        c=who.uuid,
    )
    assert rows
    assert {row["state"] for row in rows} == {"succeeded"}
    for row in rows:
        assert row["asked_minor"] == row["captured_minor"]
        assert row["captured_minor"] % charge_step(currency) == 0
    open_ones = billing.all(
        "select state, error_code from invoices where customer_id = %(c)s"
        " and state not in ('paid', 'void')", c=who.uuid)  # fmt: skip
    assert open_ones == []
    notes = credit_notes.list_(billing.env, who.uuid)
    assert {note.reason for note in notes} <= {"too_small_to_charge"}
    assert all(note.written_off.minor < charge_step(currency) for note in notes)


# I12 I13 I24 S1.59
@pytest.mark.parametrize(("currency", "price", "dearer"), PRICES, ids=lambda one: one)
def test_what_is_left_of_a_price_is_charged_in_whole_steps(billing, currency, price, dearer):
    """A short first period, a code in percent, a tax on top, a dearer plan in the middle of a
    period, one seat more, and the cheaper plan at once."""
    for key, amount in (("old", price), ("new", dearer)):
        billing.plan(key, price=Money(amount, currency), billing="calendar", most_quantity=9,
                     downgrade_when="now")  # fmt: skip
    promos.upsert_promo(billing.env, "THIRD", percent_off=33, duration="repeating",
                        duration_periods=2)  # fmt: skip
    tax_rates.add(billing.env, "VAT", "7.7")
    who = billing.user()
    billing.clock.set(billing.clock.now().replace(day=5, hour=7, minute=11))
    sub = billing.subscribe(who, "old", currency=currency, promo="THIRD")
    assert sub.state == "active"
    billing.until(sub.period_end)
    billing.clock.advance(days=9, hours=3, minutes=7, seconds=13)
    for wanted in ({"plan": "new"}, {"quantity": 3}, {"plan": "old"}):
        seen = subscription_changes.preview(billing.env, who.uuid, sub.id, **wanted)
        subscription_changes.change(billing.env, who.uuid, sub.id, expect=seen, **wanted)
        assert seen.due_now.minor % charge_step(currency) == 0
    after = billing.look(sub)
    assert (after.state, after.plan_key, after.quantity) == ("active", "old", 3)
    for _ in range(3):
        billing.until(billing.look(sub).period_end)
    assert billing.look(sub).state == "active"
    whole(billing, who, currency)


# I12 I13
@pytest.mark.parametrize(("currency", "price"), [(one[0], one[1]) for one in PRICES])
def test_dunning_charges_what_a_balance_leaves_in_whole_steps(billing, currency, price):
    """A balance of one minor unit is used up, and what is then due is charged to its step."""
    billing.plan(price=Money(price, currency))
    who = billing.user()
    sub = billing.subscribe(who, currency=currency)
    invoices.create(billing.env, invoices.NewInvoice(
        customer_id=who.uuid, currency=currency, request_key=uuid4(),
        items=[invoices.NewItem(kind="adjustment", description="Goodwill", amount_minor=-1)],
    ))  # fmt: skip
    billing.until(sub.period_end)
    assert billing.look(sub).state == "active"
    whole(billing, who, currency)
