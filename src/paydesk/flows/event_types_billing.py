"""Types of events of subscriptions and invoices: (description, subject, an example of its data)."""

from __future__ import annotations

from typing import Any

_PAYMENT_ID = "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a8d"
_INVOICE = {
    "status": "open", "reason": "subscription_cycle", "total": 1999, "due": 1999,
    "currency": "usd", "subscription_id": "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a90", "number": None,
}
_SUBSCRIPTION = {
    "plan": "pro", "status": "active", "quantity": 1, "amount": 1999, "currency": "usd",
    "period_start": "2026-01-31T00:00:00+00:00", "period_end": "2026-02-28T00:00:00+00:00",
}

#: As `event_types.TYPES`, which has them too.
BILLING: dict[str, tuple[str, str, dict[str, Any]]] = {
    "invoice.created": (
        "A draft of an invoice was made.", "invoice", {**_INVOICE, "status": "draft"}
    ),
    "invoice.finalized": (
        "An invoice was fixed: it is open, or paid at once. `balance` is what the customer's"
        " balance paid of it, or got.",
        "invoice", {**_INVOICE, "balance": 0},
    ),
    "invoice.paid": (
        "An invoice was paid, by a payment or by the customer's balance, or credit notes left"
        " nothing due. `paid` is what the payment brought, `balance` what the customer's balance"
        " paid, `credited` what credit notes took off before.",
        "invoice",
        {**_INVOICE, "status": "paid", "paid": 1999, "balance": 0, "credited": 0,
         "payment_id": _PAYMENT_ID},
    ),
    "invoice.payment_failed": (
        "A try to charge an invoice failed.", "invoice",
        {**_INVOICE, "error_code": "insufficient_funds", "advice": "try_again_later",
         "payment_id": _PAYMENT_ID, "attempts": 1},
    ),
    "invoice.voided": (
        "An invoice asks for nothing any more.", "invoice", {**_INVOICE, "status": "void"}
    ),
    "invoice.marked_uncollectible": (
        "An invoice was given up; it may still be paid.", "invoice",
        {**_INVOICE, "status": "uncollectible"},
    ),
    "credit_note.created": (
        "Something was given back of a finalized invoice.", "credit_note",
        {"invoice_id": "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a91", "amount": 500, "refunded": 500,
         "balance": 0, "written_off": 0, "currency": "usd", "reason": "requested_by_customer"},
    ),
    "credit_note.voided": (
        "A credit note was taken back, because its refund came to nothing.", "credit_note",
        {"invoice_id": "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a91", "amount": 500, "currency": "usd"},
    ),
    "invoice.reminder": (
        "Somebody was to be reminded of an open invoice, for the `number`-th time.",
        "invoice",
        {**_INVOICE, "reminder": 1},
    ),
    "subscription.created": (
        "A customer subscribed; `status` is incomplete until the first payment came, trialing in"
        " a trial.",
        "subscription",
        {**_SUBSCRIPTION, "status": "incomplete"},
    ),
    "subscription.activated": (
        "The first payment came: it runs.",
        "subscription",
        {**_SUBSCRIPTION, "was": "incomplete"},
    ),
    "subscription.renewed": (
        "Another period was paid for; `invoice` is its.",
        "subscription",
        {**_SUBSCRIPTION, "invoice": "inv_0344QCT8RQJ5T9R7VHA8PSE1H4"},
    ),
    "subscription.updated": (
        "The plan, the seats, or what will happen at the period's end changed; `changed` names it.",
        "subscription",
        {**_SUBSCRIPTION, "changed": ["plan"], "was": "pro"},
    ),
    "subscription.past_due": (
        "A period could not be charged for; `retry_at` says when it is tried again, `final_at`"
        " until when another method is waited for.",
        "subscription",
        {**_SUBSCRIPTION, "status": "past_due", "was": "active",
         "error_code": "insufficient_funds", "retry_at": "2026-02-01T00:00:00+00:00"},
    ),
    "subscription.recovered": (
        "Nothing is owed any more: it runs as before.",
        "subscription",
        {**_SUBSCRIPTION, "was": "past_due"},
    ),
    "subscription.unpaid": (
        "No try to charge succeeded: it stands still until its invoice is paid.",
        "subscription",
        {**_SUBSCRIPTION, "status": "unpaid", "was": "past_due"},
    ),
    "subscription.paused": (
        "Its time stands still, and with it what it opens.",
        "subscription",
        {**_SUBSCRIPTION, "status": "paused", "was": "active"},
    ),
    "subscription.resumed": (
        "Its time runs on; the period ends later by the pause.",
        "subscription",
        {**_SUBSCRIPTION, "was": "paused"},
    ),
    "subscription.trial_will_end": (
        "The trial ends in three days. `due` is what will be charged then as things stand.",
        "subscription",
        {**_SUBSCRIPTION, "status": "trialing", "trial_end": "2026-02-28T00:00:00+00:00",
         "total": 1999, "due": 1999, "has_method": True},
    ),
    "subscription.renewal_upcoming": (
        "A period of three months or longer is renewed in so many days as the setting says. `due`"
        " is what will be charged as things stand, after the customer's balance.",
        "subscription",
        {**_SUBSCRIPTION, "total": 1999, "due": 1999, "has_method": True},
    ),
    "payment_method.expiring": (
        "A card will have expired when the subscription that it pays is renewed.",
        "method",
        {"brand": "visa", "last4": "4242", "exp_month": 1, "exp_year": 2026, "plan": "pro",
         "quantity": 1, "currency": "usd", "period_end": "2026-02-28T00:00:00+00:00",
         "subscription_id": "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a90"},
    ),
    "subscription.doubled": (
        "The provider runs another one beside one of the same family; `beside` is that.",
        "subscription",
        {**_SUBSCRIPTION, "beside": "sub_0344QCT8RQJ5T9R7VHA8PSE1H4"},
    ),
    "subscription.canceled": (
        "It is over, and so is what it opened; `reason` says why.",
        "subscription",
        {**_SUBSCRIPTION, "status": "canceled", "was": "active", "reason": "too_expensive"},
    ),
    "subscription.expired": (
        "The first payment never came.",
        "subscription",
        {**_SUBSCRIPTION, "status": "expired", "was": "incomplete", "reason": "not_paid"},
    ),
}  # fmt: skip
