"""Every type of event: what it says and an example of its data."""

from __future__ import annotations

from typing import Any, NamedTuple

from paydesk.flows.event_types_billing import BILLING


class EventType(NamedTuple):
    """`subject` is the kind of object that the event is about; `data` is an example."""

    description: str
    subject: str
    data: dict[str, Any]


_PAYMENT = {"amount": 899, "currency": "usd", "status": "succeeded", "credits": 150}
_TRANSFER = "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a8b"
_BATCH = "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a8c"
_CREDITS = {"amount": 12, "balance": 138, "transfer_id": _TRANSFER}
_PAYMENT_ID = "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a8d"
_WALLET = {"amount": 5000, "currency": "htg", "balance": 12500, "transfer_id": _TRANSFER}
_WITHDRAWAL = {"amount": 5000, "currency": "htg", "status": "requested", "destination": "MonCash"}
_DISPUTE = {"payment_id": _PAYMENT_ID, "amount": 899, "currency": "usd",
            "status": "needs_response", "reason": "fraudulent",
            "due_at": "2026-01-29T23:59:59+00:00"}
_REFUND = {
    "payment_id": _PAYMENT_ID, "amount": 300, "currency": "usd", "status": "pending",
    "origin": "desk", "reason": "requested_by_customer", "loss": 0,
}
_HOLD = {"amount": 50, "asset": "CREDIT"}
_REFILL = {
    "what": "credits", "status": "active", "threshold": 50, "pack": "creator", "credits": None,
    "amount": None, "currency": None,
}

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
    "payment.refund_reversed": EventType(
        "A refund failed and its money is here again; `status` is what the payment is now.",
        "payment",
        {**_PAYMENT, "refunded": 0},
    ),
    "refund.requested": EventType(
        "Somebody asked for a refund, and another person has to decide.",
        "refund",
        {**_REFUND, "status": "requested"},
    ),
    "refund.rejected": EventType(
        "Another person refused a refund that was asked for.",
        "refund",
        {**_REFUND, "status": "rejected", "by": "rosa@example.com"},
    ),
    "refund.canceled": EventType(
        "Whoever asked for a refund took that back, or all of the payment went back otherwise.",
        "refund",
        {**_REFUND, "status": "canceled"},
    ),
    "refund.created": EventType(
        "Money is on its way back; `origin` is provider where it was begun there. `loss` is what"
        " no captured money covers.",
        "refund",
        _REFUND,
    ),
    "refund.succeeded": EventType(
        "The money went back.", "refund", {**_REFUND, "status": "succeeded"}
    ),
    "refund.failed": EventType(
        "The money could not go back or came again: goods and books stand as before.",
        "refund",
        {**_REFUND, "status": "failed", "error_code": "expired_or_canceled_card"},
    ),
    "credits.clawed_back": EventType(
        "Credits of a payment were taken back; `owed` ones were used already, `forgiven` ones too,"
        " `expired` ones had ended unused.",
        "payment",
        {**_CREDITS, "amount": 102, "owed": 0, "forgiven": 0, "expired": 0, "cause": "refund",
         "cause_id": "re_0344QCT8RQJ5T9R7VHA8PSE1H4"},
    ),
    "credits.reinstated": EventType(
        "Credits that were taken back came again; `canceled` ones of a debt were struck out.",
        "payment",
        {**_CREDITS, "amount": 102, "canceled": 0, "lapsed": 0, "cause": "refund",
         "cause_id": "re_0344QCT8RQJ5T9R7VHA8PSE1H4"},
    ),
    "payment.updated": EventType(
        "A person changed what describes a payment; `changed` names the fields.",
        "payment",
        {**_PAYMENT, "changed": ["description"]},
    ),
    "payment.deleted": EventType(
        "A payment for which no money came was hidden; its record stays.",
        "payment",
        {**_PAYMENT, "status": "canceled"},
    ),
    "payment.restored": EventType(
        "A hidden payment is shown again.", "payment", {**_PAYMENT, "status": "canceled"}
    ),
    "payment_method.added": EventType(
        "A way to pay was saved.", "method", {"kind": "card", "brand": "visa", "last4": "4242"}
    ),
    "payment_method.updated": EventType(
        "A saved way to pay changed, such as a card's date.",
        "method",
        {"kind": "card", "brand": "visa", "last4": "4242"},
    ),
    "payment_method.default": EventType(
        "This is used from now on where nothing else is said.", "method", {}
    ),
    "payment_method.removed": EventType("A saved way to pay was taken away.", "method", {}),
    "setup.succeeded": EventType(
        "A way to pay was saved by its owner.",
        "setup",
        {"method": "pm_0344QCT8RQJ5T9R7VHA8PSE1H4"},
    ),
    "setup.failed": EventType(
        "A way to pay could not be saved; `error_code` is the provider's.",
        "setup",
        {"error_code": "card_declined"},
    ),
    "setup.canceled": EventType("Nobody finished saving a way to pay.", "setup", {}),
    "payment.review": EventType(
        "Something about the payment needs a person's look; `review` says what.",
        "payment",
        {**_PAYMENT, "review": "amount_mismatch"},
    ),
    "payment.imported": EventType(
        "A payment of an older system was brought over; `from` names its table.",
        "payment",
        {**_PAYMENT, "from": "credits.payment_transactions"},
    ),
    "payment.reference_given": EventType(
        "The payer told under which number an agent or a bank has the money.",
        "payment",
        {"reference": "NC-20451877"},
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
    "refill.set": EventType(
        "A refill was set: a method is charged when the balance falls below `threshold`.",
        "refill", _REFILL,
    ),
    "refill.off": EventType(
        "A refill was turned off.", "refill", {**_REFILL, "status": "off"}
    ),
    "refill.succeeded": EventType(
        "A refill was paid and is there; `paid` is what it cost, `balance` what there is now.",
        "refill",
        {**_REFILL, "payment_id": _PAYMENT_ID, "paid": 899, "paid_currency": "usd",
         "balance": 162},
    ),
    "refill.failed": EventType(
        "A refill could not be bought; `retry_at` says when it is tried again, `failures` how often"
        " it failed in a row.",
        "refill",
        {**_REFILL, "payment_id": _PAYMENT_ID, "error_code": "insufficient_funds", "failures": 1,
         "retry_at": "2026-02-01T00:00:00+00:00"},
    ),
    "refill.paused": EventType(
        "A refill waits: for a new method (`reason` payment_method), or to be set again (failures,"
        " stopped).",
        "refill",
        {**_REFILL, "status": "paused", "reason": "payment_method", "error_code": "expired_card",
         "failures": 1},
    ),
    "payment.reminder": EventType(
        "Somebody was to be reminded of a payment that waits for him, for the `number`-th time.",
        "payment",
        {**_PAYMENT, "status": "pending", "number": 1},
    ),
    "purchase.completed": EventType(
        "An item was bought and is the customer's; `restored`: it was taken back and is again.",
        "purchase",
        {"item": "python", "quantity": 1, "payment_id": _BATCH},
    ),
    "purchase.refunded": EventType(
        "An item was taken back with its money; `cause` is refund or dispute.",
        "purchase",
        {"item": "python", "quantity": 1, "payment_id": _BATCH, "cause": "refund"},
    ),
    "service.activated": EventType(
        "A service was paid and runs until `expires_at`; `restored`: it runs again.",
        "service",
        {"service_type": "premium_membership", "expires_at": "2027-01-15T12:00:00+00:00",
         "payment_id": _BATCH},
    ),
    "service.ended": EventType(
        "A service ended; `reason` is expired, refund or dispute.",
        "service",
        {"service_type": "premium_membership", "expires_at": "2027-01-15T12:00:00+00:00",
         "payment_id": _BATCH, "reason": "expired"},
    ),
    "access.granted": EventType(
        "A customer was given access; `source` is the id of what gave it, and without"
        " `expires_at` it is for ever. `reinstated`: it was revoked and holds again.",
        "access",
        {"resource": "course:python", "source": "pur_0344QCT8RQJ5T9R7VHA8PSE1H4",
         "expires_at": "2027-01-15T12:00:00+00:00"},
    ),
    "access.moved": EventType(
        "Days that were bought lie elsewhere now: what they follow was taken away, or was given"
        " back.",
        "access",
        {"resource": "course:python", "source": "pur_0344QCT8RQJ5T9R7VHA8PSE1H4",
         "starts_at": "2026-12-15T12:00:00+00:00", "expires_at": "2027-01-15T12:00:00+00:00"},
    ),
    "access.revoked": EventType(
        "Access was taken away; `cause` is refund, dispute, cancellation, service or admin.",
        "access",
        {"resource": "course:python", "source": "pur_0344QCT8RQJ5T9R7VHA8PSE1H4",
         "cause": "refund"},
    ),
    "access.expired": EventType(
        "Access reached its end, and nothing else gives it.",
        "access",
        {"resource": "course:python", "source": "pur_0344QCT8RQJ5T9R7VHA8PSE1H4",
         "expires_at": "2027-01-15T12:00:00+00:00"},
    ),
    "risk.review_needed": EventType(
        "A payment looks odd and waits for a person; `rules` names why.",
        "assessment",
        {"payment_id": "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a8d", "score": 55,
         "rules": ["failed_attempts"]},
    ),
    "risk.blocked": EventType(
        "A payment was refused by the rules or by a list.",
        "assessment",
        {"payment_id": "019dfb2e-5f50-8d3c-a1b2-3c4d5e6f7a8d", "score": 100,
         "rules": ["block_list"]},
    ),
    "risk.reviewed": EventType(
        "A person accepted or refused what looked odd.", "assessment", {"verdict": "accepted"}
    ),
    "promo.applied": EventType(
        "A promo code was reserved for a checkout.",
        "promo",
        {"code": "WELCOME10", "product": "pack:creator"},
    ),
    "promo.released": EventType(
        "A reserved use of a promo code was given back.", "promo", {"code": "WELCOME10"}
    ),
    "wallet.created": EventType(
        "A wallet was made, by hand or when money of its currency first came.",
        "wallet",
        {"currency": "htg"},
    ),
    "wallet.deposited": EventType(
        "Money that was paid came into a wallet; `repaid` of it went to a debt.",
        "wallet",
        {**_WALLET, "repaid": 0, "payment_id": _PAYMENT_ID},
    ),
    "wallet.paid": EventType(
        "A payment was made from a wallet.", "wallet", {**_WALLET, "payment_id": _PAYMENT_ID}
    ),
    "wallet.refunded": EventType(
        "A payment made from a wallet was refunded into it.",
        "wallet",
        {**_WALLET, "repaid": 0, "payment_id": _PAYMENT_ID},
    ),
    "wallet.taken_back": EventType(
        "A top-up went back: `taken` from the wallet, `owed` as a debt, `forgiven` as our loss.",
        "wallet",
        {"amount": 5000, "currency": "htg", "balance": 0, "taken": 4000, "owed": 1000,
         "forgiven": 0, "payment_id": _PAYMENT_ID, "cause": "refund"},
    ),
    "wallet.given_back": EventType(
        "Money that was taken back came again: the refund failed or the dispute was won.",
        "wallet",
        {**_WALLET, "repaid": 1000, "payment_id": _PAYMENT_ID, "cause": "dispute"},
    ),
    "wallet.transferred": EventType(
        "Money moved between two customers' wallets; `direction` is in or out, seen from this one.",
        "wallet",
        {**_WALLET, "direction": "out", "from": "8c31403c-3a1d-8081-892f-1824d049df38",
         "to": "549a3f31-d2fc-817d-ae71-5e763e4b6e35"},
    ),
    "wallet.converted": EventType(
        "Money of one wallet became money of another at a stored rate.",
        "conversion",
        {"from_amount": 10000, "from_currency": "usd", "to_amount": 1309500, "to_currency": "htg",
         "rate": "130.95", "margin": 0, "margin_bps": 0, "rounding": 0},
    ),
    "wallet.frozen": EventType(
        "Staff froze a wallet.", "wallet", {"currency": "htg", "state": "frozen", "reason": None}
    ),
    "wallet.opened": EventType(
        "Staff opened a frozen or closed wallet again.",
        "wallet",
        {"currency": "htg", "state": "open", "reason": None},
    ),
    "wallet.closed": EventType(
        "Staff closed an empty wallet.",
        "wallet",
        {"currency": "htg", "state": "closed", "reason": None},
    ),
    "withdrawal.requested": EventType(
        "Money of a wallet was set aside to be paid out, or for the customer `to`.", "withdrawal",
        _WITHDRAWAL,
    ),
    "withdrawal.approved": EventType(
        "A withdrawal may be paid out; `by` says who decided.",
        "withdrawal",
        {**_WITHDRAWAL, "status": "approved", "by": "usr_0344QCT8RQJ5T9R7VHA8PSE1H4"},
    ),
    "withdrawal.rejected": EventType(
        "A withdrawal was refused and its money is back in the wallet.",
        "withdrawal",
        {**_WITHDRAWAL, "status": "rejected", "by": "usr_0344QCT8RQJ5T9R7VHA8PSE1H4"},
    ),
    "withdrawal.canceled": EventType(
        "A withdrawal was taken back before it was paid; its money is in the wallet again.",
        "withdrawal",
        {**_WITHDRAWAL, "status": "canceled"},
    ),
    "withdrawal.paid": EventType(
        "A withdrawal was paid out; `reference` is the paying side's. A transfer that waited was"
        " approved and moved: `to` and `by` say to whom and who decided.",
        "withdrawal",
        {**_WITHDRAWAL, "status": "paid", "reference": "MC-20260114-0042"},
    ),
    "hold.created": EventType(
        "Credits, or money of a wallet, were set aside.",
        "hold",
        {**_HOLD, "balance": 88, "expires_at": "2026-01-15T13:00:00+00:00", "reason": "chat"},
    ),
    "hold.captured": EventType(
        "A hold was used, all of it or a part; the rest was released, or is `left`.",
        "hold",
        {**_HOLD, "captured": 37, "released": 13, "lapsed": 0, "repaid": 0, "left": 0},
    ),
    "hold.released": EventType(
        "A hold ended unused; `lapsed` credits had reached their expiry meanwhile.",
        "hold",
        {**_HOLD, "captured": 0, "released": 50, "lapsed": 0, "repaid": 0, "left": 0},
    ),
    "hold.expired": EventType(
        "A hold's time ran out and it was released.",
        "hold",
        {**_HOLD, "captured": 0, "released": 50, "lapsed": 0, "repaid": 0, "left": 0},
    ),
    "credits.expiring": EventType(
        "Credits end within the days of PAYDESK_CREDITS_EXPIRING_DAYS; told once for each day.",
        "customer",
        {"amount": 40, "expires_on": "2027-01-15"},
    ),
    "webhook_endpoint.disabled": EventType(
        "An endpoint gets nothing more: it answered 410 (`gone`) or failed for days (`failing`).",
        "endpoint",
        {"reason": "failing"},
    ),
    "dispute.warning": EventType(
        "A bank asks about a payment; no money has moved.",
        "dispute",
        {**_DISPUTE, "status": "warning"},
    ),
    "dispute.opened": EventType("A payment is disputed.", "dispute", _DISPUTE),
    "dispute.evidence_needed": EventType(
        "Evidence can be submitted until `due_at`.", "dispute", _DISPUTE
    ),
    "dispute.due_soon": EventType(
        "Evidence is due soon and nothing was submitted.", "dispute", _DISPUTE
    ),
    "dispute.withdrawn": EventType(
        "The provider took the money; `loss` of it no captured money covered.",
        "dispute",
        {**_DISPUTE, "withdrawn": 899, "loss": 0},
    ),
    "dispute.evidence_changed": EventType(
        "The draft of the evidence changed; `changed` names its fields.",
        "dispute",
        {**_DISPUTE, "changed": ["product_description"]},
    ),
    "dispute.submitted": EventType(
        "Evidence went to the bank; `by` is desk or provider.",
        "dispute",
        {**_DISPUTE, "status": "under_review", "by": "desk"},
    ),
    "dispute.accepted": EventType("Staff gave a dispute up.", "dispute", _DISPUTE),
    "dispute.reinstated": EventType(
        "The provider gave withdrawn money back.",
        "dispute",
        {**_DISPUTE, "status": "won", "reinstated": 899},
    ),
    "dispute.won": EventType(
        "The bank decided for us; the goods are the customer's again.",
        "dispute",
        {**_DISPUTE, "status": "won"},
    ),
    "dispute.lost": EventType(
        "The bank decided for the customer.", "dispute", {**_DISPUTE, "status": "lost"}
    ),
    "dispute.closed": EventType(
        "An inquiry ended without a dispute.", "dispute", {**_DISPUTE, "status": "closed"}
    ),
    "payment.reconciled": EventType(
        "Reconciliation recorded what the provider's books had and ours had not.",
        "payment",
        {**_PAYMENT, "drift": "status", "reconciliation": "rec_0344QCT8RQJ5T9R7VHA8PSE1H4"},
    ),
    **{name: EventType(*told) for name, told in BILLING.items()},
}
