"""Nothing is waived where no money came in the currency that was asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paydesk.errors import Conflict
from paydesk.flows import charges, fulfillment
from paydesk.rules.money import EUR, USD
from paydesk.tracker.stores.joined import JoinedStore


@pytest.mark.parametrize("bought", [{"amount": USD("20.00")}, {"pack": "creator"}])
def test_money_in_another_currency_cannot_be_waived(desk, bought):  # I3
    view = desk.open(**bought)
    desk.pay(view)
    paid = desk.env.providers["stripe"].fetch(view.payment.session_ref)
    with desk.env.db.read() as tx:
        payment = JoinedStore(tx.conn).get_many([(view.customer_id, view.payment.id)])[0]
    charges.record(desk.env, payment, replace(paid, amount=EUR("20.00")), "verify")
    assert desk.payment(view).review == "currency_mismatch"
    with pytest.raises(Conflict, match="refund it"):
        fulfillment.resolve(desk.env, view.customer_id, view.payment.id, "waive", actor="maya")
    assert desk.payment(view).fulfillment.state == "blocked"
