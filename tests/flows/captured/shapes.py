"""Stripe's objects field by field, in the structure that accounts of these API versions were sent.

Which fields there are, where, and which are null, is taken from events and answers that others
published (README.md names them); every name, id and sum is made up here. Nothing of this is made
from the simulator's output.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OLDEST, OLD, MIDDLE, CLOVER, DAHLIA = (
    "2018-02-06", "2020-08-27", "2023-08-16", "2025-10-29.clover", "2026-03-25.dahlia",
)  # fmt: skip
VERSIONS = (OLDEST, OLD, MIDDLE, CLOVER, DAHLIA)
BASIL = "2025-03-31"

CUSTOMER, SUBSCRIPTION, ITEM = "cus_Qh4mTz81LrVw0n", "sub_1Hq2vTnOaKe7Wz3M", "si_Qh4nB7xUe5Yc9d"
METHOD = "pm_1Hq2uEnOaKe7Wz3MpL6sYb0R"
SELLER = {"account_country": "NL", "account_name": "Harbor Sketch Club"}


def nulls(names: str) -> dict[str, None]:
    return dict.fromkeys(names.split())


@dataclass(kw_only=True)
class Price:
    id: str
    product: str
    amount: int
    key: str
    made: int


@dataclass(kw_only=True)
class Sub:
    """How the subscription stands."""

    price: Price
    begun: int
    start: int
    end: int
    status: str = "active"
    trial: tuple[int, int] | None = None
    ending: bool = False
    canceled_at: int | None = None
    ended_at: int | None = None
    reason: str | None = None
    pause: dict[str, Any] | None = None
    invoice: str | None = None


@dataclass(kw_only=True)
class Line:
    amount: int
    price: Price
    start: int
    end: int
    text: str
    proration: bool = False


@dataclass(kw_only=True)
class Bill:
    """How an invoice stands."""

    id: str
    reason: str
    made: int
    start: int
    end: int
    lines: list[Line]
    status: str = "draft"
    number: str | None = None
    attempts: int = 0
    retry: int | None = None
    finalized: int | None = None
    paid: int | None = None
    voided: int | None = None
    closed: bool = False
    intent: str | None = None
    charge: str | None = None
    tried: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(one.amount for one in self.lines)


# Prices -----------------------------------------------------------------------------------------


def plan(version: str, one: Price) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": one.id, "object": "plan", "amount": one.amount, "created": one.made,
        "currency": "usd", "interval": "month", "interval_count": 1, "livemode": False,
        "metadata": {"paydesk_key": one.key}, "nickname": None, "product": one.product,
        "trial_period_days": None,
    }  # fmt: skip
    if version == OLDEST:
        return shown
    shown |= {"active": True, "amount_decimal": str(one.amount), "billing_scheme": "per_unit",
              "usage_type": "licensed", **nulls("tiers_mode transform_usage")}  # fmt: skip
    return shown | nulls("aggregate_usage" if version < BASIL else "meter")


def price(version: str, one: Price) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": one.id, "object": "price", "active": True, "billing_scheme": "per_unit",
        "created": one.made, "currency": "usd", "livemode": False, "lookup_key": None,
        "metadata": {"paydesk_key": one.key}, "nickname": None, "product": one.product,
        "recurring": {"interval": "month", "interval_count": 1, "trial_period_days": None,
                      "usage_type": "licensed",
                      **nulls("aggregate_usage" if version < BASIL else "meter")},
        "tiers_mode": None, "transform_quantity": None, "type": "recurring",
        "unit_amount": one.amount, "unit_amount_decimal": str(one.amount),
    }  # fmt: skip
    if version >= MIDDLE:
        shown |= {"custom_unit_amount": None, "tax_behavior": "unspecified"}
    return shown


# Subscriptions ----------------------------------------------------------------------------------


def subscription(version: str, one: Sub) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": SUBSCRIPTION, "object": "subscription", "application_fee_percent": None,
        "cancel_at_period_end": one.ending, "canceled_at": one.canceled_at, "created": one.begun,
        "customer": CUSTOMER, "days_until_due": None, "ended_at": one.ended_at,
        "items": {"object": "list", "data": [_item(version, one)], "has_more": False,
                  "total_count": 1, "url": f"/v1/subscription_items?subscription={SUBSCRIPTION}"},
        "livemode": False, "metadata": {}, "plan": plan(version, one.price), "quantity": 1,
        "status": one.status, "trial_start": one.trial and one.trial[0],
        "trial_end": one.trial and one.trial[1],
    }  # fmt: skip
    if version < BASIL:
        shown |= {"current_period_start": one.start, "current_period_end": one.end,
                  "discount": None}  # fmt: skip
    if version == OLDEST:
        return shown | {"billing": "charge_automatically", "start": one.start,
                        "tax_percent": None}  # fmt: skip
    shown |= {
        "billing_cycle_anchor": one.begun, "cancel_at": one.end if one.ending else None,
        "collection_method": "charge_automatically", "default_tax_rates": [],
        "latest_invoice": one.invoice, "pause_collection": one.pause, "start_date": one.begun,
        **nulls("billing_thresholds default_payment_method default_source schedule transfer_data"
                " next_pending_invoice_item_invoice pending_invoice_item_interval"
                " pending_setup_intent pending_update"),
    }  # fmt: skip
    if version >= MIDDLE:
        shown |= {
            "application": None, "automatic_tax": {"enabled": False},
            "cancellation_details": {"comment": None, "feedback": None, "reason": one.reason},
            "currency": "usd", "description": None, "on_behalf_of": None, "test_clock": None,
            "payment_settings": {**nulls("payment_method_options payment_method_types"),
                                 "save_default_payment_method": "off"},
            "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        }  # fmt: skip
    if version >= BASIL:
        shown |= {
            "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
            "billing_cycle_anchor_config": None, "discounts": [],
            "billing_mode": {"flexible": {"proration_discounts": "included"},
                             "type": "flexible", "updated_at": one.begun},
            "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        }  # fmt: skip
    return shown | (nulls("customer_account") if version >= DAHLIA else {})


def _item(version: str, one: Sub) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": ITEM, "object": "subscription_item", "created": one.begun, "metadata": {},
        "plan": plan(version, one.price), "quantity": 1, "subscription": SUBSCRIPTION,
    }  # fmt: skip
    if version > OLDEST:
        shown |= {"billing_thresholds": None, "price": price(version, one.price), "tax_rates": []}
    if version >= BASIL:
        shown |= {"current_period_start": one.start, "current_period_end": one.end,
                  "discounts": []}  # fmt: skip
    return shown


# Invoices ---------------------------------------------------------------------------------------


def invoice(version: str, one: Bill, *, listed: bool = False) -> dict[str, Any]:
    """`listed`: with its payments, which since 2025-03-31 come where they are asked for."""
    if version == OLDEST:
        return _oldest(one)
    is_paid, is_final = one.status == "paid", one.status != "draft"
    due = max(0, one.total)
    url = f"https://invoice.stripe.example/i/{one.id}" if is_final else None
    shown: dict[str, Any] = {
        "id": one.id, "object": "invoice", **SELLER, "amount_due": due,
        "amount_paid": due if is_paid else 0, "amount_remaining": 0 if is_paid else due,
        "attempt_count": one.attempts, "attempted": one.attempts > 0 or is_paid,
        "auto_advance": one.status in ("draft", "open"), "billing_reason": one.reason,
        "collection_method": "charge_automatically", "created": one.made, "currency": "usd",
        "customer": CUSTOMER, "customer_email": "rosa.lindqvist@harborsketch.example",
        "customer_tax_exempt": "none", "customer_tax_ids": [], "default_tax_rates": [],
        "discounts": [], "ending_balance": 0 if is_final else None, "hosted_invoice_url": url,
        "invoice_pdf": f"{url}/pdf" if url else None,
        "lines": {"object": "list", "data": _lines(version, one), "has_more": False,
                  "total_count": len(one.lines), "url": f"/v1/invoices/{one.id}/lines"},
        "livemode": False, "metadata": {}, "next_payment_attempt": one.retry,
        "number": one.number if is_final else None,
        "payment_settings": nulls("payment_method_options payment_method_types"),
        "period_start": one.start, "period_end": one.end, "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0, "starting_balance": 0, "status": one.status,
        "status_transitions": {"finalized_at": one.finalized, "marked_uncollectible_at": None,
                               "paid_at": one.paid, "voided_at": one.voided},
        "subtotal": one.total, "total": one.total, "total_discount_amounts": [],
        "webhooks_delivered_at": one.made,
        **nulls("account_tax_ids custom_fields customer_address customer_name customer_phone"
                " customer_shipping default_payment_method default_source description due_date"
                " footer last_finalization_error on_behalf_of receipt_number"
                " statement_descriptor"),
    }  # fmt: skip
    if version >= MIDDLE:
        shown |= {
            "automatic_tax": {"enabled": False, "status": None},
            "subtotal_excluding_tax": one.total, "total_excluding_tax": one.total,
            "payment_settings": nulls("default_mandate payment_method_options"
                                      " payment_method_types"),
            **nulls("application from_invoice latest_revision test_clock"),
        }  # fmt: skip
    return shown | (_since_basil(one, listed, due) if version >= BASIL else _before(version, one))


def _before(version: str, one: Bill) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "charge": one.charge, "paid": one.status == "paid", "payment_intent": one.intent,
        "subscription": SUBSCRIPTION, "total_tax_amounts": [],
        **nulls("application_fee_amount discount tax transfer_data"),
    }  # fmt: skip
    if version >= MIDDLE:
        shown |= {"paid_out_of_band": False, "quote": None, "rendering_options": None}
    return shown


def _since_basil(one: Bill, listed: bool, due: int) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "amount_overpaid": 0, "amount_shipping": 0, "automatically_finalizes_at": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None,
                          "provider": None, "status": None},
        "effective_at": one.finalized, "issuer": {"type": "self"},
        "parent": {"quote_details": None, "type": "subscription_details",
                   "subscription_details": {"metadata": {}, "subscription": SUBSCRIPTION}},
        "rendering": None, "shipping_cost": None, "shipping_details": None,
        "total_pretax_credit_amounts": [], "total_taxes": [],
    }  # fmt: skip
    if listed:
        shown["payments"] = {"object": "list", "data": _payments(one, due), "has_more": False,
                             "url": "/v1/invoices/payments"}  # fmt: skip
    return shown


def _payments(one: Bill, due: int) -> list[dict[str, Any]]:
    if one.intent is None:
        return []
    status = {"paid": "paid", "void": "canceled"}.get(one.status, "open")
    return [{
        "id": f"inpay_{one.id[3:]}", "object": "invoice_payment",
        "amount_paid": due if status == "paid" else None, "amount_requested": due,
        "created": one.finalized, "currency": "usd", "invoice": one.id, "is_default": True,
        "livemode": False, "payment": {"payment_intent": one.intent, "type": "payment_intent"},
        "status": status, "status_transitions": {"canceled_at": one.voided, "paid_at": one.paid},
    }]  # fmt: skip


def _oldest(one: Bill) -> dict[str, Any]:
    """Before an invoice had a status: whether it was paid, and whether it is tried any more."""
    is_paid = one.status == "paid"
    return {
        "id": one.id, "object": "invoice", "amount_due": max(0, one.total),
        "attempt_count": one.attempts, "attempted": one.attempts > 0 or is_paid,
        "billing": "charge_automatically", "charge": one.charge,
        "closed": one.closed or is_paid or one.status == "void", "currency": "usd",
        "customer": CUSTOMER, "date": one.made,
        "ending_balance": None if one.status == "draft" else 0,
        "forgiven": one.status == "void",
        "lines": {"object": "list", "data": _lines(OLDEST, one), "has_more": False,
                  "total_count": len(one.lines), "url": f"/v1/invoices/{one.id}/lines"},
        "livemode": False, "metadata": {}, "next_payment_attempt": one.retry,
        "number": one.number, "paid": is_paid, "period_start": one.start, "period_end": one.end,
        "starting_balance": 0, "subscription": SUBSCRIPTION, "subtotal": one.total,
        "total": one.total, "webhooks_delivered_at": one.made,
        **nulls("application_fee description discount due_date receipt_number"
                " statement_descriptor tax tax_percent"),
    }  # fmt: skip


def _lines(version: str, one: Bill) -> list[dict[str, Any]]:
    make = _new_line if version >= BASIL else _old_line
    return [make(version, one, at, line) for at, line in enumerate(one.lines)]


def _line(one: Line) -> dict[str, Any]:
    return {
        "object": "line_item", "amount": one.amount, "currency": "usd", "description": one.text,
        "discountable": not one.proration, "livemode": False, "metadata": {},
        "period": {"start": one.start, "end": one.end}, "quantity": 1,
    }  # fmt: skip


def _old_line(version: str, bill: Bill, at: int, one: Line) -> dict[str, Any]:
    shown = _line(one) | {
        "id": f"il_{bill.id[3:]}{at}", "plan": plan(version, one.price),
        "proration": one.proration, "subscription": SUBSCRIPTION, "subscription_item": ITEM,
        "type": "invoiceitem" if one.proration else "subscription",
    }  # fmt: skip
    if one.proration:
        shown["invoice_item"] = f"ii_{bill.id[3:]}{at}"
    if version == OLDEST:  # A line was called as what it bills.
        if one.proration:
            return shown | {"id": shown.pop("invoice_item")}
        return shown | {"id": SUBSCRIPTION, "subscription": None}
    shown |= {"discount_amounts": [], "discounts": [], "price": price(version, one.price),
              "tax_amounts": [], "tax_rates": []}  # fmt: skip
    if version >= MIDDLE:
        shown |= {"amount_excluding_tax": one.amount, "proration_details": {"credited_items": None},
                  "unit_amount_excluding_tax": str(one.amount)}  # fmt: skip
    return shown


def _new_line(version: str, bill: Bill, at: int, one: Line) -> dict[str, Any]:
    own = f"ii_{bill.id[3:]}{at}" if one.proration else None
    shown = _line(one) | {
        "id": f"il_{bill.id[3:]}{at}", "discount_amounts": [], "discounts": [],
        "invoice": bill.id,
        "parent": {"invoice_item_details": None, "type": "subscription_item_details",
                   "subscription_item_details": {
                       "invoice_item": own, "proration": one.proration,
                       "proration_details": {"credited_items": None},
                       "subscription": SUBSCRIPTION, "subscription_item": ITEM}},
        "pretax_credit_amounts": [], "taxes": [],
        "pricing": {"price_details": {"price": one.price.id, "product": one.price.product},
                    "type": "price_details",
                    "unit_amount_decimal": None if one.proration else str(one.amount)},
    }  # fmt: skip
    if version >= DAHLIA:
        shown |= {"quantity_decimal": "1", "subtotal": one.amount}
    return shown


# Payments ---------------------------------------------------------------------------------------


def charge(version: str, bill: Bill, ref: str) -> dict[str, Any]:
    is_paid = ref == bill.charge
    shown: dict[str, Any] = {
        "id": ref, "object": "charge", "amount": bill.total, "amount_refunded": 0,
        "balance_transaction": f"txn_{ref[3:]}" if is_paid else None, "captured": is_paid,
        "created": bill.paid if is_paid else bill.finalized, "currency": "usd",
        "customer": CUSTOMER, "disputed": False, "livemode": False, "metadata": {},
        "outcome": {"network_status": "approved_by_network" if is_paid else "declined_by_network",
                    "reason": None if is_paid else "insufficient_funds", "risk_level": "normal",
                    "seller_message": "Said by the bank.",
                    "type": "authorized" if is_paid else "issuer_declined"},
        "failure_code": None if is_paid else "card_declined",
        "failure_message": None if is_paid else "Your card has insufficient funds.",
        "paid": is_paid, "payment_intent": bill.intent, "payment_method": METHOD,
        "payment_method_details": {"type": "card", "card": {
            "brand": "visa", "country": "NL", "exp_month": 8, "exp_year": 2031,
            "funding": "credit", "last4": "4242", "network": "visa"}},
        "refunded": False, "status": "succeeded" if is_paid else "failed",
    }  # fmt: skip
    return shown | ({"invoice": bill.id} if version < BASIL else {})


def intent(version: str, bill: Bill, *, expanded: bool) -> dict[str, Any]:
    """Its charges in a list before 2022-11-15, the latest alone since."""
    is_paid = bill.status == "paid"
    tried = [charge(version, bill, one) for one in reversed(bill.tried)]
    status = {"paid": "succeeded", "void": "canceled"}.get(bill.status, "requires_payment_method")
    shown: dict[str, Any] = {
        "id": bill.intent, "object": "payment_intent", "amount": bill.total,
        "amount_capturable": 0, "amount_received": bill.total if is_paid else 0,
        "capture_method": "automatic", "confirmation_method": "automatic",
        "created": bill.finalized, "currency": "usd", "customer": CUSTOMER, "livemode": False,
        "description": "Subscription update", "metadata": {}, "payment_method": METHOD,
        "payment_method_types": ["card"], "setup_future_usage": "off_session", "status": status,
        "last_payment_error": None if is_paid or not bill.tried else {
            "charge": bill.tried[-1], "code": "card_declined",
            "decline_code": "insufficient_funds", "type": "card_error",
            "message": "Your card has insufficient funds."},
        **nulls("application application_fee_amount canceled_at cancellation_reason next_action"
                " on_behalf_of receipt_email review shipping source statement_descriptor"
                " transfer_data transfer_group"),
    }  # fmt: skip
    if version < BASIL:
        shown["invoice"] = bill.id
    if version < "2022-11-15":
        url = f"/v1/charges?payment_intent={bill.intent}"
        return shown | {"charges": {"object": "list", "data": tried, "has_more": False,
                                    "total_count": len(tried), "url": url}}  # fmt: skip
    latest = tried[0] if tried else None
    return shown | {"latest_charge": latest if expanded or latest is None else latest["id"]}
