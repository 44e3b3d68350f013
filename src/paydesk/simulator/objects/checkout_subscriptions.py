"""Checkout in subscription mode: what the page sells, and what paying it begins."""

from __future__ import annotations

from typing import Any

from .. import errors
from ..engine import Call
from ..errors import StripeError
from . import coupons, customers, listing, setup_intents, subscriptions, test_clocks

DATA_UNSIMULATED = {
    "application_fee_percent": "application fees", "billing_cycle_anchor": "anchors in Checkout",
    "default_tax_rates": "tax rates", "on_behalf_of": "Connect", "transfer_data": "transfers",
    "pending_invoice_item_interval": "intervals of pending items",
}
#: What `subscription_data` hands on to the subscription.
HANDED_ON = (
    "billing_mode", "description", "metadata", "trial_end", "trial_period_days", "trial_settings",
)


def fields(
    call: Call, params: dict[str, Any], lines: list[dict[str, Any]]
) -> dict[str, Any]:
    """The fields of a session in subscription mode: what is due today, and what will recur."""
    data = params.get("subscription_data") or {}
    listing.refuse_unsimulated(data, DATA_UNSIMULATED)
    if not any(line["price"]["recurring"] for line in lines):
        raise StripeError(
            "You must provide at least one recurring price in `subscription` mode when using "
            "prices.",
            param="line_items",
        )
    given = {name: data[name] for name in HANDED_ON if name in data}
    trial = bool(given.get("trial_end") or given.get("trial_period_days"))
    recurring = [line for line in lines if line["price"]["recurring"]]
    if len({str(line["price"]["recurring"]) for line in recurring}) > 1:
        raise errors.not_simulated("items with different billing intervals", "line_items")
    if trial:
        for line in recurring:
            line |= {"amount_subtotal": 0, "amount_total": 0}
    if given.get("trial_end") and given["trial_end"] < call.now + 48 * 3600:
        raise StripeError(
            "The `trial_end` date has to be at least 2 days in the future.",
            param="subscription_data[trial_end]",
        )
    subtotal = sum(line["amount_total"] for line in lines)
    taken = coupons.chosen(call, params, lines[0]["currency"])
    for coupon in taken:
        parts = coupons.shares(coupon, [line["amount_total"] for line in lines])
        for line, part in zip(lines, parts, strict=True):
            line |= {"amount_discount": part, "amount_total": line["amount_total"] - part}
    total = sum(line["amount_total"] for line in lines)
    return {
        "amount_subtotal": subtotal,
        "amount_total": total,
        "currency": lines[0]["currency"],
        "payment_method_collection": params.get("payment_method_collection", "always"),
        "payment_status": "unpaid" if total else "no_payment_required",
        "total_details": {
            "amount_discount": subtotal - total, "amount_shipping": 0, "amount_tax": 0,
        },
        "discounts": [{"coupon": one["id"], "promotion_code": None} for one in taken] or None,
        "_coupons": taken,
        "_line_items": lines,
        "_subscription_data": given,
        "_intent": {"setup_future_usage": "off_session", "description": "Subscription creation"},
    }


def setup_intent(call: Call, session: dict[str, Any], customer: str | None) -> dict[str, Any]:
    """Nothing is due today: the page saves the card that later invoices are charged to."""
    intent = setup_intents.make(
        call,
        {
            "customer": customer, "payment_method_types": ["card"],
            "payment_method_options": session["payment_method_options"],
        },
    )
    intent["_session"] = session["id"]
    return call.save(intent)


def begin(
    call: Call, session: dict[str, Any], customer_id: str, intent: dict[str, Any] | None
) -> None:
    """The page was completed: the subscription begins, its first invoice paid by the intent."""
    customer = customers.living(call, customer_id)
    method = (intent or {}).get("payment_method")
    paid_by = intent if intent and intent["object"] == "payment_intent" else None
    recurring, once = [], []
    for line in session["_line_items"]:
        # The price is at hand: one made for the session alone can be had here and nowhere else.
        item = {"_price": line["price"], "quantity": line["quantity"]}
        (recurring if line["price"]["recurring"] else once).append(item)
    params: dict[str, Any] = {
        **session["_subscription_data"], "items": recurring, "add_invoice_items": once,
    }
    params["_coupons"] = session.get("_coupons") or []
    if method:
        params["default_payment_method"] = method
    with test_clocks.time_of(call, customer):
        subscription, invoice = subscriptions.start(call, customer, params, paid_by=paid_by)
    session |= {"subscription": subscription["id"], "invoice": invoice["id"]}
