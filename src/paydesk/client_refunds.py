"""The library's front for refunds: `pay.refund` and `pay.refunds`."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.client_parts import CustomerRef, _Part, id_of, request_key
from paydesk.flows import customers, payments, refunds
from paydesk.flows.refund_views import RefundView
from paydesk.flows.refunds import Preview, WantRefund
from paydesk.results import Listing, Payment, Session
from paydesk.rules.money import Money

#: Who asks where nobody is named: the application itself.
APPLICATION = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund. `status` is requested, rejected, pending, succeeded, failed or canceled;
    `payment` is the payment as it stands with it. Credits are whole credits."""

    id: str
    payment: Payment
    status: str
    amount: Money
    reason: str | None
    note: str | None
    origin: str
    forced: bool
    by: str | None
    decided_by: str | None
    decided_at: datetime | None
    decision_note: str | None
    credits_taken_back: int
    credits_owed: int
    credits_forgiven: int
    loss: Money
    provider: str
    provider_refund: str | None
    error_code: str | None
    error_message: str | None
    metadata: Mapping[str, str] = field(hash=False)
    created_at: datetime
    succeeded_at: datetime | None
    failed_at: datetime | None

    @classmethod
    def of(cls, view: RefundView) -> Refund:
        return cls(
            id=ids.show("refund", view.id), payment=Payment.of(view.payment), status=view.state,
            amount=view.amount, reason=view.reason, note=view.note, origin=view.origin,
            forced=view.forced, by=view.requested_by, decided_by=view.decided_by,
            decided_at=view.decided_at, decision_note=view.decision_note,
            credits_taken_back=view.credits_taken_back, credits_owed=view.credits_owed,
            credits_forgiven=view.credits_forgiven, loss=view.loss, provider=view.provider,
            provider_refund=view.provider_ref, error_code=view.error_code,
            error_message=view.error_message, metadata=view.metadata, created_at=view.created_at,
            succeeded_at=view.succeeded_at, failed_at=view.failed_at,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Refund {self.id} {self.status} {self.amount}>"


#: A payment or refund: its id, or the object.
PaymentRef = str | UUID | Payment | Session
RefundRef = str | UUID | Refund


class Refunds(_Part):
    """Refunds: looked at before, asked for, decided."""

    def preview(self, payment: PaymentRef, amount: Money | None = None) -> Preview:
        """What a refund of this amount (all that is left without one) would do and take back.

        Changes nothing. Raises NotFound, NotRefundable, InvalidRequest.
        """
        found = payments.get(self._env, None, id_of(payment))
        return refunds.preview(self._env, found.customer_id, found.id, amount)

    def create(
        self,
        payment: PaymentRef,
        amount: Money | None = None,
        *,
        reason: str | None = None,
        note: str | None = None,
        by: str | None = None,
        force: bool = False,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Refund:
        """Give a payment back, wholly (all that is left) or in part; its goods go with it.

        Above the approval threshold it is `requested` until somebody else than `by` decides.
        `force` goes past the window. The same `key` refunds once. Raises NotRefundable,
        RefundWindowClosed, GoodsUsed, NotSupported, ProviderRefused.
        """
        found = payments.get(self._env, None, id_of(payment))
        told = [str(found.id), None if amount is None else [amount.minor, amount.currency],
                reason, note, by, force, dict(metadata or {})]  # fmt: skip
        digest = hashlib.sha256(json.dumps(told, default=str).encode()).digest()
        want = WantRefund(
            customer_id=found.customer_id, payment_id=found.id, amount=amount, reason=reason,
            note=note, by=by or APPLICATION, force=force, metadata=metadata,
            request_key=request_key(key) or uuid.uuid4(), request_hash=digest,
        )  # fmt: skip
        return Refund.of(refunds.request(self._env, want))

    def get(self, refund: RefundRef) -> Refund:
        """One refund, as it stands. Raises NotFound."""
        return Refund.of(refunds.get(self._env, None, _refund_id(refund)))

    def list(
        self,
        *,
        payment: PaymentRef | None = None,
        customer: CustomerRef | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> Listing[Refund]:
        """Refunds, newest first: a payment's, a customer's, or everybody's."""

        def page(last: Any, n: int) -> Any:
            who = None if customer is None else customers.resolve(self._env, customer)
            paid = None
            if payment is not None:
                paid = payments.get(self._env, who, id_of(payment)).id
            return refunds.list_(
                self._env, who, payment_id=paid, status=status, limit=n,
                after=last.id if last else None,
            )  # fmt: skip

        return Listing(page, Refund.of, limit)

    def approve(self, refund: RefundRef, *, by: str, note: str | None = None) -> Refund:
        """Another person than who asked carries a requested refund out. Raises ApprovalRequired,
        Conflict, and what `create` raises."""
        return self._decide(refund, "approve", by, note)

    def reject(self, refund: RefundRef, *, by: str, note: str | None = None) -> Refund:
        """Another person than who asked refuses it. Raises ApprovalRequired, Conflict."""
        return self._decide(refund, "reject", by, note)

    def cancel(self, refund: RefundRef, *, by: str) -> Refund:
        """Whoever asked takes that back. Raises NotPermitted, Conflict."""
        found = _refund_id(refund)
        return Refund.of(refunds.cancel(self._env, ids.customer_of(found), found, by=by))

    def mark_paid(self, refund: RefundRef, reference: str, *, by: str) -> Refund:
        """A person paid it back by hand, for payments that no provider refunds."""
        return self._offline(refund, "paid", by, reference)

    def mark_failed(self, refund: RefundRef, *, by: str, note: str | None = None) -> Refund:
        """A person could not pay it back: goods and books stand as before it."""
        return self._offline(refund, "failed", by, note)

    def _decide(self, refund: RefundRef, action: str, by: str, note: str | None) -> Refund:
        found = _refund_id(refund)
        return Refund.of(refunds.decide(
            self._env, ids.customer_of(found), found, action, by=by, note=note
        ))  # fmt: skip

    def _offline(self, refund: RefundRef, action: str, by: str, told: str | None) -> Refund:
        found = _refund_id(refund)
        return Refund.of(refunds.settle_offline(
            self._env, ids.customer_of(found), found, action, by=by, reference=told
        ))  # fmt: skip


def _refund_id(value: RefundRef) -> UUID:
    if isinstance(value, UUID):
        return value
    return ids.parse("refund", value.id if isinstance(value, Refund) else value)
