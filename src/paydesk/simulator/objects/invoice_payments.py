"""What pays an invoice: its own intent, intents that are attached to it, records of other ways."""

from __future__ import annotations

from typing import Any

from .. import errors, ids
from ..engine import Call
from ..errors import StripeError
from . import confirmation


def make(
    call: Call, invoice: dict[str, Any], by: dict[str, Any], amount: int, *,
    is_default: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What ties an invoice to what pays so much of it, open and saved."""
    return call.save({
        "id": ids.new("invoice_payment"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": amount,
        "created": call.now,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": is_default,
        "livemode": False,
        "payment": by,
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    })


def of(call: Call, invoice: dict[str, Any]) -> list[dict[str, Any]]:
    return [call.find("invoice_payment", one, "invoice_payment") for one in invoice["_payments"]]


def close(call: Call, payment: dict[str, Any]) -> None:
    """It brought what was asked of it."""
    payment |= {
        "status": "paid", "amount_paid": payment["amount_requested"],
        "status_transitions": {"canceled_at": None, "paid_at": call.now},
    }
    call.save(payment)
    call.emit("invoice_payment.paid", payment)


def let_go(call: Call, invoice: dict[str, Any], reason: str) -> None:
    """Cancel the intent of an invoice that is not to be paid by it."""
    intent = call.tx.get(invoice["_intent"] or "", "payment_intent")
    if intent is not None and intent["status"] not in ("succeeded", "canceled"):
        confirmation.cancel(call, intent, reason)
    for payment in of(call, invoice):
        if payment["status"] == "open":
            payment |= {
                "status": "canceled",
                "status_transitions": {"canceled_at": call.now, "paid_at": None},
            }
            call.save(payment)


def record(call: Call, invoice: dict[str, Any]) -> None:
    """Somebody has paid what is left in another way: nothing is charged."""
    rest = invoice["amount_remaining"]
    let_go(call, invoice, "void_invoice")
    by = {"payment_record": ids.new("payment_record"), "type": "payment_record"}
    payment = make(call, invoice, by, rest)
    invoice |= {
        "_out_of_band": True, "_off_stripe": rest, "amount_paid": invoice["amount_paid"] + rest,
        "amount_remaining": 0, "_payments": [*invoice["_payments"], payment["id"]],
    }


def attach(call: Call, invoice: dict[str, Any], intent: dict[str, Any]) -> None:
    """An intent that has taken money pays as much of the invoice as it brings; its own intent is
    asked for the rest."""
    if intent["status"] != "succeeded":
        raise errors.not_simulated("intents that have not succeeded", "payment_intent")
    if intent.get("_invoice") is not None or intent["currency"] != invoice["currency"]:
        raise StripeError(
            "This PaymentIntent cannot be attached to this invoice.", param="payment_intent"
        )
    part = min(intent["amount_received"], invoice["amount_remaining"])
    payment = make(call, invoice, {"payment_intent": intent["id"], "type": "payment_intent"}, part)
    call.save(intent | {"_invoice": invoice["id"]})
    invoice |= {
        "amount_paid": invoice["amount_paid"] + part,
        "amount_remaining": invoice["amount_remaining"] - part,
        "_payments": [*invoice["_payments"], payment["id"]],
    }
    close(call, payment)
    if not invoice["amount_remaining"]:
        let_go(call, invoice, "void_invoice")
        return
    own = call.tx.get(invoice["_intent"] or "", "payment_intent")
    if own is not None:
        call.save(own | {"amount": invoice["amount_remaining"]})
    for one in of(call, invoice):
        if one["is_default"] and one["status"] == "open":
            call.save(one | {"amount_requested": invoice["amount_remaining"]})
