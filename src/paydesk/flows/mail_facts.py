"""What mails and receipts show, gathered once from the records: JSON values, minor units."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from paydesk import ids
from paydesk.env import Env
from paydesk.flows import (
    billing_facts,
    invoice_books,
    invoice_views,
    payments,
    webhook_endpoints,
)
from paydesk.flows.billing_facts import Nobody
from paydesk.flows.customers import Customer
from paydesk.flows.events import Event
from paydesk.flows.payments import PaymentView
from paydesk.notify import brand

#: Names that the desk itself gives to what is bought without one; mails say them in their language.
_OWN_NAMES = ("Payment", "Wallet")


def of_event(kind: str, env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    """What a mail of this kind shows of an event. Raises Nobody where there is nothing to say."""
    if kind in _GATHER:
        return common(env, customer) | _GATHER[kind](env, customer, event)
    return common(env, customer) | billing_facts.gather(kind, env, customer, event)


def common(env: Env, customer: Customer) -> dict[str, Any]:
    return brand.facts(env.settings) | {
        "livemode": env.settings.live, "name": customer.name, "email": customer.email,
    }  # fmt: skip


def payment(env: Env, customer: Customer, ref: str | UUID) -> dict[str, Any]:
    """A payment's receipt, as it stands now."""
    one = payments.get(env, customer.uuid, ref)
    with env.db.read() as tx:
        checkout = tx.one(
            "select email, lines from checkouts where customer_id = %(customer_id)s"
            " and id = %(id)s",
            {"customer_id": customer.uuid, "id": one.checkout_id},
        ) or {"email": None, "lines": None}  # fmt: skip
        refunds = tx.all(
            "select amount_minor, succeeded_at from refunds where customer_id = %(customer_id)s"
            " and payment_id = %(id)s and state = 'succeeded' order by succeeded_at, id",
            {"customer_id": customer.uuid, "id": one.id},
        )
    lines = _named(env, one, (one.terms or {}).get("lines") or checkout["lines"] or [])
    detail = one.method_detail or {}
    return {
        "email": checkout["email"] or customer.email, "number": ids.show("payment", one.id),
        "currency": one.currency, "amount": one.amount.minor, "total": one.amount.minor,
        "paid": one.captured.minor or one.amount.minor, "price": one.price.minor,
        "lines": [_line(one, line) for line in lines] or [_line(one, {})],
        "promo": next((line["promo"] for line in lines if line.get("promo")), None),
        "refunds": [{"at": _local(env, row["succeeded_at"]), "amount": row["amount_minor"]}
                    for row in refunds],
        "method": one.method or one.provider,
        "card": {name: detail[name] for name in ("brand", "last4", "wallet") if name in detail},
        "reference": one.reference, "error_code": one.error_code, "livemode": one.livemode,
        "paid_at": _local(env, one.completed_at or one.created_at),
    }  # fmt: skip


def _named(env: Env, one: PaymentView, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines; that of an invoice with its number, and what it is for."""
    if one.purpose != invoice_books.PURPOSE or len(lines) != 1:
        return lines
    with env.db.read() as tx:
        row = invoice_books.get(tx, one.customer_id, UUID(one.goods["invoice"]))
        items = invoice_views.items_of(tx, row.customer_id, row.id)
    about = None
    if row.subscription_id is not None and row.cycle is not None:
        names = [item.description for item in items if item.kind == "recurring"]
        span = [_local(env, at) for at in (row.period_start, row.period_end) if at]
        about = {"names": names, "period": span if len(span) == 2 else None}
    return [{**lines[0], "invoice": row.number, "about": about}]


def _line(one: PaymentView, line: dict[str, Any]) -> dict[str, Any]:
    """A line of the order; of an order without lines, such as an imported one, the whole of it."""
    credits = one.credits if not line else line.get("credits", 0) + line.get("bonus_credits", 0)
    name = line.get("description") or one.package_name or one.description
    if name in _OWN_NAMES or name == f"{line.get('credits')} credits" or "invoice" in line:
        name = None
    return {name: line[name] for name in ("invoice", "about") if name in line} | {
        "description": name, "quantity": line.get("quantity", 1),
        "unit": line.get("unit_minor", one.price.minor), "credits": credits,
        "months": one.goods.get("months"), "is_wallet": one.purpose == "wallet",
    }  # fmt: skip


def _receipt(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    """The receipt; of an invoice's payment with the invoice."""
    found = payment(env, customer, event.subject_id)
    one = payments.get(env, customer.uuid, event.subject_id)
    if one.purpose == invoice_books.PURPOSE and "invoice" in one.goods:
        found |= billing_facts.paid_by(env, customer, UUID(one.goods["invoice"]))
        found |= _numbered_lines(found)
    return found


def _numbered_lines(facts: dict[str, Any]) -> dict[str, Any]:
    """The lines with the number that was drawn for the document meanwhile."""
    number = (facts.get("paper") or {}).get("number")
    return {"lines": [{**line, "invoice": number} if "invoice" in line and number else line
                      for line in facts["lines"]]}  # fmt: skip


def _failed(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    return payment(env, customer, event.subject_id) | {"at": _at(env, event)}


def _refund(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    facts = payment(env, customer, _payment_of(event))
    return facts | {"at": _at(env, event), "amount": event.data.get("amount", facts["paid"])}


def _refund_failed(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    return _refund(env, customer, event) | {
        "reason": event.data.get("error_code"), "customer": customer.external_id,
    }  # fmt: skip


def _dispute(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    facts = payment(env, customer, _payment_of(event))
    return facts | {
        "amount": event.data.get("amount", facts["paid"]), "reason": event.data.get("reason"),
        "currency": event.data.get("currency", facts["currency"]),
        "due_at": event.data.get("due_at"), "customer": customer.external_id,
    }  # fmt: skip


def _payment_of(event: Event) -> str | UUID:
    """The payment that an event names, in whichever of the members it does."""
    named = event.data.get("payment") or event.data.get("payment_id")
    return UUID(named) if named and "_" not in named else named or event.subject_id


def _low(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    return {"balance": event.data["balance"]}


def _expiring(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    return {"credits": event.data["amount"], "on": event.data["expires_on"]}


def _disabled(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    with env.db.read() as tx:
        endpoint = webhook_endpoints.by_id(tx, event.subject_id)
    if endpoint is None:
        raise Nobody("The endpoint is gone.")
    return {"url": endpoint.url, "reason": event.data["reason"],
            "days": env.settings.webhook_disable_days}  # fmt: skip


def _refill_paused(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    return {name: event.data.get(name) for name in ("reason", "error_code", "currency")}


def _payment_reminder(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    """What the payer has yet to pay, and the page that says how. Raises Nobody once it came."""
    one = payments.get(env, customer.uuid, event.subject_id)
    if one.state != "pending":
        raise Nobody("It waits no more.")
    with env.db.read() as tx:
        row = tx.one(
            "select id, secret, email from checkouts where customer_id = %(customer_id)s"
            " and id = %(id)s",
            {"customer_id": customer.uuid, "id": one.checkout_id},
        )
    page = f"{env.settings.base_url}/checkout/{ids.show('checkout', row['id'])}" if row else None
    return {
        "email": (row["email"] if row else None) or customer.email, "amount": one.amount.minor,
        "currency": one.currency, "number": ids.show("payment", one.id), "label": "payment",
        "reference": one.reference or one.session_ref, "since": _local(env, one.created_at),
        "pay_url": f"{page}?s={row['secret']}" if row else None, "livemode": one.livemode,
    }  # fmt: skip


def _invoice_reminder(env: Env, customer: Customer, event: Event) -> dict[str, Any]:
    """An open invoice and its page. Raises Nobody once it is not open any more."""
    with env.db.read() as tx:
        row = invoice_books.get(tx, customer.uuid, event.subject_id)
    if row.state != "open":
        raise Nobody("It is not open any more.")
    assert row.finalized_at is not None, "what is open was finalized"
    return {
        "amount": row.due_minor, "currency": row.currency, "number": row.number,
        "label": "invoice_number", "reference": None, "since": _local(env, row.finalized_at),
        "email": row.buyer.get("email") or customer.email,
        "pay_url": invoice_views.page_url(env.settings.base_url, row),
        "paper": billing_facts.paper(env, customer.uuid, row.id),
    }  # fmt: skip


def _at(env: Env, event: Event) -> str:
    return _local(env, event.created_at)


def _local(env: Env, at: datetime) -> str:
    """The instant in the business's time zone, whose days its receipts have."""
    return at.astimezone(UTC).astimezone(ZoneInfo(env.settings.time_zone)).isoformat()


_GATHER: dict[str, Callable[[Env, Customer, Event], dict[str, Any]]] = {
    "receipt": _receipt, "payment_failed": _failed, "refund": _refund, "credits_low": _low,
    "credits_expiring": _expiring, "dispute_opened": _dispute, "dispute_due_soon": _dispute,
    "refund_failed": _refund_failed, "endpoint_disabled": _disabled,
    "refill_paused": _refill_paused, "payment_reminder": _payment_reminder,
    "invoice_reminder": _invoice_reminder,
}  # fmt: skip
