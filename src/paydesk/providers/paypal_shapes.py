"""PayPal's JSON as the words of `providers.base`: pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from paydesk.errors import InvalidRequest, MalformedRequest
from paydesk.providers import texts
from paydesk.providers.base import (
    AnswerUnclear,
    Charge,
    Listed,
    ProviderEvent,
    RemoteDispute,
    RemoteRefund,
)
from paydesk.rules.money import Money
from paydesk.rules.payments import is_ours

#: https://developer.paypal.com/docs/api/reference/currency-codes/
CURRENCIES = frozenset(
    """
    aud brl cad cny czk dkk eur hkd huf ils jpy myr mxn twd nzd nok php pln gbp sgd sek chf thb usd
    """.split()
)
#: Currencies that PayPal takes without decimals, although ISO 4217 gives two of them two.
WHOLE = frozenset({"huf", "jpy", "twd"})

#: Before our payment id in an order's custom_id: it has ended and is not to be captured.
ENDED = "ended:"
#: Where an order's custom_id is changed.
CUSTOM_ID_PATH = "/purchase_units/@reference_id=='default'/custom_id"

_CAPTURE = {
    "COMPLETED": "succeeded", "PARTIALLY_REFUNDED": "succeeded", "REFUNDED": "succeeded",
    "PENDING": "processing", "DECLINED": "failed", "FAILED": "failed",
}  # fmt: skip
_REFUND = {
    "COMPLETED": "succeeded", "PENDING": "pending", "FAILED": "failed", "CANCELLED": "canceled",
}  # fmt: skip
_LOST = frozenset({"RESOLVED_BUYER_FAVOUR", "ACCEPTED", "RESOLVED_WITH_PAYOUT"})
#: Events by what they are about.
_ABOUT = {
    "CHECKOUT.ORDER.": "order",
    "PAYMENT.CAPTURE.REFUNDED": "refund",
    "PAYMENT.CAPTURE.REVERSED": "refund",
    "PAYMENT.CAPTURE.": "capture",
    "PAYMENT.REFUND.": "refund",
    "CUSTOMER.DISPUTE.": "dispute",
}


def money_out(amount: Money) -> dict[str, str]:
    """PayPal's form of an amount. Raises InvalidRequest where it has no exact one."""
    value = amount.decimal
    if amount.currency in WHOLE:
        if value != value.to_integral_value():
            raise InvalidRequest(
                f"PayPal takes no decimals in {amount.currency.upper()}.", param="amount"
            )
        value = value.quantize(Decimal(1))
    return {"currency_code": amount.currency.upper(), "value": str(value)}


def money_in(raw: Any) -> Money:
    """An amount of PayPal's. Raises AnswerUnclear for what is none."""
    try:
        return Money(Decimal(str(raw["value"])), str(raw["currency_code"]).lower())
    except (KeyError, TypeError, InvalidOperation, InvalidRequest) as exc:
        raise AnswerUnclear("An amount of PayPal cannot be understood.") from exc


def maybe_money(raw: Any) -> Money | None:
    return money_in(raw) if isinstance(raw, dict) else None


def an_object(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise AnswerUnclear("PayPal's answer is no JSON object.")
    return raw


def link(raw: dict[str, Any], *wanted: str) -> str | None:
    """The first link of one of these relations."""
    links = raw.get("links")
    for one in links if isinstance(links, list) else []:
        if isinstance(one, dict) and one.get("rel") in wanted:
            return str(one.get("href"))
    return None


def _unit(order: dict[str, Any]) -> dict[str, Any]:
    units = order.get("purchase_units")
    return units[0] if isinstance(units, list) and units and isinstance(units[0], dict) else {}


def our_id(custom: Any) -> str | None:
    """The id in a custom_id, whether its order has ended or not."""
    return custom.removeprefix(ENDED) if isinstance(custom, str) else None


def is_ended(order: dict[str, Any]) -> bool:
    return str(_unit(order).get("custom_id") or "").startswith(ENDED)


def may_capture(order: dict[str, Any]) -> bool:
    """Whether it is approved, for a payment of ours, and has not been marked as ended."""
    custom = _unit(order).get("custom_id")
    return order.get("status") == "APPROVED" and isinstance(custom, str) and is_ours(custom)


def payments_of(order: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The order's `captures` or `refunds`."""
    payments = _unit(order).get("payments")
    found = payments.get(kind) if isinstance(payments, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def order_id_of(raw: dict[str, Any]) -> str | None:
    """The order that a capture or refund names."""
    related = (raw.get("supplementary_data") or {}).get("related_ids") or {}
    return related.get("order_id")


def charge_of_order(order: dict[str, Any], *, livemode: bool) -> Charge:
    """How an order stands: by its capture where it has one, else by its own status."""
    ref = str(order.get("id", ""))
    captures = payments_of(order, "captures")
    # A declined capture can be followed by one that went well.
    captures.sort(key=lambda one: one.get("status") in ("DECLINED", "FAILED"))
    payment_id = our_id(_unit(order).get("custom_id"))
    if captures:
        found = charge_of_capture(captures[0], ref=ref, order=order, livemode=livemode)
        refunded = [money_in(one.get("amount")) for one in payments_of(order, "refunds")
                    if one.get("status") in ("COMPLETED", "PENDING")]  # fmt: skip
        if refunded:
            sum_back = sum(refunded[1:], refunded[0])
            return replace(found, refunded=sum_back)
        return found
    told: dict[str, Any] = {
        "ref": ref, "session_ref": ref, "payment_id": payment_id, "livemode": livemode,
    }  # fmt: skip
    status = order.get("status")
    if status == "VOIDED" or is_ended(order):
        return Charge(status="expired", ended=True, **told)
    if status == "PAYER_ACTION_REQUIRED" and order.get("declined"):
        return Charge(
            status="requires_action", action_url=link(order, "payer-action", "approve"),
            error_code=str(order["declined"]).lower(),
            error_message="PayPal could not take the money; another way to pay is needed.",
            **told,
        )  # fmt: skip
    if status in ("CREATED", "SAVED", "PAYER_ACTION_REQUIRED", "APPROVED"):
        return Charge(status="pending", **told)
    raise AnswerUnclear(f"PayPal shows the order as {str(status)[:40]!r}, without a capture.")


def charge_of_capture(
    capture: dict[str, Any], *, ref: str, livemode: bool, order: dict[str, Any] | None = None
) -> Charge:
    """How a capture stands. `amount` is what was taken, whatever went back since."""
    status = _CAPTURE.get(str(capture.get("status")))
    if status is None or not capture.get("id"):
        raise AnswerUnclear("PayPal's capture cannot be understood.")
    capture_id = str(capture["id"])
    breakdown = capture.get("seller_receivable_breakdown") or {}
    details = capture.get("status_details") or {}
    source = (order or {}).get("payment_source") or {}
    payer = (order or {}).get("payer") or {}
    is_dead = status == "failed"
    return Charge(
        ref=ref, status=status,
        amount=money_in(capture.get("amount")) if status == "succeeded" else None,
        fact=capture_id, ended=status in ("succeeded", "failed"),
        session_ref=str(order["id"]) if order else order_id_of(capture),
        payment_ref=None if is_dead else capture_id,
        payment_id=our_id(capture.get("custom_id") or _unit(order or {}).get("custom_id")),
        provider_customer=payer.get("payer_id"),
        method=next(iter(source), "paypal"), livemode=livemode,
        error_code=str(details.get("reason") or "declined").lower() if is_dead else None,
        error_message="PayPal did not take the money." if is_dead else None,
        decline_ref=capture_id if is_dead else None,
        fee=maybe_money(breakdown.get("paypal_fee")),
    )  # fmt: skip


def refund_of(raw: Any, payment_ref: str | None = None) -> RemoteRefund:
    """`payment_ref`: the capture, where the answer is known to be about it."""
    raw = an_object(raw)
    status = _REFUND.get(str(raw.get("status")))
    if status is None or not raw.get("id"):
        raise AnswerUnclear("PayPal's refund cannot be understood.")
    custom = raw.get("custom_id")
    details = raw.get("status_details") or {}
    return RemoteRefund(
        id=str(raw["id"]), status=status, amount=money_in(raw.get("amount")),
        payment_ref=payment_ref or _capture_of(raw),
        error_code=str(details.get("reason") or "failed").lower() if status == "failed" else None,
        refund_id=custom if isinstance(custom, str) and custom.startswith("re_") else None,
        created_at=instant(raw.get("create_time")),
    )  # fmt: skip


def _capture_of(refund: dict[str, Any]) -> str | None:
    """A refund names its capture in the link upwards."""
    up = link(refund, "up")
    return up.rstrip("/").rpartition("/captures/")[2] or None if up else None


def dispute_of(raw: Any, *, livemode: bool) -> RemoteDispute:
    raw = an_object(raw)
    transactions = raw.get("disputed_transactions")
    about = transactions[0] if isinstance(transactions, list) and transactions else {}
    if not raw.get("dispute_id"):
        raise AnswerUnclear("PayPal's dispute cannot be understood.")
    custom = our_id(about.get("custom") or about.get("invoice_number"))
    return RemoteDispute(
        id=str(raw["dispute_id"]), status=_dispute_status(raw),
        amount=money_in(raw.get("dispute_amount")), reason=str(raw.get("reason") or "").lower(),
        payment_ref=about.get("seller_transaction_id"),
        payment_id=custom if is_ours(custom) else None,
        withdrawn=_moved(raw, "DEBIT"), reinstated=_moved(raw, "CREDIT"),
        due_at=instant(raw.get("seller_response_due_date")),
        created_at=instant(raw.get("create_time")), livemode=livemode,
        evidence=_evidence_in(raw),
    )  # fmt: skip


#: PayPal's kind of evidence for our texts; the others have none of their own.
_EVIDENCE = {
    "access_activity_log": "PROOF_OF_FULFILLMENT", "service_date": "PROOF_OF_FULFILLMENT",
    "shipping_carrier": "PROOF_OF_FULFILLMENT", "shipping_date": "PROOF_OF_FULFILLMENT",
    "shipping_tracking_number": "PROOF_OF_FULFILLMENT", "shipping_address": "PROOF_OF_FULFILLMENT",
    "product_description": "ITEM_DESCRIPTION", "refund_policy_disclosure": "RETURN_POLICY",
    "cancellation_policy_disclosure": "RETURN_POLICY",
}  # fmt: skip
#: Characters of one note.
_NOTE = 2_000


def evidence_out(evidence: Mapping[str, str]) -> dict[str, Any]:
    """Our texts as PayPal's evidences, each under its name; long ones go on in the next note."""
    notes: dict[str, list[str]] = {}
    for name, text in sorted(evidence.items()):
        words = f"{name.replace('_', ' ').capitalize()}: {text}"
        notes.setdefault(_EVIDENCE.get(name, "OTHER"), []).append(words)
    found = []
    for kind, lines in sorted(notes.items()):
        whole = "\n".join(lines)
        found += [{"evidence_type": kind, "notes": whole[at : at + _NOTE]}
                  for at in range(0, len(whole), _NOTE)]  # fmt: skip
    return {"evidences": found}


def _evidence_in(raw: dict[str, Any]) -> dict[str, str]:
    """What we said, as PayPal shows it."""
    told = raw.get("evidences")
    notes = [str(one["notes"]) for one in (told if isinstance(told, list) else [])
             if isinstance(one, dict) and one.get("source") == "SUBMITTED_BY_SELLER"
             and one.get("notes")]  # fmt: skip
    return {"uncategorized_text": "\n".join(notes)} if notes else {}


def _dispute_status(raw: dict[str, Any]) -> str:
    is_inquiry = raw.get("dispute_life_cycle_stage") == "INQUIRY"
    status = raw.get("status")
    if status == "RESOLVED":
        outcome = (raw.get("dispute_outcome") or {}).get("outcome_code")
        if outcome in _LOST:
            return "lost"
        return "closed" if is_inquiry else "won"
    if is_inquiry:
        return "warning"
    return "under_review" if status in ("UNDER_REVIEW", "WAITING_FOR_BUYER_RESPONSE") else (
        "needs_response"
    )


def _moved(raw: dict[str, Any], kind: str) -> Money | None:
    """What was taken from us (DEBIT) or given to us (CREDIT), fees apart; None where PayPal tells
    of no movement."""
    moves = raw.get("money_movements")
    sums = [
        money_in(one.get("amount"))
        for one in (moves if isinstance(moves, list) else [])
        if isinstance(one, dict) and one.get("affected_party") == "SELLER"
        and one.get("type") == kind and "FEE" not in str(one.get("reason") or "")
    ]  # fmt: skip
    return sum(sums[1:], sums[0]) if sums else None


#: How a transaction of the search stands, by its code. V: it went well and was refunded since.
_TRANSACTION = {"S": "succeeded", "V": "succeeded", "P": "processing", "D": "failed"}
#: Payments received, and refunds of them, by the beginnings of their event codes.
_EVENTS = {"charge": "T00", "refund": "T1107"}


def listed(raw: dict[str, Any], kind: str, *, livemode: bool) -> list[Listed]:
    """A page of the transaction search, as far as it is of this kind."""
    rows = raw.get("transaction_details")
    infos = [one.get("transaction_info") or {} for one in rows or [] if isinstance(one, dict)]
    found = (
        _listed(info, kind, livemode) for info in infos
        if str(info.get("transaction_event_code") or "").startswith(_EVENTS[kind])
    )  # fmt: skip
    return [one for one in found if one is not None]


def _listed(info: dict[str, Any], kind: str, livemode: bool) -> Listed | None:
    ref, at = info.get("transaction_id"), instant(info.get("transaction_initiation_date"))
    status = _TRANSACTION.get(str(info.get("transaction_status")))
    amount = money_in(info.get("transaction_amount"))
    if not ref or at is None or status is None:
        raise AnswerUnclear("A transaction of PayPal cannot be understood.")
    if kind == "refund":
        state = "pending" if status == "processing" else status
        about = info.get("paypal_reference_id")
        back = -amount if amount.minor < 0 else amount
        value: Any = RemoteRefund(
            id=ref, status=state, amount=back, payment_ref=about, created_at=at
        )
        return Listed(kind=kind, ref=ref, value=value, created_at=at, payment_ref=about)
    if amount.minor <= 0:  # Money that we sent.
        return None
    fee = maybe_money(info.get("fee_amount"))
    value = Charge(
        ref=ref, status=status, amount=amount if status == "succeeded" else None, fact=ref,
        ended=status != "processing", payment_ref=ref,
        payment_id=our_id(info.get("custom_field")), livemode=livemode,
        fee=-fee if fee and fee.minor < 0 else fee,
    )  # fmt: skip
    return Listed(kind=kind, ref=ref, value=value, created_at=at, payment_ref=ref)


def instant(text: Any) -> datetime | None:
    """A time of PayPal's (RFC 3339), aware; None for what is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None


def read_event(text: str, *, livemode: bool) -> ProviderEvent:
    """An event that is genuine. It never carries a claim: PayPal is asked how things stand.

    Raises MalformedRequest where it has no id; one that cannot be understood has a `problem`.
    """
    try:
        raw = texts.clean(json.loads(text))
    except RecursionError:
        raise MalformedRequest("The webhook's body is nested too deep.") from None
    if not isinstance(raw.get("id"), str) or not raw["id"]:
        raise MalformedRequest("The event has no id.")
    told: dict[str, Any] = {"id": raw["id"], "type": str(raw.get("event_type") or ""),
                            "body": text, "livemode": livemode}  # fmt: skip
    try:
        return _about(raw, told)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return ProviderEvent(kind="charge.updated", problem="resource cannot be understood", **told)


def _about(raw: dict[str, Any], told: dict[str, Any]) -> ProviderEvent:
    resource, kind = raw.get("resource"), told["type"]
    about = next((word for start, word in _ABOUT.items() if kind.startswith(start)), None)
    if about is None or not isinstance(resource, dict):
        return ProviderEvent(kind="ignored", **told)
    if about == "order":
        return _of_charge(resource.get("id"), _unit(resource).get("custom_id"), told)
    if about == "capture":
        # By its order, which is what we know the session by.
        return _of_charge(
            order_id_of(resource) or resource.get("id"), resource.get("custom_id"), told
        )
    if about == "dispute":
        found = resource.get("disputed_transactions") or [{}]
        custom = our_id(found[0].get("custom")) if isinstance(found[0], dict) else None
        return ProviderEvent(
            kind="dispute.updated", ref=resource.get("dispute_id"),
            payment_ref=found[0].get("seller_transaction_id"),
            payment_id=custom if is_ours(custom) else None, **told,
        )  # fmt: skip
    return ProviderEvent(
        kind="refund.updated", ref=resource.get("id"), payment_ref=_capture_of(resource), **told
    )


def _of_charge(ref: Any, custom: Any, told: dict[str, Any]) -> ProviderEvent:
    """Our orders all bear our payment id: one that bears another's is another program's."""
    payment_id = our_id(custom)
    if payment_id is not None and not is_ours(payment_id):
        return ProviderEvent(kind="ignored", ref=ref, **told)
    return ProviderEvent(kind="charge.updated", ref=ref, payment_id=payment_id, **told)
