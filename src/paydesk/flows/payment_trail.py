"""How a payment came to where it is: every try to pay, and every change with its cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx
    from paydesk.flows.payments import PaymentView

#: Members of a cause that have a field of their own.
_NAMED = ("actor", "via", "request_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One try to pay: a session at the provider, or a charge that was declined in it.

    `response` is what the provider answered last, without secrets.
    """

    id: UUID
    state: str
    provider: str
    session_ref: str | None
    payment_ref: str | None
    url: str | None
    action_url: str | None
    method: str | None
    method_id: UUID | None
    error_code: str | None
    error_message: str | None
    response: dict[str, Any] | None
    expires_at: datetime | None
    ended_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change. `actor` did it, through `via` (http, webhook, sweep, cli, ...), in the request
    of `request_id`; `cause` is what else is known, such as the provider's event."""

    id: UUID
    at: datetime
    type: str
    data: dict[str, Any]
    actor: str | None
    via: str | None
    request_id: str | None
    cause: dict[str, Any] = field(default_factory=dict)


def attempts(tx: Tx, customer_id: UUID, payment_id: UUID) -> list[AttemptView]:
    """Every try to pay, oldest first."""
    rows = tx.all(
        "select id, state, provider, session_ref, provider_payment_ref as payment_ref, url,"
        " action_url, method, method_id, error_code, error_message, response, expires_at,"
        " ended_at, created_at, updated_at from attempts"
        " where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
        " order by created_at, id limit 200",
        {"customer_id": customer_id, "payment_id": payment_id},
    )
    return [AttemptView(**row) for row in rows]


def timeline(tx: Tx, payment: PaymentView) -> list[Step]:
    """What happened to a payment, its checkout, purchase, service, refunds and disputes, oldest
    first."""
    around = (payment.id, payment.checkout_id, payment.purchase_id, payment.service_id)
    rows = tx.all(
        "select id, created_at as at, type, data, cause from events"
        " where customer_id = %(customer_id)s and subject_id = any(%(subjects)s::uuid[]"
        "  || array(select id from refunds where customer_id = %(customer_id)s"
        "   and payment_id = %(payment_id)s)"
        "  || array(select id from disputes where customer_id = %(customer_id)s"
        "   and payment_id = %(payment_id)s))"
        # A service may have been left unpaid, and then have another payment.
        " and coalesce((data->>'payment_id')::uuid, %(payment_id)s) = %(payment_id)s"
        " order by seq limit 500",
        {
            "customer_id": payment.customer_id,
            "payment_id": payment.id,
            "subjects": [one for one in around if one],
        },
    )
    return [_step(row) for row in rows]


def _step(row: dict[str, Any]) -> Step:
    cause = row["cause"] or {}
    return Step(
        id=row["id"], at=row["at"], type=row["type"], data=row["data"] or {},
        **{name: cause.get(name) for name in _NAMED},
        cause={name: value for name, value in cause.items() if name not in _NAMED},
    )  # fmt: skip
