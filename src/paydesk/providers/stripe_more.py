"""Stripe's refunds, disputes, saved methods, setups and books in our words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from paydesk.providers.base import RemoteDispute, RemoteMethod, RemoteRefund, RemoteSetup
from paydesk.providers.stripe_shapes import (
    _action_url,
    _money,
    _ours,
    _ref,
    _word,
    is_release,
)
from paydesk.rules.money import Money

REFUND_STATUS = frozenset({"pending", "requires_action", "succeeded", "failed", "canceled"})
#: A dispute's status in our words. An inquiry has moved no money yet.
DISPUTE_STATUS = {
    "warning_needs_response": "warning",
    "warning_under_review": "warning",
    "warning_closed": "closed",
    "prevented": "closed",
    "charge_refunded": "closed",
    "needs_response": "needs_response",
    "under_review": "under_review",
    "won": "won",
    "lost": "lost",
}
SETUP_STATUS = {
    "requires_payment_method": "pending",
    "requires_confirmation": "pending",
    "requires_action": "requires_action",
    "processing": "pending",
    "succeeded": "succeeded",
    "canceled": "canceled",
}
#: Our reasons of a refund that Stripe knows by the same name; `other` has none there.
STRIPE_REASONS = frozenset({"requested_by_customer", "duplicate", "fraudulent"})
#: Kinds of methods that are a bank account.
BANK_ACCOUNTS = frozenset({
    "us_bank_account", "sepa_debit", "bacs_debit", "au_becs_debit", "acss_debit",
})  # fmt: skip


def of_refund(refund: Mapping[str, Any]) -> RemoteRefund:
    """A refund. One that only let held money go is `canceled`: nothing went back.

    Raises ValueError or KeyError for a shape that is not understood.
    """
    status = refund["status"]
    if status not in REFUND_STATUS:
        raise ValueError(f"a refund has no status {status!r}")
    metadata = refund.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return RemoteRefund(
        id=refund["id"],
        status="canceled" if is_release(refund) else status,
        amount=_money(refund["amount"], refund["currency"]),
        payment_ref=_ref(refund.get("payment_intent")) or _ref(refund.get("charge")),
        error_code=refund.get("failure_reason"),
        reason=refund.get("reason"),
        refund_id=_word(metadata.get("refund_id")),
        payment_id=_ours(refund)["payment_id"],
        created_at=when(refund.get("created")),
    )


def payment_of(charge: Mapping[str, Any]) -> str:
    """What a charge is a payment of: its intent, or itself."""
    return _ref(charge.get("payment_intent")) or charge["id"]


def of_dispute(dispute: Mapping[str, Any]) -> RemoteDispute:
    """A dispute; what it took and gave back stands in its balance transactions.

    Raises ValueError or KeyError for a shape that is not understood.
    """
    status = DISPUTE_STATUS.get(dispute["status"])
    if status is None:
        raise ValueError(f"a dispute has no status {dispute['status']!r}")
    amount = _money(dispute["amount"], dispute["currency"])
    withdrawn, reinstated, fee = _moves(dispute, amount)
    details = dispute.get("evidence_details")
    due = details.get("due_by") if isinstance(details, dict) else None
    evidence = dispute.get("evidence")
    evidence = evidence if isinstance(evidence, dict) else {}
    return RemoteDispute(
        id=dispute["id"],
        status=status,
        amount=amount,
        reason=dispute.get("reason") or "",
        payment_ref=_ref(dispute.get("payment_intent")) or _ref(dispute.get("charge")),
        withdrawn=withdrawn,
        reinstated=reinstated,
        fee=fee,
        due_at=when(due),
        created_at=when(dispute.get("created")),
        evidence={k: v for k, v in evidence.items() if isinstance(v, str) and v},
        livemode=dispute.get("livemode"),
        **_ours(dispute),
    )


def _moves(dispute: Mapping[str, Any], amount: Money) -> tuple[Money, Money, Money | None]:
    """(taken from us, given back, fee). Where the account is kept in another currency than the
    dispute, the sums are as often the dispute's as money moved."""
    booked = dispute.get("balance_transactions") or []
    if isinstance(booked, dict):
        booked = booked.get("data") or []
    taken = back = fees = 0
    currency = None
    for one in booked:
        currency = one["currency"]
        moved, own = one["amount"], one["currency"].lower() == amount.currency
        size = _money(abs(moved), currency).minor if own else amount.minor
        taken += size if moved < 0 else 0
        back += size if moved > 0 else 0
        fees += one.get("fee") or 0
    fee = _money(max(0, fees), currency) if currency else None
    unit = amount.currency
    return Money(taken, unit, minor=True), Money(back, unit, minor=True), fee


def of_method(method: Mapping[str, Any]) -> RemoteMethod:
    """A saved method: its token, and what people recognize it by. Raises KeyError."""
    kind = method["type"]
    inner = method.get(kind)
    inner = inner if isinstance(inner, dict) else {}
    wallet = inner.get("wallet")
    return RemoteMethod(
        id=method["id"],
        kind="bank_account" if kind in BANK_ACCOUNTS else kind,
        brand=inner.get("brand") or inner.get("bank_name"),
        last4=inner.get("last4"),
        exp_month=inner.get("exp_month"),
        exp_year=inner.get("exp_year"),
        country=inner.get("country"),
        wallet=wallet.get("type") if isinstance(wallet, dict) else None,
        fingerprint=inner.get("fingerprint"),
        provider_customer=_ref(method.get("customer")),
    )


def of_setup(intent: Mapping[str, Any]) -> RemoteSetup:
    """A setup intent, with its method when that was expanded. Raises KeyError, ValueError."""
    status = SETUP_STATUS.get(intent["status"])
    if status is None:
        raise ValueError(f"a setup has no status {intent['status']!r}")
    error = intent.get("last_setup_error")
    error = error if isinstance(error, dict) else {}
    method = intent.get("payment_method")
    return RemoteSetup(
        id=intent["id"],
        status="failed" if status == "pending" and error else status,
        client_secret=intent.get("client_secret"),
        url=_action_url(intent) if status == "requires_action" else None,
        method=of_method(method) if isinstance(method, dict) else None,
        provider_customer=_ref(intent.get("customer")),
        error_code=error.get("decline_code") or error.get("code"),
        error_message=error.get("message"),
    )


def of_setup_session(session: Mapping[str, Any]) -> RemoteSetup:
    """A Checkout Session that saves a method, its setup intent expanded."""
    inner = session.get("setup_intent")
    found = of_setup(inner) if isinstance(inner, dict) else None
    status = {"expired": "canceled", "complete": "pending"}.get(session.get("status", ""))
    if found and found.status == "succeeded":
        status = "succeeded"
    return RemoteSetup(
        id=session["id"],
        # A card that was refused can be tried again on the page.
        status=status or "pending",
        url=session.get("url"),
        method=found.method if found else None,
        provider_customer=_ref(session.get("customer")),
        error_code=found.error_code if found else None,
        error_message=found.error_message if found else None,
    )


def fees_of(booked: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, Money, datetime]]:
    """(id, payment, fee, when) of the balance transactions of charges, their source expanded."""
    found = []
    for one in booked:
        source = one.get("source")
        payment = _ref(source.get("payment_intent")) if isinstance(source, dict) else None
        if one.get("type") not in ("charge", "payment") or payment is None or not one.get("fee"):
            continue
        found.append((one["id"], payment, _money(one["fee"], one["currency"]),
                      at(one["created"])))  # fmt: skip
    return found


def when(seconds: Any) -> datetime | None:
    """Unix seconds as a time; None for none."""
    return at(seconds) if type(seconds) is int and seconds > 0 else None


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
