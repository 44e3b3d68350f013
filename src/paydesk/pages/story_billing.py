"""Events of subscriptions, invoices, refunds, disputes and wallets, told to people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from paydesk.pages import look

Row = dict[str, Any]

#: Family of an event -> its icon.
ICONS = {
    "subscription": "repeat", "invoice": "file-text", "credit_note": "undo-2",
    "refund": "undo-2", "dispute": "shield-alert", "wallet": "wallet", "risk": "triangle-alert",
}  # fmt: skip
#: Type of an event -> tone of its icon, where it has one.
TONES = {
    "subscription.activated": "ok", "subscription.renewed": "ok", "subscription.recovered": "ok",
    "subscription.past_due": "warn", "subscription.unpaid": "bad",
    "subscription.trial_will_end": "info", "subscription.resumed": "ok",
    "invoice.paid": "ok", "invoice.payment_failed": "bad", "invoice.marked_uncollectible": "warn",
    "refund.succeeded": "ok", "refund.failed": "bad", "refund.requested": "warn",
    "dispute.opened": "bad", "dispute.won": "ok", "dispute.lost": "bad", "risk.blocked": "bad",
    "dispute.due_soon": "warn", "dispute.submitted": "info", "risk.review_needed": "warn",
    "wallet.frozen": "warn",
}  # fmt: skip
#: Why an invoice is written, as its page says it.
REASONS = {
    "subscription_create": "first period", "subscription_cycle": "renewal",
    "subscription_update": "change of plan", "manual": "by hand",
}
_CHANGED = {
    "plan": "plan", "terms": "terms", "quantity": "seats", "period": "period",
    "method": "payment method", "next": "what comes next", "cancel_at": "end",
}  # fmt: skip


def amount(data: Row, name: str = "amount") -> str:
    if not isinstance(data.get(name), int) or not data.get("currency"):
        return ""
    return look.amount(data[name], data["currency"])


def joined(*parts: str | None) -> str:
    return " · ".join(part for part in parts if part)


def words(value: Any) -> str:
    """A code as people read it: `card_declined` is `card declined`."""
    return str(value or "").replace("_", " ")


def day(text: Any, before: str = "") -> str:
    try:
        return f"{before}{look.day(datetime.fromisoformat(text))}" if text else ""
    except (TypeError, ValueError):
        return ""


def _updated(data: Row) -> tuple[str, str]:
    changed = list(data.get("changed") or [])
    if changed == ["cancel_at"]:
        at = day(data.get("cancel_at"))
        title = f"Ends on {at}" if at else "Cancellation taken back"
        return title, words(data.get("reason"))
    if changed == ["next"] and not data.get("plan_next"):
        return "Waiting change taken back", f"stays on {data.get('plan')}"
    if changed == ["next"]:
        seats = data.get("quantity_next") or 1
        to = joined(str(data["plan_next"]), f"{seats} seats" if seats > 1 else "")
        return f"Change to {to}", "takes effect at the period's end"
    if "plan" in changed:
        return f"Changed to {data.get('plan')}", joined(
            f"was {data['plan_was']}" if data.get("plan_was") else "", amount(data))  # fmt: skip
    if changed == ["quantity"]:
        was = data.get("quantity_was")
        return f"{data.get('quantity')} seats", f"was {was}" if was else ""
    told = ", ".join(_CHANGED.get(one, words(one)) for one in changed)
    return "Subscription changed", told


def _plan(data: Row) -> str:
    return joined(str(data.get("plan") or ""), amount(data))


WORDS: dict[str, Callable[[Row], tuple[str, str]]] = {
    "subscription.created": lambda d: ("Subscribed", _plan(d)),
    "subscription.activated": lambda d: (
        "Subscription active", joined(str(d.get("plan") or ""),
                                      day(d.get("period_end"), "paid until "))),
    "subscription.renewed": lambda d: (
        "Renewed", joined(amount(d), day(d.get("period_end"), "paid until "))),
    "subscription.updated": _updated,
    "subscription.past_due": lambda d: (
        "Payment is late", joined(words(d.get("error_code")),
                                  day(d.get("retry_at"), "tried again on "))),
    "subscription.recovered": lambda d: ("Recovered", "Nothing is owed any more"),
    "subscription.unpaid": lambda d: ("Unpaid", "No try to charge succeeded"),
    "subscription.paused": lambda d: ("Paused", day(d.get("resume_at"), "until ")),
    "subscription.resumed": lambda d: ("Resumed", day(d.get("period_end"), "paid until ")),
    "subscription.trial_will_end": lambda d: ("Trial ends soon", day(d.get("trial_end"), "on ")),
    "subscription.canceled": lambda d: ("Canceled", words(d.get("reason"))),
    "subscription.expired": lambda d: ("Never paid", words(d.get("reason"))),
    "invoice.created": lambda d: (
        "Invoice drafted", REASONS.get(str(d.get("reason")), words(d.get("reason")))),
    "invoice.finalized": lambda d: (
        "Invoice finalized", joined(amount(d, "total"),
                                    f"{amount(d, 'due')} due" if d.get("due") else "")),
    "invoice.paid": lambda d: ("Invoice paid", amount(d, "paid")),
    "invoice.payment_failed": lambda d: (
        "Charge failed", joined(words(d.get("error_code")),
                                f"try {d['attempts']}" if d.get("attempts") else "")),
    "invoice.voided": lambda d: ("Invoice voided", amount(d, "total")),
    "invoice.marked_uncollectible": lambda d: ("Given up", amount(d, "due")),
    "invoice.reminder": lambda d: (
        "Reminder sent", f"number {d['reminder']}" if d.get("reminder") else ""),
    "credit_note.created": lambda d: (
        "Credit note", joined(amount(d), words(d.get("reason")))),
    "credit_note.voided": lambda d: ("Credit note taken back", amount(d)),
    "refund.requested": lambda d: ("Refund asked for", joined(amount(d), words(d.get("reason")))),
    "refund.succeeded": lambda d: ("Refund succeeded", amount(d)),
    "refund.failed": lambda d: ("Refund failed", joined(amount(d), words(d.get("error_code")))),
    "refund.rejected": lambda d: ("Refund refused", amount(d)),
    "refund.canceled": lambda d: ("Refund taken back", amount(d)),
    "refund.created": lambda d: ("Refund begun", amount(d)),
    "dispute.warning": lambda d: ("Early warning", joined(amount(d), words(d.get("reason")))),
    "dispute.opened": lambda d: ("Dispute opened", joined(amount(d), words(d.get("reason")))),
    "dispute.evidence_needed": lambda d: ("Evidence needed", day(d.get("due_at"), "by ")),
    "dispute.due_soon": lambda d: ("Evidence is due soon", day(d.get("due_at"), "by ")),
    "dispute.withdrawn": lambda d: ("Money withdrawn", amount(d)),
    "dispute.reinstated": lambda d: ("Money given back", amount(d)),
    "dispute.evidence_changed": lambda d: (
        "Draft changed", ", ".join(words(one) for one in d.get("changed") or [])),
    "dispute.submitted": lambda d: ("Evidence submitted", "It goes to the bank, once"),
    "dispute.accepted": lambda d: ("Given up", amount(d)),
    "dispute.closed": lambda d: ("Inquiry closed", ""),
    "dispute.won": lambda d: ("Dispute won", amount(d)),
    "dispute.lost": lambda d: ("Dispute lost", amount(d)),
    "wallet.created": lambda d: ("Wallet made", str(d.get("currency") or "").upper()),
    "wallet.deposited": lambda d: ("Money came", amount(d)),
    "wallet.paid": lambda d: ("Paid from the wallet", amount(d)),
    "wallet.refunded": lambda d: ("Refunded into the wallet", amount(d)),
    "wallet.transferred": lambda d: ("Transferred", amount(d)),
    "wallet.converted": lambda d: ("Converted", amount(d)),
    "wallet.frozen": lambda d: ("Wallet frozen", str(d.get("reason") or "")),
    "wallet.opened": lambda d: ("Wallet opened", str(d.get("reason") or "")),
    "wallet.closed": lambda d: ("Wallet closed", str(d.get("reason") or "")),
}  # fmt: skip
