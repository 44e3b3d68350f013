"""Events told to people: the timeline of a payment, and one line for each event in a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from paydesk import ids
from paydesk.flows.reports import PaymentPage, Row
from paydesk.pages import look, story_billing


@dataclass(frozen=True, slots=True)
class Step:
    """One entry: what happened, a sentence about it, and a code that can be searched for."""

    at: datetime
    title: str
    text: str
    icon: str
    tone: str = ""
    code: str = ""


#: How each path of completion is told.
PATHS = {
    "webhook": "by webhook",
    "verify": "by asking the provider",
    "success_page": "by the success page",
    "sweep": "by a sweep",
    "admin": "by an operator",
    "reconcile": "by reconciliation",
}
_ICONS = {
    "checkout": "shopping-cart", "payment": "credit-card", "credits": "coins",
    "customer": "user", "promo": "ticket-percent", "fulfillment": "package",
    **story_billing.ICONS,
}  # fmt: skip
_TONES = {
    "payment.succeeded": "ok", "fulfillment.done": "accent", "credits.granted": "accent",
    "payment.failed": "bad", "payment.declined": "bad", "fulfillment.blocked": "bad",
    "payment.review": "warn",
    "checkout.completed": "ok", "payment.processing": "info", "payment.requires_action": "warn",
    **story_billing.TONES,
}  # fmt: skip


#: Webhooks that say that money came.
_PAID_BY = ("checkout.session.completed", "payment_intent.succeeded", "charge.succeeded")


def of_payment(page: PaymentPage) -> list[Step]:
    """Newest first: our events, and the webhooks that could not be applied."""
    steps = [of_event(row) for row in page.events]
    came = [row for row in page.deliveries if row["state"] == "done" and row["type"] in _PAID_BY]
    by_webhook = any(row["path"] == "webhook" for row in page.fulfillments)
    if came and by_webhook:
        first = min(came, key=lambda row: row["applied_at"] or row["received_at"])
        times = sum(row["deliveries"] for row in page.deliveries if row["type"] == first["type"])
        text = f"Webhook {first['type']} verified and applied once (delivered {times}×)"
        steps = [replace(s, text=text) if s.title == "Payment succeeded" else s for s in steps]
    steps += [_delivery(row) for row in page.deliveries if row["state"] != "done"]
    return sorted(steps, key=lambda step: step.at, reverse=True)


def of_event(row: Row) -> Step:
    """An event's row as a step; a type without words of its own shows its name."""
    kind, data = row["type"], row["data"] or {}
    words = _WORDS.get(kind)
    title, text = words(data) if words else (_title(kind), "")
    family = kind.partition(".")[0]
    icon = "circle-check" if kind == "payment.succeeded" else _ICONS.get(family, "activity")
    icon = "circle-x" if kind in ("payment.failed", "payment.declined") else icon
    return Step(row["created_at"], title, text, icon, _TONES.get(kind, ""))


def _title(kind: str) -> str:
    return kind.replace(".", " ").replace("_", " ").capitalize()


def _sum(data: Row) -> str:
    if not isinstance(data.get("amount"), int) or not data.get("currency"):
        return ""
    return look.amount(data["amount"], data["currency"])


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _credits(data: Row) -> str:
    number = data.get("credits") or data.get("amount") or 0
    return f"{look.count(abs(number))} credits" if isinstance(number, int) else "Credits"


def _balance(data: Row) -> str:
    balance = data.get("balance")
    return f"balance {look.count(balance)}" if isinstance(balance, int) else ""


def _until(data: Row) -> str:
    text = data.get("expires_at")
    try:
        return f"expires {look.day(datetime.fromisoformat(text))}" if text else ""
    except (TypeError, ValueError):
        return ""


_WORDS: dict[str, Callable[[Row], tuple[str, str]]] = {
    "checkout.created": lambda d: ("Checkout created", _sum(d)),
    "checkout.completed": lambda d: ("Checkout completed", _sum(d)),
    "checkout.expired": lambda d: ("Checkout ended", "It can no longer be paid"),
    "payment.created": lambda d: ("Payment recorded", "Before the provider is asked"),
    "payment.processing": lambda d: ("Payment processing", "The provider is working on it"),
    "payment.requires_action": lambda d: ("Customer must act", "Such as 3-D Secure"),
    "payment.authorized": lambda d: ("Money reserved", _sum(d)),
    "payment.succeeded": lambda d: (
        "Payment succeeded", _joined(_sum(d), PATHS.get(str(d.get("path")), ""))),
    "payment.failed": lambda d: ("Payment failed", str(d.get("error_code") or "")),
    "payment.declined": lambda d: (
        "Card declined", str(d.get("error_code") or "").replace("_", " ")),
    "payment.expired": lambda d: ("Payment expired", "Nobody paid in time"),
    "payment.canceled": lambda d: ("Payment canceled", ""),
    "payment.refunded": lambda d: ("Refunded", _sum(d)),
    "payment.review": lambda d: ("Needs a look", str(d.get("review") or "").replace("_", " ")),
    "fulfillment.done": lambda d: (
        "Goods handed over", _joined(_credits(d) if d.get("credits") else "",
                                     PATHS.get(str(d.get("path")), ""))),
    "fulfillment.blocked": lambda d: (
        "Goods not handed over", str(d.get("error_code") or "").replace("_", " ")),
    "fulfillment.resolved": lambda d: ("Settled by an operator", str(d.get("action") or "")),
    "credits.granted": lambda d: (f"{_credits(d)} granted", _joined(_until(d), _balance(d))),
    "credits.spent": lambda d: (
        f"{_credits(d)} spent", _joined(str(d.get("reference") or ""), _balance(d))),
    "credits.refunded": lambda d: (f"{_credits(d)} put back", _balance(d)),
    "credits.transferred": lambda d: (
        f"{_credits(d)} " + ("received" if (d.get("amount") or 0) > 0 else "sent"), _balance(d)),
    "credits.expired": lambda d: (f"{_credits(d)} expired", _balance(d)),
    "promo.applied": lambda d: ("Promo code applied", str(d.get("code") or "")),
    "promo.released": lambda d: ("Promo code given back", str(d.get("code") or "")),
    "customer.created": lambda d: ("Customer created", str(d.get("external_id") or "")),
    "customer.updated": lambda d: ("Customer updated", ", ".join(d.get("changed") or [])),
    **story_billing.WORDS,
}  # fmt: skip


def _delivery(row: Row) -> Step:
    if row["state"] == "parked":
        why = row["error"] or "no reason given"
        text, tone = f"Parked after {row['tries']} tries: {why}", "bad"
    else:
        text, tone = f"Waiting, delivered {row['deliveries']}×", "warn"
    title = f"Webhook {row['type']}"
    return Step(row["received_at"], title, text, "webhook", tone, row["event_id"])


#: Family of an event -> the screen of its subject.
_SCREENS = {
    "subscription": "subscriptions", "invoice": "invoices", "refund": "refunds",
    "dispute": "disputes", "wallet": "wallets",
}  # fmt: skip


def subject_link(type: str, subject_id: Any, customer_id: Any) -> tuple[str, str]:
    """(id as shown, page) of what an event is about."""
    family = type.partition(".")[0]
    if family in ("payment", "fulfillment"):
        shown = ids.show("payment", subject_id)
        return shown, f"/dashboard/payments/{shown}"
    if family == "checkout":
        shown = ids.show("checkout", subject_id)
        return shown, f"/dashboard/search?q={shown}"
    for kind, screen in _SCREENS.items():
        if family == kind and subject_id is not None and type != "wallet.converted":
            shown = ids.show(kind, subject_id)
            return shown, f"/dashboard/{screen}/{shown}"
    customer = ids.show("customer", customer_id)
    return customer, f"/dashboard/customers/{customer}"
