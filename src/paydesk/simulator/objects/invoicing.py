"""The life of an invoice: drafted, made final, paid or not, tried again, voided, given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import ids, money, periods, shapes
from ..engine import Call
from ..errors import StripeError
from . import (
    confirmation,
    coupons,
    invoice_lines,
    invoice_payments,
    listing,
    payment_intents,
    payment_methods,
    test_clocks,
)

#: How long a draft of a renewal may still be changed before it becomes final by itself.
DRAFT_S = 3600
#: States of an invoice that needs no money any more.
OVER = ("paid", "void", "uncollectible")
AGAINST = {"type": "self"}

#: Told what became of an invoice: (call, invoice, "paid" | "failed" | "given_up" | "closed").
HEARERS: list[Callable[[Call, dict[str, Any], str], None]] = []


def _told(call: Call, invoice: dict[str, Any], what: str) -> None:
    for hear in HEARERS:
        hear(call, invoice, what)


def draft(
    call: Call, customer: dict[str, Any], *, reason: str, currency: str,
    lines: list[dict[str, Any]], period: tuple[int, int], auto_advance: bool = False,
    subscription: dict[str, Any] | None = None, items: list[dict[str, Any]] | None = None,
    proration_date: int | None = None, **given: Any,
) -> dict[str, Any]:
    """A draft with these lines and those of the waiting `items`, saved and announced."""
    invoice: dict[str, Any] = {
        **shapes.blank("invoice"),
        "id": ids.new("invoice"),
        "object": "invoice",
        "account_country": "US",
        "account_name": call.sim.config.merchant,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": auto_advance,
        "automatic_tax": shapes.blank("automatic_tax") | {"enabled": False},
        "automatically_finalizes_at": call.now + DRAFT_S if auto_advance else None,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": call.now,
        "currency": currency,
        "customer": customer["id"],
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": AGAINST,
        "livemode": False,
        "metadata": {},
        "payment_settings": shapes.blank("invoices_payment_settings"),
        "period_end": period[1],
        "period_start": period[0],
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": shapes.blank("invoices_resource_status_transitions"),
        "test_clock": customer.get("test_clock"),
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        **given,
        "_lines": [], "_subscription": None, "_intent": None, "_charge": None, "_payments": [],
        "_retries": 0,
    }
    for name in ("confirmation_secret", "payments", "threshold_reason"):
        invoice.pop(name, None)
    _take_customer(invoice, customer)
    if subscription is not None:
        _of_subscription(invoice, subscription, proration_date)
    if customer["currency"] is None:
        customer["currency"] = currency
        call.save(customer)
    add(call, invoice, lines, items or [])
    if subscription is not None:
        coupons.use(call, subscription, invoice)
        sum_up(invoice)
    keep(call, invoice)
    call.emit("invoice.created", invoice)
    return invoice


def _take_customer(invoice: dict[str, Any], customer: dict[str, Any]) -> None:
    """What an invoice says of its customer, as it is now; a final one says it for good."""
    invoice |= {
        "customer_address": customer["address"], "customer_email": customer["email"],
        "customer_name": customer["name"], "customer_phone": customer["phone"],
        "customer_shipping": customer["shipping"], "customer_tax_exempt": customer["tax_exempt"],
        "starting_balance": customer["balance"],
    }


def _of_subscription(
    invoice: dict[str, Any], subscription: dict[str, Any], proration_date: int | None
) -> None:
    details = {"metadata": subscription["metadata"], "subscription": subscription["id"]}
    if proration_date is not None:
        details["subscription_proration_date"] = proration_date
    invoice["parent"] = {
        "quote_details": None, "subscription_details": details, "type": "subscription_details",
    }
    invoice |= {
        "_subscription": subscription["id"], "description": subscription["description"],
    }


def add(
    call: Call, invoice: dict[str, Any], lines: list[dict[str, Any]], items: list[dict[str, Any]]
) -> None:
    """Put lines and waiting items on a draft, and sum it up."""
    for item in items:
        item["invoice"] = invoice["id"]
        call.save(item)
    # What a subscription is charged comes after what waited, as on Stripe's invoices.
    more = [*(invoice_lines.line_of(item) for item in items), *lines]
    for one in more:
        one["invoice"] = invoice["id"]
    invoice["_lines"] = [*invoice["_lines"], *more]
    sum_up(invoice)


def sum_up(invoice: dict[str, Any]) -> int:
    """Set the sums; returns what is left on the customer's balance after this invoice.

    A balance below zero is credit. What is less than a card can be charged is owed until the next
    invoice.
    """
    subtotal = sum(one["amount"] for one in invoice["_lines"])
    total = subtotal - coupons.take_off(invoice)
    net = total + invoice["starting_balance"]
    due = net if net >= money.MINIMUM_MINOR.get(invoice["currency"], 1) else 0
    invoice |= {
        "subtotal": subtotal, "subtotal_excluding_tax": subtotal, "total": total,
        "total_excluding_tax": total, "amount_due": due,
        "amount_remaining": due - invoice["amount_paid"],
    }
    return net - due


def keep(call: Call, invoice: dict[str, Any]) -> dict[str, Any]:
    """Save an invoice with the time at which it goes on by itself."""
    due_at = None
    if invoice["auto_advance"] and invoice["status"] == "draft":
        due_at = invoice["automatically_finalizes_at"]
    elif invoice["auto_advance"] and invoice["status"] == "open":
        due_at = invoice["next_payment_attempt"]
    return call.save(invoice, due_at=due_at)


def customer_of(call: Call, invoice: dict[str, Any]) -> dict[str, Any]:
    return call.find("customer", invoice["customer"], "customer")


def finalize(
    call: Call, invoice: dict[str, Any], *, paid_by: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Make a draft final: its number, what the balance pays, and the payment of the rest.

    `paid_by` is a payment intent that has taken the money already, as Checkout does; the balance
    is left alone then.
    """
    customer, before = customer_of(call, invoice), dict(invoice)
    _take_customer(invoice, customer)
    if paid_by is not None:
        invoice["starting_balance"] = 0
    left = sum_up(invoice)
    number = customer["next_invoice_sequence"]
    invoice |= {
        "status": "open", "ending_balance": left, "effective_at": call.now,
        "number": invoice["number"] or f"{customer['invoice_prefix']}-{number:04d}",
        "automatically_finalizes_at": None,
        "status_transitions": {**invoice["status_transitions"], "finalized_at": call.now},
    }
    if before["number"] is None:
        customer["next_invoice_sequence"] = number + 1
    call.save(customer)
    if paid_by is None:
        set_balance(call, customer, left)
    if invoice["amount_due"]:
        _ask_for_payment(call, invoice, paid_by)
    keep(call, invoice)
    call.emit("invoice.finalized", invoice)
    if not invoice["amount_due"]:
        invoice["attempted"] = True
        paid(call, invoice)
    elif paid_by is not None:
        settled(call, invoice, paid_by)
    return invoice


def set_balance(call: Call, customer: dict[str, Any], balance: int) -> None:
    if customer["balance"] != balance:
        before = dict(customer)
        customer["balance"] = balance
        call.save(customer)
        call.emit("customer.updated", customer, listing.changed(before, customer))


DESCRIPTIONS = {
    "subscription_create": "Subscription creation", "subscription_update": "Subscription update",
    "subscription_cycle": "Subscription update",
}


def _ask_for_payment(
    call: Call, invoice: dict[str, Any], paid_by: dict[str, Any] | None
) -> None:
    """The payment intent of an invoice and the record that ties the two together."""
    intent = paid_by
    if intent is None:
        intent = payment_intents.make(
            call,
            {
                "amount": invoice["amount_due"], "currency": invoice["currency"],
                "customer": invoice["customer"], "payment_method_types": ["card"],
                "description": DESCRIPTIONS.get(
                    invoice["billing_reason"], f"Payment for Invoice {invoice['number']}"
                ),
                "setup_future_usage": "off_session" if invoice["_subscription"] else None,
                "receipt_email": None,
            },
        )
        method = default_method(call, invoice)
        if method is not None:
            intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    intent["_invoice"] = invoice["id"]
    call.save(intent)
    payment = invoice_payments.make(
        call, invoice, {"payment_intent": intent["id"], "type": "payment_intent"},
        invoice["amount_due"], is_default=True,
    )
    invoice |= {"_intent": intent["id"], "_payments": [payment["id"]]}


def default_method(call: Call, invoice: dict[str, Any]) -> dict[str, Any] | None:
    """What an invoice is charged to: its own, its subscription's, its customer's method.

    One that was detached since is passed over.
    """
    subscription = call.tx.get(invoice["_subscription"] or "", "subscription") or {}
    for wanted in (
        invoice["default_payment_method"], subscription.get("default_payment_method"),
        customer_of(call, invoice)["invoice_settings"]["default_payment_method"],
    ):
        method = call.tx.get(wanted or "", "payment_method")
        if method is not None and method["customer"] == invoice["customer"]:
            return method
    return None


def attempt(
    call: Call, invoice: dict[str, Any], method: dict[str, Any], *, off_session: bool
) -> dict[str, Any]:
    """Charge an open invoice to a method; returns the invoice as it is then.

    A decline raises the card error, and what it did stays. Where the bank asks for 3-D Secure the
    invoice stays open and its intent waits for the card's owner.
    """
    intent = call.find("payment_intent", invoice["_intent"], "intent")
    intent["_off_session"] = off_session
    confirmation.attempt(call, intent, method, off_session=off_session)
    return call.find("invoice", invoice["id"], "invoice")


def collect(call: Call, invoice: dict[str, Any], *, off_session: bool = True) -> dict[str, Any]:
    """Try to charge an open invoice as nobody watches: a failure is told by events alone."""
    method = default_method(call, invoice)
    if method is None:
        return failed(call, invoice)
    try:
        return attempt(call, invoice, method, off_session=off_session)
    except StripeError as error:
        if error.fields["type"] != "card_error":
            raise
        return call.find("invoice", invoice["id"], "invoice")


def _intent_moved(call: Call, intent: dict[str, Any]) -> None:
    """What became of an attempt to pay an invoice's intent, by whomever it was made."""
    invoice = call.tx.get(intent.get("_invoice") or "", "invoice")
    if invoice is None or invoice["status"] not in ("open", "uncollectible"):
        return
    with test_clocks.time_of(call, invoice, changing=False):
        _follow(call, invoice, intent)


def _follow(call: Call, invoice: dict[str, Any], intent: dict[str, Any]) -> None:
    if intent["status"] == "succeeded":
        settled(call, invoice, intent)
    elif intent["status"] == "requires_action":
        if intent.get("_off_session"):
            invoice = failed(call, invoice)
        else:
            invoice = _tried(call, invoice)
        call.emit("invoice.payment_action_required", invoice)
    elif intent["status"] == "requires_payment_method":
        failed(call, invoice)


confirmation.OUTCOMES.append(_intent_moved)


def settled(call: Call, invoice: dict[str, Any], intent: dict[str, Any]) -> None:
    """The intent of an invoice has taken the money."""
    invoice |= {
        "_charge": intent["latest_charge"], "amount_paid": invoice["amount_due"],
        "amount_remaining": 0, "attempted": True,
        "attempt_count": invoice["attempt_count"] + 1,
    }
    charge = call.tx.get(intent["latest_charge"] or "", "charge")
    if charge is not None and charge.get("_invoice") is None:
        call.save({**charge, "_invoice": invoice["id"]})
    paid(call, invoice)


def paid(call: Call, invoice: dict[str, Any]) -> dict[str, Any]:
    """Close an invoice of which nothing is left to pay."""
    invoice |= {
        "status": "paid", "next_payment_attempt": None, "auto_advance": False,
        "status_transitions": {**invoice["status_transitions"], "paid_at": call.now},
    }
    keep(call, invoice)
    for payment in invoice_payments.of(call, invoice):
        if payment["status"] == "open":
            invoice_payments.close(call, payment)
    call.emit("invoice.paid", invoice)
    call.emit("invoice.payment_succeeded", invoice)
    _told(call, invoice, "paid")
    return invoice


def _tried(call: Call, invoice: dict[str, Any], **more: Any) -> dict[str, Any]:
    before = dict(invoice)
    invoice |= {"attempted": True, "attempt_count": invoice["attempt_count"] + 1, **more}
    keep(call, invoice)
    call.emit("invoice.updated", invoice, listing.changed(before, invoice))
    return invoice


def failed(call: Call, invoice: dict[str, Any]) -> dict[str, Any]:
    """An attempt has failed: when it is made again, and who is told."""
    more, given_up = {}, False
    waiting = (invoice["next_payment_attempt"] or 0) > call.now
    if invoice["auto_advance"] and not waiting:
        days, retries = call.sim.switches.retry_days, invoice["_retries"]
        given_up = retries >= len(days)
        next_at = None if given_up else call.now + int(days[retries] * periods.DAY_S)
        more = {"next_payment_attempt": next_at, "_retries": retries + 1}
    invoice = _tried(call, invoice, **more)
    call.emit("invoice.payment_failed", invoice)
    _told(call, invoice, "failed")
    if given_up:
        _told(call, invoice, "given_up")
    return call.find("invoice", invoice["id"], "invoice")


def pay_by_hand(call: Call, invoice: dict[str, Any]) -> dict[str, Any]:
    """Somebody has paid in another way: nothing is charged."""
    invoice_payments.record(call, invoice)
    return paid(call, invoice)


def attach(
    call: Call, invoice: dict[str, Any], intent: dict[str, Any]
) -> dict[str, Any]:
    """An intent that was made apart from the invoice pays it, or a part of it."""
    before = dict(invoice)
    invoice_payments.attach(call, invoice, intent)
    if not invoice["amount_remaining"]:
        return paid(call, invoice)
    keep(call, invoice)
    call.emit("invoice.updated", invoice, listing.changed(before, invoice))
    return invoice


def void(call: Call, invoice: dict[str, Any]) -> dict[str, Any]:
    """Take a final invoice back; what the balance paid of it is given back."""
    invoice_payments.let_go(call, invoice, "void_invoice")
    customer = customer_of(call, invoice)
    if invoice["ending_balance"] is not None:
        taken = invoice["ending_balance"] - invoice["starting_balance"]
        set_balance(call, customer, customer["balance"] - taken)
    return _close(call, invoice, "void", "voided_at", "invoice.voided")


def mark_uncollectible(call: Call, invoice: dict[str, Any]) -> dict[str, Any]:
    return _close(
        call, invoice, "uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible"
    )


def _close(
    call: Call, invoice: dict[str, Any], status: str, transition: str, event: str
) -> dict[str, Any]:
    invoice |= {
        "status": status, "next_payment_attempt": None, "auto_advance": False,
        "status_transitions": {**invoice["status_transitions"], transition: call.now},
    }
    keep(call, invoice)
    call.emit(event, invoice)
    _told(call, invoice, "closed")
    return invoice


def go_on(call: Call, invoice: dict[str, Any]) -> None:
    """What an invoice does by itself when its time has come."""
    if invoice["status"] == "draft":
        finalize(call, invoice)
        subscription = call.tx.get(invoice["_subscription"] or "", "subscription")
        paused = (subscription or {}).get("pause_collection")
        if paused and invoice["status"] == "open":
            if paused["behavior"] == "void":
                void(call, invoice)
            elif paused["behavior"] == "mark_uncollectible":
                mark_uncollectible(call, invoice)
            return
    if invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically":
        collect(call, invoice)


test_clocks.DUE["invoice"] = go_on


def method_for(call: Call, invoice: dict[str, Any], wanted: str | None) -> dict[str, Any] | None:
    """The method a call names for an invoice, else the default one."""
    if not wanted:
        return default_method(call, invoice)
    method = payment_methods.resolve(call, wanted)
    if method["customer"] != invoice["customer"]:
        raise StripeError(
            f"The payment method {method['id']} cannot be used for this invoice: it must be "
            "attached to its customer first.",
            param="payment_method",
        )
    return method
