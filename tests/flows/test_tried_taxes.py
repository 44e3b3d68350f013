"""Taxes of what a change credits: those that were paid, whatever holds on the day of the change."""

from __future__ import annotations

import pytest

from paydesk.flows import customers, invoices, tax_rates
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import USD


def lines(seen) -> list[tuple[str, int]]:
    return [(one.kind, one.amount.minor) for one in seen.lines]


def bill(billing, sub):
    return invoices.get(billing.env, sub.customer_id, billing.look(sub).latest_invoice_id)


# S1.29 S1.44 I13 I24
@pytest.mark.parametrize("inclusive", [False, True])
def test_plans_that_are_taxed_otherwise_change_and_change_back_for_nothing(billing, inclusive):
    for product, percent, price in (("saas", "20", "20.00"), ("books", "5", "50.00")):
        tax_rates.add(billing.env, "VAT", percent, product=product, inclusive=inclusive)
        billing.plan(product, price=USD(price), product=product, downgrade_when="now")
    who = billing.user()
    sub = billing.subscribe(who, "saas")
    bills = [bill(billing, sub)]
    for plan in ("books", "saas"):
        seen = changes.preview(billing.env, who.uuid, sub.id, plan=plan)
        changes.change(billing.env, who.uuid, sub.id, plan=plan, expect=seen)
        bills.append(bill(billing, sub))
        assert bills[-1].total == seen.total
    first, there, back = bills
    assert first.total.minor == (2000 if inclusive else 2400)
    assert there.total.minor == (3000 if inclusive else 5250 - 2400)
    assert (there.total.minor + back.total.minor, there.tax.minor + back.tax.minor) == (0, 0)


# S1.44 I13 I24
@pytest.mark.parametrize(("before", "after", "total"), [
    ("19", "7", 5000 + 350 - 2000 - 380), ("0", "19", 5950 - 2000), ("19", "0", 5000 - 2380),
])  # fmt: skip
def test_a_credit_has_the_taxes_that_its_charge_had(billing, before, after, total):
    billing.plan("pro", price=USD("20.00"))
    billing.plan("team", price=USD("50.00"))
    who = billing.user()
    for country, percent in (("DE", before), ("CH", after)):
        if percent != "0":
            tax_rates.add(billing.env, "VAT", percent, country=country)
    customers.update(billing.env, who.uuid, metadata={"country": "DE"})
    sub = billing.subscribe(who)
    customers.update(billing.env, who.uuid, metadata={"country": "CH"})
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    assert seen.total.minor == total
    changes.change(billing.env, who.uuid, sub.id, plan="team", expect=seen)
    one = bill(billing, sub)
    assert [(item.kind, item.amount.minor) for item in one.items] == lines(seen)
    assert sum(item.amount.minor for item in one.items) == one.total.minor == total
    assert billing.books(who, "tax") == sum(
        part * int(percent) // 100
        for part, percent in ((2000, before), (-2000, before), (5000, after))
    )
