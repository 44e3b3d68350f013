"""Payments in this process's memory: for tests and first steps. Thread-safe, gone at exit."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from ..exceptions import DuplicatePayment, PaymentNotFound
from ..models import PaymentRecord
from .base import PaymentStore, Records

_NEVER = datetime.min.replace(tzinfo=UTC)


class MemoryPaymentStore(PaymentStore):
    """A dictionary behind a lock. Records are copied in and out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._payments: dict[str, PaymentRecord] = {}
        self._sessions: dict[str, str] = {}

    def create(self, payment: PaymentRecord) -> PaymentRecord:
        with self._lock:
            if payment.id in self._payments:
                raise DuplicatePayment(f"payment {payment.id} is already recorded")
            self._claim_session(payment)
            self._payments[payment.id] = payment.model_copy(deep=True)
        return payment

    def get_by_id(self, payment_id: str) -> PaymentRecord | None:
        with self._lock:
            found = self._payments.get(payment_id)
        return found and found.model_copy(deep=True)

    def get_by_session_id(self, session_id: str) -> PaymentRecord | None:
        with self._lock:
            found = self._payments.get(self._sessions.get(session_id, ""))
        return found and found.model_copy(deep=True)

    def update(self, payment: PaymentRecord) -> PaymentRecord:
        with self._lock:
            if payment.id not in self._payments:
                raise PaymentNotFound(f"no payment {payment.id}")
            self._replace(payment)
        return payment

    def compare_and_set(self, payment: PaymentRecord, expect_version: int) -> bool:
        with self._lock:
            stored = self._payments.get(payment.id)
            if stored is None or stored.version != expect_version:
                return False
            self._replace(payment)
        return True

    def update_many(self, pairs: Sequence[tuple[PaymentRecord, PaymentRecord]]) -> list[bool]:
        return [self.compare_and_set(new, old.version) for old, new in pairs]

    def list(
        self,
        *,
        user_id: str | None = None,
        statuses: Collection[str] | None = None,
        expires_before: datetime | None = None,
        claims_before: datetime | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Records:
        with self._lock:
            found = [p for p in self._payments.values() if _meets(p, user_id, statuses)]
        if expires_before is not None:
            found = [p for p in found if p.expires_at and p.expires_at <= expires_before]
        if claims_before is not None:
            found = [p for p in found if _claimed_until(p, claims_before)]
        found.sort(key=lambda p: (p.created_at or _NEVER, p.id), reverse=True)
        return [p.model_copy(deep=True) for p in found[offset : offset + limit]]

    def count(self, *, user_id: str, statuses: Collection[str] | None = None) -> int:
        with self._lock:
            return sum(_meets(p, user_id, statuses) for p in self._payments.values())

    def _replace(self, payment: PaymentRecord) -> None:
        self._claim_session(payment)
        self._payments[payment.id] = payment.model_copy(deep=True)

    def _claim_session(self, payment: PaymentRecord) -> None:
        if payment.session_id is None:
            return
        if self._sessions.setdefault(payment.session_id, payment.id) != payment.id:
            raise DuplicatePayment(f"session {payment.session_id} is already recorded")


def _meets(payment: PaymentRecord, user_id: str | None, statuses: Collection[str] | None) -> bool:
    mine = user_id is None or payment.user_id == user_id
    return mine and (statuses is None or payment.status in statuses)


def _claimed_until(payment: PaymentRecord, instant: datetime) -> bool:
    until = payment.claim_expires_at
    return not payment.credits_added and until is not None and until <= instant
