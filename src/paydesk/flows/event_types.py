"""Every type of event: what it says and an example of its data."""

from __future__ import annotations

from typing import Any, NamedTuple


class EventType(NamedTuple):
    """`subject` is the kind of object that the event is about; `data` is an example."""

    description: str
    subject: str
    data: dict[str, Any]


_PAYMENT = {"amount": 899, "currency": "usd", "status": "succeeded", "credits": 150}
_TRANSFER = "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a8b"
_BATCH = "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a8c"
_CREDITS = {"amount": 12, "balance": 138, "transfer_id": _TRANSFER}

TYPES: dict[str, EventType] = {
    "customer.created": EventType(
        "A customer was made, by hand or on first use.",
        "customer",
        {"external_id": "user_123"},
    ),
    "customer.updated": EventType(
        "Something that describes a customer changed; `changed` names the fields.",
        "customer",
        {"changed": ["email"]},
    ),
    "checkout.created": EventType(
        "A checkout was opened and its payment is pending.",
        "checkout",
        {"payment": "pay_0344QCT8RQJ5T9R7VHA8PSE1H4", "amount": 899, "currency": "usd"},
    ),
    "checkout.completed": EventType(
        "A checkout was paid.",
        "checkout",
        {"payment": "pay_0344QCT8RQJ5T9R7VHA8PSE1H4", "amount": 899, "currency": "usd"},
    ),
    "checkout.expired": EventType(
        "A checkout can no longer be paid: the provider confirmed its end.",
        "checkout",
        {"payment": "pay_0344QCT8RQJ5T9R7VHA8PSE1H4"},
    ),
    "payment.created": EventType(
        "A payment was recorded as pending.", "payment", {**_PAYMENT, "status": "pending"}
    ),
    "payment.processing": EventType(
        "The provider is working on it; the money is not here yet.",
        "payment",
        {**_PAYMENT, "status": "processing"},
    ),
    "payment.requires_action": EventType(
        "The customer has something to do, such as 3-D Secure.",
        "payment",
        {**_PAYMENT, "status": "requires_action"},
    ),
    "payment.authorized": EventType(
        "The money is reserved and not captured.", "payment", {**_PAYMENT, "status": "authorized"}
    ),
    "payment.succeeded": EventType("The money was captured.", "payment", _PAYMENT),
    "payment.declined": EventType(
        "A try to pay was declined, and another is still possible; `error_code` is the provider's.",
        "payment",
        {**_PAYMENT, "status": "pending", "error_code": "insufficient_funds"},
    ),
    "payment.failed": EventType(
        "The payment ended without money; `error_code` is the provider's.",
        "payment",
        {**_PAYMENT, "status": "failed", "error_code": "card_declined"},
    ),
    "payment.expired": EventType(
        "Nobody paid in time.", "payment", {**_PAYMENT, "status": "expired"}
    ),
    "payment.canceled": EventType(
        "The payment was ended before any money moved.",
        "payment",
        {**_PAYMENT, "status": "canceled"},
    ),
    "payment.refunded": EventType(
        "All of the captured money went back.", "payment", {**_PAYMENT, "status": "refunded"}
    ),
    "payment.partially_refunded": EventType(
        "A part of the captured money went back.",
        "payment",
        {**_PAYMENT, "status": "partially_refunded", "refunded": 300},
    ),
    "payment.review": EventType(
        "Something about the payment needs a person's look; `review` says what.",
        "payment",
        {**_PAYMENT, "review": "amount_mismatch"},
    ),
    "fulfillment.done": EventType(
        "What was paid for was handed over; `path` says who did it.",
        "payment",
        {"purpose": "credits", "path": "webhook", "credits": 150},
    ),
    "fulfillment.blocked": EventType(
        "The money is recorded and its goods could not be handed over.",
        "payment",
        {"purpose": "credits", "path": "webhook", "error_code": "amount_mismatch"},
    ),
    "fulfillment.resolved": EventType(
        "A blocked or due handing over was settled by a person.",
        "payment",
        {"purpose": "credits", "action": "retry"},
    ),
    "credits.granted": EventType(
        "Credits were added; `repaid` of them went to a debt.",
        "transfer",
        {**_CREDITS, "amount": 150, "balance": 150, "kind": "purchased", "batch_id": _BATCH,
         "reason": "CREDIT_PURCHASE", "expires_at": "2027-01-15T12:00:00+00:00", "repaid": 0,
         "over_limit": False, "payment_id": "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a8d"},
    ),
    "credits.spent": EventType(
        "Credits were used; `reason` is the caller's word.",
        "transfer",
        {**_CREDITS, "reason": "render"},
    ),
    "credits.refunded": EventType(
        "Credits of a spend went back to their batches; `lapsed` ones had ended since.",
        "transfer",
        {**_CREDITS, "spend_id": _BATCH, "put_back": 12, "regranted": 0, "lapsed": 0, "repaid": 0},
    ),
    "credits.transferred": EventType(
        "Credits moved between two customers; `direction` is in or out, seen from this one.",
        "transfer",
        {**_CREDITS, "direction": "out", "from": "8c31403c-3a1d-8081-892f-1824d049df38",
         "to": "549a3f31-d2fc-817d-ae71-5e763e4b6e35"},
    ),
    "credits.expired": EventType(
        "Credits reached their expiry unused.",
        "transfer",
        {**_CREDITS, "batch_id": _BATCH, "expires_at": "2027-01-15T12:00:00+00:00"},
    ),
    "promo.applied": EventType(
        "A promo code was reserved for a checkout.",
        "promo",
        {"code": "WELCOME10", "product": "pack:creator"},
    ),
    "promo.released": EventType(
        "A reserved use of a promo code was given back.", "promo", {"code": "WELCOME10"}
    ),
}
