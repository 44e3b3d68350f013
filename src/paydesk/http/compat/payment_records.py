"""PaymentRecordService of the services family: its record's shape, and its three functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict

from paydesk import ids
from paydesk.errors import Conflict, InvalidRequest, UseRefund
from paydesk.flows import (
    charges,
    checkout,
    customers,
    items,
    payment_edits,
    payment_records,
    payments,
    refunds,
    services,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.payment_records import Record
from paydesk.flows.payments import PaymentView
from paydesk.http import fields
from paydesk.http.compat.shapes import amount_of, bare
from paydesk.rules.payments import DEAD_STATES, OPEN_STATES
from paydesk.tracker.models import STATE_OF

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.refund_views import RefundView

#: The document's word for each of our states.
STATUS = {"requires_action": "pending", "authorized": "processing", "expired": "canceled"}
REFUND_STATUS = {"requested": "pending", "pending": "processing", "rejected": "canceled"}
#: payment_method -> the provider that takes it; stripe is whatever takes cards here.
PROVIDERS = {
    "stripe": None, "credit_card": None, "debit_card": None, "other": None, "paypal": "paypal",
    "crypto": "btcpay", "bank_transfer": "manual", "cash": "manual", "moncash": "moncash",
    "natcash": "natcash",
}  # fmt: skip
#: What a payment's record says for its provider.
METHODS = {"stripe": "stripe", "paypal": "paypal", "btcpay": "crypto", "moncash": "moncash",
           "natcash": "natcash", "wallet": "wallet"}  # fmt: skip
OFFLINE = ("bank_transfer", "cash")
#: Words that payments brought over from an older table may have.
CARDS = ("credit_card", "debit_card")
TYPES = ("subscription", "renewal", "upgrade")


class RecordOut(BaseModel):
    """A row of the document's table `payments`; a refund is a row of type `refund`."""

    model_config = ConfigDict(extra="forbid")

    id: str
    customer_id: str
    service_id: str | None
    payment_intent_id: str
    payment_type: str | None
    payment_method: str
    status: str
    amount: float
    currency: str
    description: str | None
    external_payment_id: str | None
    payment_url: str | None
    payment_url_expires_at: str | None
    paid_at: str | None
    failed_at: str | None
    canceled_at: str | None
    failure_reason: str | None
    payment_metadata: dict[str, Any]
    provider_response: dict[str, Any] | None
    refunded_amount: float
    refunded_at: str | None
    refund_reason: str | None
    created_at: str
    updated_at: str


def instant(value: datetime | None) -> str | None:
    """As the document writes it: UTC, always with milliseconds, 2025-07-02T00:00:00.000Z."""
    if value is None:
        return None
    text = value.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def decimal(value: Any) -> Decimal:
    """Money as a JSON number of exactly its digits, such as 549.99 and 100.0."""
    return fields.plain_number(value)


def status_of(one: PaymentView) -> str:
    return STATUS.get(one.state, one.state)


def method_of(one: PaymentView) -> str:
    """What it was paid by, in the document's words and those of other providers."""
    if one.method in CARDS:
        return one.method
    if one.provider in METHODS:
        return METHODS[one.provider]
    return one.method if one.method in OFFLINE else "other"


def shape(one: Record, *, for_staff: bool = False) -> dict[str, Any]:
    """A record; what the provider answered is for staff."""
    payment, refund = one.payment, one.refund
    found = {
        "id": bare(payment.id),
        "customer_id": bare(payment.customer_id),
        "service_id": bare(one.service_id),
        "payment_intent_id": payment.handle,
        "payment_type": payment.payment_type,
        "payment_method": method_of(payment),
        "status": status_of(payment),
        "amount": decimal(payment.amount),
        "currency": payment.currency.upper(),
        "description": one.paid_for.words if one.paid_for else payment.description,
        "external_payment_id": payment.payment_ref,
        "payment_url": one.url,
        "payment_url_expires_at": instant(payment.expires_at),
        "paid_at": instant(payment.completed_at) if payment.paid else None,
        "failed_at": instant(payment.failed_at),
        "canceled_at": instant(payment.canceled_at),
        "failure_reason": payment.error_message or payment.error_code,
        "payment_metadata": _metadata(one),
        "provider_response": one.response if for_staff else None,
        "refunded_amount": decimal(payment.refunded),
        "refunded_at": instant(one.refunded_at),
        "refund_reason": one.refund_reason,
        "created_at": instant(payment.created_at),
        "updated_at": instant(payment.updated_at),
    }
    if refund is None:
        return found
    is_canceled = refund.state in ("rejected", "canceled")
    return found | {
        "id": bare(refund.id),
        # Unique in the document's table; the view `services.payments` has the same.
        "payment_intent_id": f"refund_{refund.id.hex}",
        "payment_type": "refund",
        "status": REFUND_STATUS.get(refund.state, refund.state),
        "amount": decimal(refund.amount),
        "description": f"Refund of {told}" if (told := found["description"]) else "Refund",
        "external_payment_id": refund.provider_ref,
        "payment_url": None,
        "payment_url_expires_at": None,
        "paid_at": instant(refund.succeeded_at),
        "failed_at": instant(refund.failed_at),
        "canceled_at": instant(refund.updated_at) if is_canceled else None,
        "failure_reason": refund.error_message,
        "refunded_amount": fields.ZERO,
        "refunded_at": None,
        "refund_reason": refund.reason,
        "created_at": instant(refund.created_at),
        "updated_at": instant(refund.updated_at),
    }


def _metadata(one: Record) -> dict[str, Any]:
    """What the payment says for itself, and the plan and the period that it was for."""
    told = one.paid_for
    if told is None:
        return one.payment.metadata
    return one.payment.metadata | {
        "plan": told.plan_key, "period_start": instant(told.period_start),
        "period_end": instant(told.period_end),
    }  # fmt: skip


def provider_of(env: Env, method: str | None) -> str | None:
    """The provider that takes this payment_method; None: the usual one. InvalidRequest where
    none here does."""
    if method is None:
        return None
    if method not in PROVIDERS:
        raise InvalidRequest(
            f"payment_method is one of {', '.join(PROVIDERS)}.", param="payment_method"
        )
    name = PROVIDERS[method]
    if name is not None and name not in env.providers:
        raise InvalidRequest(f"{method} is not offered here.", param="payment_method")
    return name


# For applications: the document's three functions ------------------------------------------------


def create_payment(env: Env, record: Mapping[str, Any], payment_intent: Any = None) -> Record:
    """createPayment: record a payment and open its page; `url` leads to it.

    `record` has customer_id, amount (a Decimal or a text), and may have currency, description,
    payment_method, and one of: `service_id`, an unpaid service, which this payment will activate;
    `service_type`, the key of one to be made, inactive. A service costs what the catalogue says,
    and the amount must be that; whether it is a subscription or a renewal is then ours to say.
    The intent is made here: `payment_intent` is a key of your own, by which the call can be
    repeated. A payment_type of refund is `create_refund`'s: UseRefund.
    """
    if unknown := sorted(record.keys() - _MEMBERS):
        raise InvalidRequest(f"{unknown[0]!r} is no member of a payment.", param=unknown[0])
    payment_type = _type_of(record.get("payment_type"))
    who = customers.ensure(env, record["customer_id"])
    money = amount_of(Decimal(str(record["amount"])), str(record.get("currency", "usd")).lower())
    service_type, service_id = record.get("service_type"), None
    if record.get("service_id") is not None:
        unpaid = services.get(env, who.uuid, record["service_id"])
        service_type, service_id = unpaid.service_type, unpaid.id
    if service_type is not None:
        price = items.quote(env, service_type, who).price
        if price != money:
            raise InvalidRequest(f"{service_type} costs {price}, not {money}.", param="amount")
    key = None if payment_intent is None else ids.request_key("records", str(payment_intent))
    made = checkout.start(
        env,
        StartCheckout(
            customer_id=who.uuid, service=service_type, service_id=service_id,
            amount=None if service_type else money,
            provider=provider_of(env, record.get("payment_method")),
            description=record.get("description"), payment_type=payment_type, request_key=key,
        ),
    )  # fmt: skip
    return payment_records.get(env, made.customer_id, made.payment.id)


_MEMBERS = frozenset({"customer_id", "service_id", "service_type", "payment_type",
                      "payment_method", "amount", "currency", "description"})  # fmt: skip


def _type_of(word: Any) -> str | None:
    if word == "refund":
        raise UseRefund("A refund is made by create_refund.")
    if word is not None and word not in TYPES:
        raise InvalidRequest(f"payment_type is one of {', '.join(TYPES)}.", param="payment_type")
    return word


def update_payment_status(env: Env, payment_intent_id: str, status: str) -> Record:
    """updatePaymentStatus: the provider is asked, and what it says is recorded.

    SUCCEEDED and PROCESSING re-read it; FAILED and CANCELED end a payment that nobody has paid.
    Nothing is believed: where the provider says otherwise, Conflict is raised. REFUNDED is
    `create_refund`'s: UseRefund.
    """
    wanted = STATE_OF.get(status.lower())
    if wanted is None:
        raise InvalidRequest(f"{status[:40]!r} is no payment status.", param="status")
    if wanted in ("refunded", "partially_refunded"):
        raise UseRefund("A payment is refunded by create_refund.")
    one = payments.get(env, None, payment_intent_id)
    if wanted in DEAD_STATES:
        if one.state in OPEN_STATES:
            word = "failed" if wanted == "failed" else "canceled"
            payment_edits.stop(env, (one.customer_id, one.id), word)
    elif not one.paid:
        charges.refresh(env, one.customer_id, one.id, "verify")
    now = payments.get(env, one.customer_id, one.id)
    is_so = now.state == wanted or (wanted in DEAD_STATES and now.state in DEAD_STATES)
    if not is_so:
        raise Conflict(f"The provider says {now.state}, not {wanted}.")
    return payment_records.get(env, now.customer_id, now.id)


def create_refund(
    env: Env, payment_id: str, amount: Decimal | str | None = None, reason: str | None = None,
    *, by: str = "application", role: str = "admin", key: UUID | None = None,
    digest: bytes | None = None, persons: Sequence[str] | None = None,
) -> RefundView:  # fmt: skip
    """createRefund: so much of a payment goes back, or all that is left; recorded with who."""
    one = payments.get(env, None, payment_id)
    money = None if amount is None else amount_of(Decimal(str(amount)), one.currency)
    if reason is not None and len(reason) > 255:
        raise InvalidRequest("reason may have 255 characters.", param="reason")
    return refunds.request(
        env,
        refunds.WantRefund(
            customer_id=one.customer_id, payment_id=one.id, amount=money, reason=reason, by=by,
            persons=persons, actor_role=role, request_key=key or uuid4(),
            request_hash=digest or sha256(f"{one.id} {amount} {reason}".encode()).digest(),
        ),
    )  # fmt: skip

