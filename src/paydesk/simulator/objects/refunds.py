"""Refunds, full and partial, and the release of authorizations that is written as one."""

from __future__ import annotations

from typing import Any

from .. import errors, ids, money, shapes
from ..engine import Call, operation
from ..errors import StripeError
from . import charges, listing, payment_methods

#: Seconds until a refund that stays pending, or that fails later, changes by itself.
PENDING_S = 5


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


@operation("POST /v1/refunds")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    charge = _charge(call, params)
    if charge["refunded"]:
        raise StripeError(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    left = charge["amount_captured"] - _given_back(call, charge)
    amount = params.get("amount", left)
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
        call, charge, amount, reason=params.get("reason"),
        metadata=listing.merged_metadata({}, params.get("metadata")),
        status="pending" if card.refund == "pending" else "succeeded",
    )
    if card.refund != "succeeded":
        refund["_outcome"] = "succeeded" if card.refund == "pending" else "failed"
        call.save(refund, due_at=call.now + PENDING_S)
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


def _given_back(call: Call, charge: dict[str, Any]) -> int:
    """What was refunded of the captured amount; released parts of an authorization aside."""
    found = call.tx.scan("refund", link=("charge", charge["id"]))
    return sum(r["amount"] for r in found if r["balance_transaction"] and r["status"] != "failed")


def finish_pending(call: Call, refund: dict[str, Any]) -> None:
    """The bank's late word on a refund: it succeeded, or it failed and the money is back."""
    before = dict(refund)
    outcome = refund.pop("_outcome")
    refund["status"] = outcome
    refund.pop("pending_reason", None)
    if outcome == "failed":
        refund["failure_reason"] = "expired_or_canceled_card"
        refund["failure_balance_transaction"] = charges.book(
            call, "refund_failure", refund["amount"], refund["currency"], refund["id"]
        )["id"]
        charge = call.find("charge", refund["charge"], "charge")
        charge["amount_refunded"] -= refund["amount"]
        charge["refunded"] = False
        call.save(charge)
    call.save(refund)
    call.emit("refund.updated", refund, listing.changed(before, refund))
    if outcome == "failed":
        call.emit("refund.failed", refund)


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
        call.emit("refund.updated", refund, previous)
    return refund


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
