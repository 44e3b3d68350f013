"""Invoices: lines that add up, paid once whatever happens, numbered without gaps, given back."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import stripe

from paydesk import crash, ids
from paydesk.crash import CrashNow
from paydesk.errors import (
    InvalidRequest,
    NotFound,
    PaydeskError,
    PaymentInFlight,
)
from paydesk.flows import (
    doctor,
    heads,
    invoice_numbers,
    invoices,
    ledger,
    methods,
    payments,
    provider_calls,
)
from paydesk.flows.invoices import Discount, NewInvoice, NewItem
from paydesk.flows.methods import AddMethod
from paydesk.rules.invoices import InvoiceStateConflict, TaxRate

VAT = TaxRate(id=uuid4(), name="VAT 20%", micros=200_000)


@pytest.fixture
def sdk(sim):
    return stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})


@pytest.fixture
def payer(desk, sdk):
    """Makes a customer with a saved card."""

    def make(card="tok_visa", **more):
        user = desk.make.user(**more)
        made = sdk.v1.payment_methods.create({"type": "card", "card": {"token": card}})
        methods.add(desk.env, AddMethod(customer_id=user.uuid, token=made.id))
        return user

    return make


def line(amount=1999, **more):
    told = {"kind": "one_off", "description": "Consulting", "amount_minor": amount}
    return NewItem(**{**told, **more})


def bill(desk, user, *items, taxes=None, discount=None, currency="usd", **more):
    """A finalized invoice by hand, with these taxes."""
    with desk.env.db.transaction(user.uuid) as tx:
        now = heads.decide(tx, desk.env.now(), user.uuid)
        row = invoices.write(
            tx, now, settings=desk.env.settings, customer_id=user.uuid, subscription_id=None,
            reason="manual", currency=currency, items=items or [line()], discount=discount,
            request_key=uuid4(), **more,
        )
        invoices.finalize(
            tx, now, user.uuid, row.id, settings=desk.env.settings,
            taxes=(lambda tx, country, product, at: taxes) if taxes else None,
        )
    return invoices.get(desk.env, user.uuid, row.id)


def charge(desk, view, **more):
    """What the engine does: intend in one transaction, send after it; answers the invoice."""
    with desk.env.db.transaction(view.customer_id) as tx:
        now = heads.decide(tx, desk.env.now(), view.customer_id)
        row = invoices.invoice_books.get(tx, view.customer_id, view.id)
        told = {"method_id": None, **more}
        call = invoices.intend_payment(desk.env, tx, now, row, **told)
    if call is not None:
        with contextlib.suppress(PaydeskError):
            provider_calls.run(desk.env, call)
    return invoices.get(desk.env, view.customer_id, view.id)


def account(desk, user, name, currency="usd"):
    with desk.env.db.read() as tx:
        return ledger.balances(tx, [user.uuid], name, currency)[user.uuid]


def books(desk, user):
    """Every transfer: (reason, debit, credit, amount)."""
    rows = desk.all(
        "select reason, debit, credit, amount from transfers where customer_id = %(c)s"
        " order by seq", c=user.uuid,
    )  # fmt: skip
    return [
        (r["reason"], ledger.NAMES[r["debit"]], ledger.NAMES[r["credit"]], r["amount"])
        for r in rows
    ]


def test_an_invoice_by_hand_is_written_taxed_charged_and_paid(desk, payer):  # I13
    user = payer()
    view = bill(desk, user, line(10_000), taxes=[VAT])
    assert (view.status, view.subtotal.minor, view.tax.minor, view.total.minor) == (
        "open", 10_000, 2_000, 12_000)  # fmt: skip
    assert view.seller["name"] and view.buyer["external_id"] == user.external_id
    paid = charge(desk, view)
    assert (paid.status, paid.paid.minor, paid.remaining.minor) == ("paid", 12_000, 0)
    assert books(desk, user)[-2:] == [
        ("SALE", "deposits", "revenue", 10_000), ("TAX", "deposits", "tax", 2_000)]
    assert account(desk, user, "deposits") == 0
    one = payments.get(desk.env, user.uuid, paid.payment_id)
    assert one.purpose == "invoice" and one.state == "succeeded"
