"""What whoever pays reads at the provider: the plan and its time, not the number of a paper."""

from __future__ import annotations

from uuid import uuid4

import pytest

from paydesk.flows import checkout, invoices
from paydesk.flows import subscription_changes as changes
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.rules.money import USD


@pytest.fixture
def sold(billing):
    billing.plan("pro", price=USD("20.00"), name="Pro")
    billing.plan("team", price=USD("90.00"), name="Team", interval="month", interval_count=3)
    return billing


def lines_of(billing, ref):
    found = billing.sim.request("GET", f"/v1/checkout/sessions/{ref}/line_items")["data"]
    return [one["description"] for one in found]


def intents(billing):
    return [one["description"] for one in billing.sim.objects("payment_intent")]


def test_the_page_of_a_first_payment_names_the_plan(sold):
    # S4.32
    first = sold.subscribe(sold.user(card=None))
    assert lines_of(sold, first.checkout.payment.session_ref) == ["Pro - 1 month"]
    second = sold.subscribe(sold.user(card=None), "team")
    assert lines_of(sold, second.checkout.payment.session_ref) == ["Team - 3 months"]


def test_each_charge_names_the_plan_and_a_change_what_it_is(sold):
    # S1.16 S4.32: our own record keeps the invoice's name
    who = sold.user()
    sub = sold.subscribe(who)
    sold.renew(days=31)
    assert intents(sold) == ["Pro - 1 month"] * 2
    changes.change(sold.env, who.uuid, sub.id, plan="team")
    assert intents(sold)[-1] in ("Change to Team", "Team - 3 months")
    names = sold.all("select description from payments order by created_at, id")
    assert all(row["description"].startswith("Invoice") for row in names)


def test_an_invoice_of_no_subscription_has_its_own_name(sold):
    # S1.50
    who = sold.user()
    line = NewItem(kind="one_off", description="Set-up", amount_minor=1500)
    one = invoices.create(sold.env, NewInvoice(
        customer_id=who.uuid, currency="usd", items=[line], request_key=uuid4()))  # fmt: skip
    page = checkout.start(
        sold.env, checkout.StartCheckout(customer_id=who.uuid, invoice=one.id)
    )
    assert lines_of(sold, page.payment.session_ref)[0].startswith("Invoice")
