"""Previews of invoices: the change is made, its invoice looked at, and all of it undone."""

from __future__ import annotations

import copy
from typing import Any

from .. import errors
from ..engine import SUBSCRIPTION_OVER, Call
from ..errors import StripeError
from . import (
    customers,
    invoice_items,
    invoice_lines,
    invoicing,
    listing,
    subscription_changes,
    subscriptions,
    test_clocks,
)
from . import subscription_life as life

UNSIMULATED = {
    "customer_details": "previews without a customer", "discounts": "coupons",
    "schedule": "schedules", "schedule_details": "schedules", "on_behalf_of": "Connect",
    "customer_account": "customer accounts",
}
DETAILS_UNSIMULATED = {
    "billing_schedules": "billing schedules", "default_tax_rates": "tax rates",
    "cancel_now": "previews of a cancellation", "cancel_at": "previews of a cancellation",
    "cancel_at_period_end": "previews of a cancellation",
    "resume_at": "previews of resuming", "start_date": "subscriptions that began in the past",
}


def next_invoice(call: Call, params: dict[str, Any]) -> dict[str, Any]:
    """What `create_preview` answers with."""
    listing.refuse_unsimulated(params, UNSIMULATED)
    if (params.get("automatic_tax") or {}).get("enabled"):
        raise errors.not_simulated("automatic tax", "automatic_tax")
    if params.get("preview_mode") == "recurring":
        raise errors.not_simulated("previews of what recurs", "preview_mode")
    details = params.get("subscription_details") or {}
    listing.refuse_unsimulated(details, DETAILS_UNSIMULATED)
    if params.get("subscription"):
        subscription = call.find("subscription", params["subscription"], "subscription", 400)
        customer = life.customer_of(call, subscription)
        with test_clocks.time_of(call, subscription):
            return _of_subscription(call, subscription, customer, params, details)
    if not params.get("customer"):
        raise errors.missing_param("customer")
    customer = customers.living(call, params["customer"])
    with test_clocks.time_of(call, customer):
        if details.get("items"):
            return _of_new(call, customer, params, details)
        return _of_waiting(call, customer, params)


def none_upcoming(customer: dict[str, Any]) -> StripeError:
    return StripeError(
        f"No upcoming invoices for customer: {customer['id']}", status=404,
        code="invoice_upcoming_none",
    )


def _lines(
    call: Call, customer: dict[str, Any], params: dict[str, Any]
) -> list[dict[str, Any]]:
    """Items that the preview names beside those that wait."""
    lines = []
    for given in params.get("invoice_items") or ():
        listing.refuse_unsimulated(given, {
            **invoice_items.UNSIMULATED, "invoiceitem": "changes of waiting items",
            "price": "prices of previewed items; give an amount or price_data",
        })
        amount, currency, price, quantity = invoice_items.priced(call, given, customer)
        period = given.get("period") or {"start": call.now, "end": call.now}
        lines.append(invoice_lines.line(
            amount=amount, currency=currency, description=given.get("description"), price=price,
            period=(period["start"], period["end"]), quantity=quantity,
        ))  # fmt: skip
    return lines


def _of_subscription(
    call: Call, subscription: dict[str, Any], customer: dict[str, Any], params: dict[str, Any],
    details: dict[str, Any],
) -> dict[str, Any]:
    if subscription["status"] in SUBSCRIPTION_OVER:
        raise none_upcoming(customer)
    subscription_changes.check(details)
    with call.rehearsal():
        extra = _lines(call, customer, params)
        changed, invoice = subscription_changes.apply(
            call, copy.deepcopy(subscription), details, collect=False
        )
        if invoice is not None:
            invoicing.add(call, invoice, extra, [])
            return life.as_preview(invoice)
        end = life.period_of(changed)[1]
        if changed["status"] == "paused" or (changed["cancel_at"] or end + 1) <= end:
            raise none_upcoming(customer)
        return life.upcoming(call, changed, extra)


def _of_new(
    call: Call, customer: dict[str, Any], params: dict[str, Any], details: dict[str, Any]
) -> dict[str, Any]:
    """The first invoice of a subscription that is not there yet."""
    given = {**details, "items": [
        {name: value for name, value in one.items() if name not in ("id", "deleted")}
        for one in details["items"]
    ]}  # fmt: skip
    if isinstance(given.get("billing_cycle_anchor"), str):
        del given["billing_cycle_anchor"]
    subscription_changes.check(given)
    with call.rehearsal():
        _, invoice = subscriptions.start(call, customer, given, collect=False)
        invoicing.add(call, invoice, _lines(call, customer, params), [])
        return life.as_preview(invoice)


def _of_waiting(
    call: Call, customer: dict[str, Any], params: dict[str, Any]
) -> dict[str, Any]:
    """Items that wait for an invoice, of a customer; the next one of its subscription if any."""
    found = call.tx.scan("subscription", link=("customer", customer["id"]))
    living = [one for one in found if one["status"] not in SUBSCRIPTION_OVER]
    if living:
        first = min(living, key=lambda one: life.period_of(one)[1])
        return _of_subscription(call, first, customer, params, {})
    currency = params.get("currency") or customer["currency"] or "usd"
    with call.rehearsal():
        extra = _lines(call, customer, params)
        waiting = invoice_lines.pending(call, customer["id"], currency, None)
        if not waiting and not extra:
            raise none_upcoming(customer)
        invoice = invoicing.draft(
            call, customer, reason="upcoming", currency=currency, lines=extra, items=waiting,
            period=(call.now, call.now),
        )
        return life.as_preview(invoice)
