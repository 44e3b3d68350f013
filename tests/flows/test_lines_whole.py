"""What a line of an invoice came to, with its discounts and taxes."""

from __future__ import annotations

from uuid import uuid4

import pytest

from paydesk.flows import invoices, tax_rates
from paydesk.flows.invoice_views import whole_of
from paydesk.flows.invoices import NewInvoice
from paydesk.rules.invoices import MADE, Discount, NewItem


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("percent", [None, 50])
def test_the_lines_whole_sums_make_up_the_invoice(billing, inclusive, percent):  # S1.51 I13
    tax_rates.add(billing.env, "VAT", "20", country="", inclusive=inclusive)
    who = billing.user()
    off = percent and Discount(percent_micros=percent * 10_000, description="Half", why={})
    one = invoices.create(billing.env, NewInvoice(
        customer_id=who.uuid, currency="usd", request_key=uuid4(), discount=off,
        items=[NewItem(kind="one_off", description=name, amount_minor=minor)
               for name, minor in (("Fitting", 705), ("Travel", 303))],
    ))  # fmt: skip
    found = [whole_of(one.items, line) for line in one.items if line.kind not in MADE]
    assert sum(part.minor for part in found) == one.total.minor
    expected = {(True, None): [705, 303], (False, None): [846, 364],
                (True, 50): [352, 152], (False, 50): [422, 182]}  # fmt: skip
    assert [part.minor for part in found] == expected[inclusive, percent]
