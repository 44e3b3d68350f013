"""Charges: what becomes of a card once an intent is confirmed, with fees and balance."""

from __future__ import annotations

from typing import Any

from .. import cards, ids, money, shapes
from ..cards import Decline
from ..engine import Call, operation
from ..errors import StripeError
from . import listing, payment_methods, search

#: A card authorization that nobody captures ends by itself.
AUTHORIZATION_S = 7 * 86_400
PAYOUT_DELAY_S = 2 * 86_400
#: States of a refund whose money came back to the balance.
REFUND_OVER = ("failed", "canceled")
RISK_SCORES = {"normal": 24, "elevated": 70, "highest": 92}


def make(
    call: Call,
    intent: dict[str, Any],
    method: dict[str, Any],
    *,
    captured: bool,
    decline: Decline | None = None,
    authenticated: bool = False,
) -> dict[str, Any]:
    """The charge of one attempt, successful or not, saved but not yet announced."""
    card = payment_methods.card_of(method)
    paid = decline is None
    charge = {
        **shapes.blank("charge"),
        "id": ids.new("charge"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if captured and paid else 0,
        "amount_refunded": 0,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "SANDBOX",
        "captured": captured and paid,
        "created": call.now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_code": decline.code if decline else None,
        "failure_message": decline.message if decline else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "outcome": _outcome(card, decline),
        "paid": paid,
        "payment_intent": intent["id"],
        "_invoice": intent.get("_invoice"),
        "payment_method": method["id"],
        "payment_method_details": {
            "card": _card_details(call, intent, method, captured, authenticated), "type": "card",
        },
        "receipt_email": intent["receipt_email"],
        "refunded": False,
        "shipping": intent["shipping"],
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": "succeeded" if paid else "failed",
        "transfer_group": intent["transfer_group"],
    }
    del charge["refunds"]
    return call.save(charge)


def _outcome(card: cards.TestCard, decline: Decline | None) -> dict[str, Any]:
    outcome = {
        "advice_code": None, "network_advice_code": None, "network_decline_code": None,
        "network_status": "approved_by_network", "reason": None, "risk_level": card.risk,
        "risk_score": RISK_SCORES[card.risk], "seller_message": "Payment complete.",
        "type": "authorized",
    }
    if decline is None:
        return outcome
    if decline.decline_code == "fraudulent":
        return outcome | {
            "network_status": "not_sent_to_network", "reason": "highest_risk_level",
            "seller_message": "Blocked as too risky.", "type": "blocked",
        }
    return outcome | {
        "advice_code": decline.advice, "network_advice_code": decline.network_advice,
        "network_status": "declined_by_network",
        "network_decline_code": "01", "reason": decline.decline_code,
        "seller_message": "The bank declined the payment.", "type": "issuer_declined",
    }


def _card_details(
    call: Call, intent: dict[str, Any], method: dict[str, Any], captured: bool, authenticated: bool
) -> dict[str, Any]:
    own = method["card"]
    details = {
        **shapes.blank("payment_method_details_card"),
        "amount_authorized": intent["amount"],
        "brand": own["brand"],
        "checks": {**own["checks"], "cvc_check": own["checks"]["cvc_check"] or None},
        "country": own["country"],
        "exp_month": own["exp_month"],
        "exp_year": own["exp_year"],
        "fingerprint": own["fingerprint"],
        "funding": own["funding"],
        "last4": own["last4"],
        "network": own["brand"],
        "regulated_status": own["regulated_status"],
        "wallet": own["wallet"],
    }
    if details["checks"]["cvc_check"] == "unchecked":
        details["checks"]["cvc_check"] = "pass"
    if authenticated:
        details["three_d_secure"] = {
            "authentication_flow": "challenge", "electronic_commerce_indicator": "05",
            "exemption_indicator": None, "result": "authenticated", "result_reason": None,
            "transaction_id": ids.token(24), "version": "2.2.0",
        }
    if not captured:
        details["capture_before"] = call.now + AUTHORIZATION_S
    return details


def settle(call: Call, charge: dict[str, Any]) -> None:
    """Book a captured charge in the balance: its transaction with the fee."""
    fee = money.fee_minor(charge["amount_captured"])
    transaction = book(
        call, "charge", charge["amount_captured"], charge["currency"], charge["id"], fee=fee,
        description=charge["description"],
        at_once=call.find("payment_method", charge["payment_method"], "x")["_card"]
        == "bypassPending",
    )
    charge["balance_transaction"] = transaction["id"]
    call.save(charge)


def given_back(call: Call, charge: dict[str, Any]) -> int:
    """What was refunded of the captured amount; released parts of an authorization aside."""
    found = call.tx.scan("refund", link=("charge", charge["id"]))
    return sum(
        refund["amount"] for refund in found
        if refund["balance_transaction"] and refund["status"] not in REFUND_OVER
    )


def settle_later(call: Call, charge_id: str) -> None:
    """An asynchronous capture: booked after the answer and announced by `charge.updated`."""

    def book_it() -> None:
        charge = call.find("charge", charge_id, "charge")
        settle(call, charge)
        call.emit("charge.updated", charge, {"balance_transaction": None})

    call.later(book_it)


def book(
    call: Call,
    type: str,
    amount: int,
    currency: str,
    source: str,
    *,
    fee: int = 0,
    fee_name: str = "Stripe processing fees",
    category: str | None = None,
    description: str | None = None,
    at_once: bool = False,
) -> dict[str, Any]:
    """A balance transaction; amounts in minor units, negative for money that goes back.

    `category` is its word in reports where that is not the type.
    """
    details = {
        "amount": fee, "application": None, "currency": currency,
        "description": fee_name, "type": "stripe_fee",
    }
    return call.save(
        {
            "id": ids.new("balance_transaction"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": call.now + (0 if at_once else PAYOUT_DELAY_S),
            "balance_type": "payments",
            "created": call.now,
            "currency": currency,
            "description": description,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [details] if fee else [],
            "net": amount - fee,
            "reporting_category": category or type,
            "source": source,
            "status": "pending",
            "type": type,
        }
    )


@operation("GET /v1/charges/{charge}")
def retrieve(call: Call) -> dict[str, Any]:
    return call.find("charge", call.path["charge"], "id")


@operation("POST /v1/charges/{charge}")
def update(call: Call) -> dict[str, Any]:
    charge = call.find("charge", call.path["charge"], "id")
    before, params = dict(charge), call.params
    if params.get("customer") and charge["customer"] not in (None, params["customer"]):
        raise StripeError("The charge already belongs to a customer.", param="customer")
    listing.assign(charge, params, ("customer", "description", "receipt_email", "transfer_group"))
    listing.assign(charge, params, ("fraud_details", "shipping"))
    charge["metadata"] = listing.merged_metadata(charge["metadata"], params.get("metadata"))
    previous = listing.changed(before, charge)
    if previous:
        call.save(charge)
        call.emit("charge.updated", charge, previous)
    return charge


@operation("GET /v1/charges")
def list_all(call: Call) -> dict[str, Any]:
    params = call.params
    names = ("payment_intent", "customer", "transfer_group")
    links = [(name, params[name]) for name in names if params.get(name)]
    indexed = links[:1] if links and links[0][0] != "transfer_group" else []
    return listing.page(
        call, "charge", "/v1/charges", link=indexed[0] if indexed else None,
        keep=lambda charge: all(charge[name] == value for name, value in links),
    )


@operation("GET /v1/charges/search")
def find_matching(call: Call) -> dict[str, Any]:
    return search.page(call, "charge", "/v1/charges/search")
