"""Goods of an order that are not credits: checked, and written with the payment that buys them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.flows import invoice_books, purchases, rates, risk, services, wallets
from paydesk.flows.pricing import Priced
from paydesk.rules import fields
from paydesk.rules.payments import handle_of
from paydesk.tracker.stores.joined import ServicePayment


def check(tx: Tx, now: datetime, customer_id: UUID, priced: Priced) -> dict[str, Any]:
    """What the payment's record says of its goods and of its risk: terms, payable, type, service,
    worth in USD, score.

    The head is locked. Raises RiskBlocked, AlreadyPurchased for what the customer owns and may
    own but once, WalletFrozen for a top-up of a wallet that takes nothing.
    """
    worth = rates.usd_of(tx, priced.total, now)
    found: dict[str, Any] = {"usd_minor": worth[0], "rate_id": worth[1]} if worth else {}
    found["risk_score"] = risk.check(tx, now, priced.risk) or None
    if priced.purpose == "wallet":
        wallets.refuse_frozen(tx, customer_id, priced.total.currency)
    if priced.goods is None:
        return found
    found["terms"] = priced.terms
    if priced.purpose == invoice_books.PURPOSE:
        asked = invoice_books.check_due(
            tx, customer_id, UUID(priced.goods["invoice"]), priced.total
        )
        return found | {"payable": asked.payable}
    if priced.item is None:
        return found
    found["payable"] = priced.item.payable
    if priced.item.kind == "service":
        had = services.check_free(tx, now, customer_id, priced.item)
        found["payment_type"] = "renewal" if had else "subscription"
        found["service_id"] = UUID(priced.goods["service"])
    else:
        purchases.check_free(tx, customer_id, priced.item)
    return found


def payment(
    tx: Tx, now: datetime, what: Any, priced: Priced, bought: Mapping[str, Any], *, key: UUID,
    digest: bytes, **more: Any,
) -> ServicePayment:  # fmt: skip
    """The record of a priced order (`what`: who, reference, payable, metadata), not written yet.

    `bought` is what `check` answered, `more` what the way of paying adds: provider, livemode, end.
    """
    return ServicePayment(
        id=str(priced.payment_id), customer_id=what.customer_id, user_id=str(what.customer_id),
        amount_cents=priced.total.minor, currency=priced.total.currency,
        credits_to_add=priced.credits, package_id=priced.pack.key if priced.pack else None,
        package_name=priced.pack.name if priced.pack else None, purpose=priced.purpose,
        handle=handle_of(priced.payment_id), description=priced.description,
        reference=what.reference, price_minor=priced.price.minor,
        discount_minor=priced.discount.minor,
        promo_id=priced.reservation.promo_id if priced.reservation else None,
        metadata=fields.metadata(what.metadata), request_key=key, request_hash=digest,
        clock_id=tx.heads[what.customer_id].clock_id, created_at=now, updated_at=now,
        **{**bought, "payable": what.payable or bought.get("payable"),
           "payment_type": _type(what, bought), **more},
    )  # fmt: skip


def _type(what: Any, bought: Mapping[str, Any]) -> str | None:
    """What kind of payment this is: a service's history says it, but for an upgrade."""
    said: str | None = getattr(what, "payment_type", None)
    return said if said == "upgrade" else bought.get("payment_type") or said


def lines(priced: Priced, bought: Mapping[str, Any]) -> dict[str, Any]:
    """The terms of an order that has no checkout to keep its lines."""
    return bought.get("terms") or {"lines": [priced.line]}


def write(tx: Tx, now: datetime, payment: ServicePayment) -> None:
    """The pending purchase or inactive service of a payment that was just written."""
    goods = (payment.terms or {}).get("goods") or {}
    if "purchase" in goods:
        purchases.write(tx, now, payment, goods)
    elif "service" in goods:
        services.write(tx, now, payment, goods)
    elif payment.purpose == invoice_books.PURPOSE:
        row = invoice_books.get(tx, payment.customer_id, invoice_books.invoice_of(payment))
        invoice_books.begun(tx, row, payment)
