"""Refunds, full and partial, and the release of authorizations that is written as one."""

from __future__ import annotations

from typing import Any

from .. import errors, ids, money, shapes
from ..engine import Call, operation
from ..errors import StripeError
from . import charges, disputes, listing, payment_methods

#: Seconds until a refund that stays pending, or that fails later, changes by itself.
PENDING_S = 5
#: Seconds a customer has to say where the money of a refund shall go.
ANSWER_S = 30 * 86_400


def make(
    call: Call, charge: dict[str, Any], amount: int, *, reason: str | None = None,
    metadata: dict[str, str] | None = None, booked: bool = True, status: str = "succeeded",
) -> dict[str, Any]:
    """A refund of a charge, saved and announced; `booked` takes the money from the balance.

    The release of an authorization is a refund too, without a balance transaction.
    """
    refund: dict[str, Any] = {
        **shapes.blank("refund"),
        "id": ids.new("refund"),
        "object": "refund",
        "amount": amount,
        "charge": charge["id"],
        "created": call.now,
        "currency": charge["currency"],
        "destination_details": {
            "card": {"reference_status": "pending", "reference_type": "acquirer_reference_number",
                     "type": "refund" if booked else "reversal"},
            "type": "card",
        },
        "metadata": metadata or {},
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "status": status,
    }
    if status == "pending":
        refund["pending_reason"] = "processing"
    elif status == "requires_action":
        refund["next_action"] = _asked_by_mail(call, charge)
    if booked:
        refund["balance_transaction"] = charges.book(
            call, "refund", -amount, charge["currency"], refund["id"],
            description="REFUND FOR CHARGE",
        )["id"]
    before = dict(charge)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    call.save(charge)
    call.save(refund)
    call.emit("charge.refunded", charge, listing.changed(before, charge))
    call.emit("refund.created", refund)
    return refund


def _asked_by_mail(call: Call, charge: dict[str, Any]) -> dict[str, Any]:
    """The customer is asked by mail where the money shall go, and has some weeks to answer."""
    mail = charge["billing_details"]["email"] or charge["receipt_email"] or "buyer@example.com"
    return {
        "type": "display_details",
        "display_details": {
            "email_sent": {"email_sent_at": call.now, "email_sent_to": mail},
            "expires_at": call.now + ANSWER_S,
        },
    }


@operation("POST /v1/refunds")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    charge = _charge(call, params)
    return give_back(
        call, charge, params.get("amount"), reason=params.get("reason"),
        metadata=listing.merged_metadata({}, params.get("metadata")),
    )


def give_back(
    call: Call, charge: dict[str, Any], amount: int | None, *, reason: str | None = None,
    metadata: dict[str, str] | None = None, status: str | None = None,
) -> dict[str, Any]:
    """Refund a part of a charge, or with None all that is left; refuses more than that.

    `status` is what the refund starts with, where it is not for the card to say.
    """
    if charge["refunded"]:
        raise StripeError(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    disputed = disputes.amount_taken(call, charge)
    left = charge["amount_captured"] - charges.given_back(call, charge) - disputed
    if disputed and left <= 0:
        raise StripeError(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
        )
    amount = left if amount is None else amount
    if amount < 1:
        raise StripeError(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer", param="amount",
        )
    if amount > left:
        currency = charge["currency"]
        raise StripeError(
            f"Refund amount ({money.shown(amount, currency)}) is greater than unrefunded amount "
            f"on charge ({money.shown(left, currency)})",
            param="amount",
        )
    card = payment_methods.card_of(call.find("payment_method", charge["payment_method"], "x"))
    refund = make(
        call, charge, amount, reason=reason, metadata=metadata,
        status=status or ("pending" if card.refund == "pending" else "succeeded"),
    )
    if status is None and card.refund != "succeeded":
        refund["_outcome"] = "succeeded" if card.refund == "pending" else "failed"
        call.save(refund, due_at=call.now + PENDING_S)
    disputes.after_refund(call, charge)
    return refund


def _charge(call: Call, params: dict[str, Any]) -> dict[str, Any]:
    listing.refuse_unsimulated(
        params,
        {"origin": "customer balances", "reverse_transfer": "transfers",
         "refund_application_fee": "application fees"},
    )
    if params.get("charge"):
        charge = call.find("charge", params["charge"], "charge", 404)
        if params.get("payment_intent") not in (None, charge["payment_intent"]):
            raise StripeError("The charge does not belong to the PaymentIntent.", param="charge")
    elif params.get("payment_intent"):
        intent = call.find("payment_intent", params["payment_intent"], "payment_intent", 404)
        if intent["status"] == "requires_capture" or not intent["amount_received"]:
            raise StripeError(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            )
        charge = call.find("charge", intent["latest_charge"], "charge")
    else:
        raise errors.missing_param("charge")
    if not charge["paid"] or not charge["captured"]:
        raise StripeError(f"Charge {charge['id']} cannot be refunded: it was not captured.")
    return charge


def finish_pending(call: Call, refund: dict[str, Any]) -> None:
    """The bank's late word on a refund whose time has come."""
    finish(call, refund, refund["_outcome"])


def finish(
    call: Call, refund: dict[str, Any], outcome: str, reason: str = "expired_or_canceled_card"
) -> dict[str, Any]:
    """A refund succeeded, or it failed or was canceled and the money is back in the balance.

    A refund that succeeded may still fail: banks send money back days later.
    """
    allowed = ("pending", "requires_action", "succeeded")[: 2 if outcome == "succeeded" else 3]
    if refund["status"] not in allowed:
        raise StripeError(f"A refund that is {refund['status']} cannot become {outcome}.")
    before = dict(refund)
    refund["status"] = outcome
    for name in ("_outcome", "pending_reason", "next_action"):
        refund.pop(name, None)
    if outcome in charges.REFUND_OVER:
        refund["failure_reason"] = reason if outcome == "failed" else "merchant_request"
        refund["failure_balance_transaction"] = charges.book(
            call, "refund_failure", refund["amount"], refund["currency"], refund["id"],
            description="REFUND FAILURE",
        )["id"]
        charge = call.find("charge", refund["charge"], "charge")
        charge["amount_refunded"] -= refund["amount"]
        charge["refunded"] = False
        call.save(charge)
    call.save(refund)
    announce_change(call, refund, listing.changed(before, refund))
    if outcome == "failed":
        call.emit("refund.failed", refund)
    return refund


def announce_change(call: Call, refund: dict[str, Any], previous: dict[str, Any]) -> None:
    """The older and the newer name of the same news."""
    call.emit("charge.refund.updated", refund, previous)
    call.emit("refund.updated", refund, previous)


@operation("GET /v1/refunds/{refund}")
def retrieve(call: Call) -> dict[str, Any]:
    return call.find("refund", call.path["refund"], "id")


@operation("POST /v1/refunds/{refund}")
def update(call: Call) -> dict[str, Any]:
    refund = call.find("refund", call.path["refund"], "id")
    before = dict(refund)
    refund["metadata"] = listing.merged_metadata(refund["metadata"], call.params.get("metadata"))
    previous = listing.changed(before, refund)
    if previous:
        call.save(refund, due_at=call.now + PENDING_S if "_outcome" in refund else None)
        announce_change(call, refund, previous)
    return refund


@operation("POST /v1/refunds/{refund}/cancel")
def cancel(call: Call) -> dict[str, Any]:
    """Only a refund that waits for the customer's word can be called back."""
    refund = call.find("refund", call.path["refund"], "id")
    if refund["status"] != "requires_action":
        raise StripeError(
            f"The refund {refund['id']} cannot be canceled because it has a status of "
            f"{refund['status']}. Only a refund with a status of requires_action can be canceled."
        )
    return finish(call, refund, "canceled")


@operation("GET /v1/refunds")
def list_all(call: Call) -> dict[str, Any]:
    links = [(n, call.params[n]) for n in ("charge", "payment_intent") if call.params.get(n)]
    return listing.page(
        call, "refund", "/v1/refunds", link=links[0] if links else None,
        keep=lambda refund: all(refund[name] == value for name, value in links),
    )


@operation("GET /v1/charges/{charge}/refunds")
def list_of_charge(call: Call) -> dict[str, Any]:
    charge = call.find("charge", call.path["charge"], "charge")
    return listing.page(
        call, "refund", f"/v1/charges/{charge['id']}/refunds", link=("charge", charge["id"])
    )
