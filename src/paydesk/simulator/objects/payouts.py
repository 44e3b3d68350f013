"""Payouts: what is available goes to the bank, and names the transactions it is made of."""

from __future__ import annotations

from typing import Any

from .. import ids, shapes
from ..engine import Call, operation
from . import charges, listing


def pay_out(call: Call, currency: str) -> dict[str, Any] | None:
    """Everything of a currency that is available and was not paid out; None where that is nothing.

    The account's schedule does this at Stripe; here a control does.
    """
    due = [
        item for item in call.tx.scan("balance_transaction")
        if item["currency"] == currency and item["available_on"] <= call.now
        and not item.get("_payout")
    ]
    amount = sum(item["net"] for item in due)
    if amount <= 0:
        return None
    payout = {
        **shapes.blank("payout"),
        "id": ids.new("payout"),
        "object": "payout",
        "amount": amount,
        "arrival_date": call.now,
        "automatic": True,
        "created": call.now,
        "currency": currency,
        "description": "STRIPE PAYOUT",
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "reconciliation_status": "completed",
        "source_type": "card",
        "status": "paid",
        "type": "bank_account",
    }
    own = charges.book(
        call, "payout", -amount, currency, payout["id"], description="STRIPE PAYOUT", at_once=True
    )
    payout["balance_transaction"] = own["id"]
    for item in (*due, own):
        call.save({**item, "_payout": payout["id"]})
    call.save(payout)
    for name in ("payout.created", "payout.paid", "payout.reconciliation_completed"):
        call.emit(name, payout)
    return payout


@operation("GET /v1/payouts/{payout}")
def retrieve(call: Call) -> dict[str, Any]:
    return call.find("payout", call.path["payout"], "payout")


@operation("GET /v1/payouts")
def list_all(call: Call) -> dict[str, Any]:
    params = call.params
    status = params.get("status")

    def keep(payout: dict[str, Any]) -> bool:
        arrived = listing.in_range(payout["arrival_date"], params.get("arrival_date"))
        return arrived and status in (None, payout["status"]) and not params.get("destination")

    return listing.page(call, "payout", "/v1/payouts", keep=keep)
