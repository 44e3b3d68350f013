"""Goods of an order that are not credits: checked, and written with the payment that buys them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.flows import purchases, rates, services, wallets
from paydesk.flows.pricing import Priced
from paydesk.tracker.stores.joined import ServicePayment


def check(tx: Tx, now: datetime, customer_id: UUID, priced: Priced) -> dict[str, Any]:
    """What the payment's record says of its goods: terms, payable, type, service, worth in USD.

    The head is locked. Raises AlreadyPurchased for what the customer owns and may own but once,
    WalletFrozen for a top-up of a wallet that takes nothing.
    """
    worth = rates.usd_of(tx, priced.total, now)
    found: dict[str, Any] = {"usd_minor": worth[0], "rate_id": worth[1]} if worth else {}
    if priced.purpose == "wallet":
        wallets.refuse_frozen(tx, customer_id, priced.total.currency)
    if priced.goods is None:
        return found
    found["terms"] = priced.terms
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


def write(tx: Tx, now: datetime, payment: ServicePayment) -> None:
    """The pending purchase or inactive service of a payment that was just written."""
    goods = (payment.terms or {}).get("goods") or {}
    if "purchase" in goods:
        purchases.write(tx, now, payment, goods)
    elif "service" in goods:
        services.write(tx, now, payment, goods)
