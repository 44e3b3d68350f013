"""Disputes: opened by the bank, answered with evidence, won, lost, accepted or run out."""

from __future__ import annotations

from typing import Any

from .. import errors, ids, money, shapes
from ..engine import Call, operation
from ..errors import StripeError, not_simulated
from . import charges, listing, payment_methods

DAY_S = 86_400
#: Days to answer, counted to the end of the last one.
ANSWER_DAYS = 9
#: An inquiry that nobody escalates is closed after so long.
INQUIRY_S = 120 * DAY_S
#: What Stripe keeps of a dispute that is not won, in whole units of the currency.
FEE_UNITS = 15
OPEN = ("needs_response", "warning_needs_response")
#: States in which the money is with the bank.
TAKEN = ("needs_response", "under_review", "lost")
REASONS = (
    "bank_cannot_process", "check_returned", "credit_not_processed", "customer_initiated",
    "debit_not_authorized", "duplicate", "fraudulent", "general", "incorrect_account_details",
    "insufficient_funds", "noncompliant", "product_not_received", "product_unacceptable",
    "subscription_canceled", "unrecognized",
)
NETWORK_CODES = {
    "duplicate": "12.6.1", "fraudulent": "10.4", "product_not_received": "13.1",
    "product_unacceptable": "13.3", "subscription_canceled": "13.2", "credit_not_processed": "13.6",
}
FILES = (
    "cancellation_policy", "customer_communication", "customer_signature",
    "duplicate_charge_documentation", "receipt", "refund_policy", "service_documentation",
    "shipping_documentation", "uncategorized_file",
)
MAX_TEXT = 150_000
#: What evidence with exactly this text leads to, as in Stripe's test mode.
TELLING = {
    "winning_evidence": "won", "losing_evidence": "lost", "escalate_inquiry_evidence": "escalated",
}


def amount_taken(call: Call, charge: dict[str, Any]) -> int:
    """What disputes took of the charge and have not given back."""
    found = call.tx.scan("dispute", link=("charge", charge["id"]))
    return sum(dispute["amount"] for dispute in found if dispute["status"] in TAKEN)


def after_success(call: Call, charge_id: str) -> None:
    """Let the owner of a disputing test card dispute the payment once the call is answered."""
    charge = call.find("charge", charge_id, "charge")
    method = call.find("payment_method", charge["payment_method"], "payment_method")
    reason = payment_methods.card_of(method).dispute
    if reason is None:
        return

    def bring() -> None:
        now = call.find("charge", charge_id, "charge")
        inquiry = reason == "inquiry"
        bring_against(call, now, reason="general" if inquiry else reason, inquiry=inquiry)

    call.later(bring)


def bring_against(
    call: Call, charge: dict[str, Any], amount: int | None = None, *,
    reason: str = "fraudulent", inquiry: bool = False,
) -> dict[str, Any]:
    """A dispute of a captured charge: of a part of it, or with None of all that is left.

    An inquiry takes no money yet.
    """
    taken = amount_taken(call, charge)
    if amount is None:
        amount = charge["amount_captured"] - taken - charges.given_back(call, charge)
    if not 1 <= amount <= charge["amount_captured"] - taken:
        raise StripeError(
            f"A dispute of {money.shown(amount, charge['currency'])} does not fit the charge: "
            f"{money.shown(charge['amount_captured'] - taken, charge['currency'])} can be disputed."
        )
    dispute: dict[str, Any] = {
        "id": ids.new("dispute"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": call.now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**shapes.blank("dispute_evidence"), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": _due_by(call.now), "enhanced_eligibility": {}, "has_evidence": False,
            "past_due": False, "submission_count": 0,
        },
        "is_charge_refundable": inquiry,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "type": "card",
            "card": {
                "brand": charge["payment_method_details"]["card"]["brand"],
                "case_type": "inquiry" if inquiry else "chargeback",
                "network_reason_code": NETWORK_CODES.get(reason, "85"),
            },
        },
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
        "_transactions": [],
    }
    charge |= {"disputed": True, "_dispute": dispute["id"]}
    call.save(charge)
    if not inquiry:
        _book(call, dispute, -1)
    keep(call, dispute)
    call.emit("charge.dispute.created", dispute)
    if not inquiry:
        call.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def _due_by(now: int) -> int:
    return (now // DAY_S + ANSWER_DAYS + 1) * DAY_S - 1


def _book(call: Call, dispute: dict[str, Any], sign: int) -> None:
    """Take the money and the fee out of the balance (-1), or give both back (1)."""
    currency = dispute["currency"]
    digits = 0 if currency in money.ZERO_DECIMAL else 3 if currency in money.THREE_DECIMAL else 2
    back = sign > 0
    words = "Chargeback reversal" if back else "Chargeback withdrawal"
    transaction = charges.book(
        call, "adjustment", sign * dispute["amount"], currency, dispute["id"],
        fee=-sign * FEE_UNITS * 10**digits, fee_name="Dispute fee",
        category="dispute_reversal" if back else "dispute",
        description=f"{words} for {dispute['charge']}",
    )
    dispute["_transactions"].append(transaction["id"])


def keep(call: Call, dispute: dict[str, Any]) -> dict[str, Any]:
    """Save it with the time at which something happens by itself."""
    due_at, details = None, dispute["evidence_details"]
    if dispute["status"] in OPEN and not details["past_due"]:
        due_at = details["due_by"] + 1
    elif dispute["status"].startswith("warning_") and dispute["status"] != "warning_closed":
        due_at = dispute["created"] + INQUIRY_S
    return call.save(dispute, due_at=due_at)


def run_out(call: Call, dispute: dict[str, Any]) -> None:
    """Its time has come: nobody answered the bank, or an inquiry went nowhere."""
    status = dispute["status"]
    if status == "needs_response":
        dispute["evidence_details"] = {**dispute["evidence_details"], "past_due": True}
        decide(call, dispute, "lost")
    elif status == "warning_needs_response" and call.now < dispute["created"] + INQUIRY_S:
        before = dict(dispute)
        dispute["evidence_details"] = {**dispute["evidence_details"], "past_due": True}
        keep(call, dispute)
        call.emit("charge.dispute.updated", dispute, listing.changed(before, dispute))
    elif status.startswith("warning_") and status != "warning_closed":
        decide(call, dispute, "warning_closed")
    else:
        keep(call, dispute)


def decide(call: Call, dispute: dict[str, Any], outcome: str) -> dict[str, Any]:
    """The bank's word: won, lost, warning_closed, or escalated for an inquiry.

    A dispute that was lost may still be won, as banks change their minds; nothing else changes
    once it is over.
    """
    status = dispute["status"]
    inquiry = status.startswith("warning_") and status != "warning_closed"
    fits = {
        "won": status in TAKEN, "lost": status in ("needs_response", "under_review"),
        "escalated": inquiry, "warning_closed": inquiry,
    }
    if not fits[outcome]:
        raise StripeError(f"A dispute that is {status} cannot become {outcome}.")
    before = dict(dispute)
    if outcome == "escalated":
        return _escalate(call, dispute, before)
    dispute["status"] = outcome
    if outcome == "won":
        _book(call, dispute, 1)
        dispute["is_charge_refundable"] = True
    keep(call, dispute)
    if outcome == "won":
        call.emit("charge.dispute.funds_reinstated", dispute, listing.changed(before, dispute))
    call.emit("charge.dispute.closed", dispute, listing.changed(before, dispute))
    return dispute


def _escalate(call: Call, dispute: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """An inquiry becomes a dispute that takes the money and asks for evidence anew."""
    details = dispute["payment_method_details"]
    dispute |= {
        "status": "needs_response",
        "is_charge_refundable": False,
        "evidence_details": {
            **dispute["evidence_details"], "due_by": _due_by(call.now), "past_due": False,
            "submission_count": 0,
        },
        "payment_method_details": {
            **details, "card": {**details["card"], "case_type": "chargeback"},
        },
    }
    _book(call, dispute, -1)
    keep(call, dispute)
    call.emit("charge.dispute.updated", dispute, listing.changed(before, dispute))
    call.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def after_refund(call: Call, charge: dict[str, Any]) -> None:
    """A charge that was wholly refunded leaves an inquiry about it without a point."""
    if not charge["refunded"]:
        return
    for dispute in list(call.tx.scan("dispute", link=("charge", charge["id"]))):
        if dispute["status"] in ("warning_needs_response", "warning_under_review"):
            decide(call, dispute, "warning_closed")


@operation("GET /v1/disputes/{dispute}")
def retrieve(call: Call) -> dict[str, Any]:
    return _found(call)


def _found(call: Call) -> dict[str, Any]:
    return call.find("dispute", call.path["dispute"], "dispute")


@operation("GET /v1/disputes")
def list_all(call: Call) -> dict[str, Any]:
    links = [(n, call.params[n]) for n in ("charge", "payment_intent") if call.params.get(n)]
    return listing.page(
        call, "dispute", "/v1/disputes", link=links[0] if links else None,
        keep=lambda dispute: all(dispute[name] == value for name, value in links),
    )


@operation("POST /v1/disputes/{dispute}")
def update(call: Call) -> dict[str, Any]:
    """Stage evidence (`submit` false) or hand it in, which can be done once."""
    dispute, params = _found(call), call.params
    before = dict(dispute)
    dispute["metadata"] = listing.merged_metadata(dispute["metadata"], params.get("metadata"))
    submit = params.get("submit", "evidence" in params)
    if "evidence" in params or submit:
        _take_evidence(call, dispute, params.get("evidence") or {})
    if submit:
        _submit(dispute)
    previous = listing.changed(before, dispute)
    keep(call, dispute)
    if previous:
        call.emit("charge.dispute.updated", dispute, previous)
    outcome = TELLING.get((dispute["evidence"]["uncategorized_text"] or "").strip())
    if submit and outcome:
        call.later(lambda: _follow(call, dispute["id"], outcome))
    return dispute


def _take_evidence(call: Call, dispute: dict[str, Any], given: dict[str, Any]) -> None:
    if dispute["status"] not in OPEN:
        what = (
            "its evidence has already been submitted"
            if dispute["status"].endswith("under_review") else "it is closed"
        )
        raise StripeError(f"This dispute takes no more evidence: {what}.", param="evidence")
    if given.get("enhanced_evidence"):
        raise not_simulated("enhanced evidence", "evidence[enhanced_evidence]")
    for name in FILES:
        if given.get(name):
            file = call.tx.get(given[name], "file")
            if file is None:
                raise errors.missing_object("file", given[name], f"evidence[{name}]", 400)
            if file["purpose"] not in ("dispute_evidence", "customer_signature"):
                raise StripeError(
                    f"The file {file['id']} was not uploaded with the purpose dispute_evidence.",
                    param=f"evidence[{name}]",
                )
    evidence = dict(dispute["evidence"])
    names = tuple(name for name in evidence if name != "enhanced_evidence")
    listing.assign(evidence, given, names)
    length = sum(len(evidence[name] or "") for name in names if name not in FILES)
    if length > MAX_TEXT:
        raise StripeError(
            f"The evidence has {length} characters; together its texts can have {MAX_TEXT}.",
            param="evidence",
        )
    dispute["evidence"] = evidence
    dispute["evidence_details"] = {
        **dispute["evidence_details"], "has_evidence": any(evidence[name] for name in names),
    }


def _submit(dispute: dict[str, Any]) -> None:
    details = dispute["evidence_details"]
    if not details["has_evidence"]:
        raise StripeError("There is no evidence to submit.", param="evidence")
    dispute["evidence_details"] = {**details, "submission_count": details["submission_count"] + 1}
    inquiry = dispute["status"].startswith("warning_")
    dispute["status"] = "warning_under_review" if inquiry else "under_review"


def _follow(call: Call, dispute_id: str, outcome: str) -> None:
    """What a telling text leads to; an inquiry has no loser, and only an inquiry escalates."""
    dispute = call.find("dispute", dispute_id, "dispute")
    if dispute["status"] == "warning_under_review":
        decide(call, dispute, outcome if outcome == "escalated" else "warning_closed")
    elif outcome != "escalated":
        decide(call, dispute, outcome)


@operation("POST /v1/disputes/{dispute}/close")
def close(call: Call) -> dict[str, Any]:
    """Accept the dispute: it is lost."""
    dispute = _found(call)
    if dispute["status"] != "needs_response":
        raise StripeError(
            f"This dispute cannot be closed because it has a status of {dispute['status']}; only "
            "one that needs a response can. An inquiry is accepted by refunding the charge."
        )
    return decide(call, dispute, "lost")
