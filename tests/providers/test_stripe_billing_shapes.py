"""Stripe's invoices in shapes that its simulator does not send: old ones, and rarer ones."""

from __future__ import annotations

from typing import Any

import pytest

from paydesk.providers.stripe_billing_shapes import of_invoice, told

BEGAN, ENDS = 1_772_366_400, 1_775_044_800


def line(amount: int, *off: int) -> dict[str, Any]:
    return {
        "id": f"il_{amount}", "object": "line_item", "amount": amount, "currency": "eur",
        "description": "Seats", "quantity": 3, "period": {"start": BEGAN, "end": ENDS},
        "discount_amounts": [{"amount": one, "discount": f"di_{one}"} for one in off],
    }  # fmt: skip


def invoice(**more: Any) -> dict[str, Any]:
    return {
        "id": "in_1", "object": "invoice", "customer": "cus_1", "currency": "eur",
        "status": "paid", "billing_reason": "subscription_cycle", "created": BEGAN,
        "number": "A-0001", "amount_due": 4200, "amount_paid": 4200, "subtotal": 4200,
        "total": 4200, "lines": {"object": "list", "data": [line(3000), line(1200)]}, **more,
    }  # fmt: skip


@pytest.mark.parametrize("taxes", [
    {"total_tax_amounts": [{"amount": 702, "inclusive": False, "tax_rate": "txr_1"}]},
    {"total_taxes": [{"amount": 702, "tax_behavior": "exclusive",
                      "tax_rate_details": {"tax_rate": "txr_1"}}]},
])  # fmt: skip
def test_what_a_single_line_is_discounted_by_is_taken_off_once(taxes):
    # S1.50: Stripe's subtotal is after a line's own discount, its sum of discounts has that too.
    found = of_invoice(invoice(
        subtotal=3900, total=4212, amount_due=4212, amount_paid=4212, **taxes,
        total_discount_amounts=[{"amount": 390, "discount": "di_390"},
                                {"amount": 300, "discount": "di_300"}],
        lines={"data": [line(3000, 300), line(1200, 300, 90)]},
    ))  # fmt: skip
    assert (found.subtotal, found.discount, found.tax, found.total) == (4200, 690, 702, 4212)
    assert found.subtotal == sum(one.amount_minor for one in found.lines)
    assert found.discount == sum(one.discount_minor for one in found.lines)


def test_without_discounts_the_subtotal_is_stripes_own():
    # What else a total has, such as shipping, is none of it.
    found = of_invoice(invoice(total=4700, amount_due=4700, total_discount_amounts=[]))
    assert (found.subtotal, found.discount, found.total) == (4200, 0, 4700)


def test_before_2019_an_invoice_said_its_date():
    # C26: `date` where newer versions say `created`
    old = invoice(date=BEGAN)
    del old["created"]
    assert of_invoice(old) == of_invoice(invoice())
    assert of_invoice(old).created_at.timestamp() == BEGAN


def pays(type: str, status: str) -> dict[str, Any]:
    return {"id": f"inpay_{type}", "object": "invoice_payment", "status": status,
            "payment": {"type": type, type: f"{type}_1"}}  # fmt: skip


@pytest.mark.parametrize(("payments", "is_outside"), [
    ([pays("payment_intent", "canceled"), pays("payment_record", "paid")], True),
    ([pays("payment_intent", "paid"), pays("payment_record", "canceled")], False),
    ([pays("payment_intent", "paid"), pays("payment_record", "paid")], False),
    ([pays("charge", "paid")], False),
    ([], False),
])  # fmt: skip
def test_what_was_paid_elsewhere_is_known_by_the_record_of_it(payments, is_outside):
    # S1.17: money that never was at Stripe is no charge of Stripe's.
    found = of_invoice(invoice(payments={"object": "list", "data": payments}))
    assert found.is_outside is is_outside


def test_each_payment_of_an_invoice_says_what_it_asks_for_and_what_it_brought():
    # S1.17: intents, a charge without one, and what was paid elsewhere; what was canceled is gone
    listed = [
        pays("payment_intent", "open") | {"amount_requested": 700},
        pays("charge", "paid") | {"amount_requested": 500, "amount_paid": 400},
        pays("payment_record", "paid") | {"amount_requested": 3000, "amount_paid": 3000},
        pays("payment_intent", "canceled") | {"amount_requested": 1},
    ]
    found = of_invoice(invoice(status="open", payments={"data": listed}))
    assert [(one.ref, one.asked, one.paid, one.is_charge) for one in found.payments] == [
        ("charge_1", 500, 400, True), (None, 3000, 3000, True),
        ("payment_intent_1", 700, 0, False),
    ]  # fmt: skip
    assert (found.is_listed, found.is_outside, len(found.parts)) == (True, False, 2)


def test_before_2025_an_invoice_had_one_payment_and_said_where_it_was_paid():
    # C26: `payment_intent` and `paid_out_of_band` on the invoice itself
    (one,) = of_invoice(invoice(payment_intent="pi_1")).payments
    assert (one.ref, one.asked, one.paid) == ("pi_1", 4200, 4200)
    outside = of_invoice(invoice(payment_intent="pi_1", paid_out_of_band=True))
    assert (outside.payments, outside.is_outside, outside.is_listed) == ((), True, False)


def test_what_has_no_lines_or_is_no_invoice_yet_is_not_understood():
    # What it stands for is asked for then.
    for broken in (invoice(lines={}), {k: v for k, v in invoice().items() if k != "id"}):
        with pytest.raises(KeyError):
            of_invoice(broken)
    assert told('{"created": 1, "data": {"object": {"object": "invoice"}}}') is None
