"""Payments through Supabase's REST client: any client with the `supabase` table interface."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from ..exceptions import AmountTooLarge, DuplicatePayment, PaymentNotFound
from ..models import PaymentRecord
from .base import PaymentStore, Records

#: PostgreSQL's error classes, as PostgREST passes them on in `code`.
UNIQUE_VIOLATION = "23505"
NUMERIC_VALUE_OUT_OF_RANGE = "22003"
INVALID_TEXT_REPRESENTATION = "22P02"


class SupabasePaymentStore(PaymentStore):
    """The table `payment_transactions`; each call is one request and one transaction.

    The client needs rights on the table that its row-level security grants: on a server, the
    service role's.
    """

    def __init__(self, supabase_client: Any, table: str = "payment_transactions") -> None:
        self._client = supabase_client
        self._name = table

    def create(self, payment: PaymentRecord) -> PaymentRecord:
        with _translating():
            self._table().insert(payment.to_row()).execute()
        return payment

    def get_by_id(self, payment_id: str) -> PaymentRecord | None:
        try:
            UUID(payment_id)
        except ValueError:
            return None
        return self._one("id", payment_id)

    def get_by_session_id(self, session_id: str) -> PaymentRecord | None:
        return None if "\x00" in session_id else self._one("provider_session_id", session_id)

    def update(self, payment: PaymentRecord) -> PaymentRecord:
        with _translating():
            written = self._table().update(_changes(payment)).eq("id", payment.id).execute()
        if not written.data:
            raise PaymentNotFound(f"no payment {payment.id}")
        return payment

    def compare_and_set(self, payment: PaymentRecord, expect_version: int) -> bool:
        request = self._table().update(_changes(payment))
        with _translating():
            written = request.eq("id", payment.id).eq("version", expect_version).execute()
        return len(written.data) == 1

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
        request = _filtered(self._table().select("*"), user_id, statuses)
        if expires_before is not None:
            request = request.lte("expires_at", expires_before.isoformat())
        if claims_before is not None:
            # A null lease is not at or before any instant, and a credited payment has none.
            request = request.lte("claim_expires_at", claims_before.isoformat())
        request = request.order("created_at", desc=True).order("id", desc=True)
        found = _fetched(request.range(offset, offset + limit - 1))
        return [PaymentRecord.from_dict(row) for row in found.data] if found else []

    def count(self, *, user_id: str, statuses: Collection[str] | None = None) -> int:
        request = _filtered(self._table().select("id", count="exact"), user_id, statuses)
        found = _fetched(request.limit(1))
        return found.count or 0 if found else 0

    def _one(self, column: str, value: str) -> PaymentRecord | None:
        found = self._table().select("*").eq(column, value).limit(1).execute()
        return PaymentRecord.from_dict(found.data[0]) if found.data else None

    def _table(self) -> Any:
        return self._client.table(self._name)


def _filtered(request: Any, user_id: str | None, statuses: Collection[str] | None) -> Any:
    if user_id is not None:
        request = request.eq("user_id", user_id)
    return request if statuses is None else request.in_("status", sorted(statuses))


def _fetched(request: Any) -> Any:
    """The answer, or None where a user id has another shape than its column."""
    try:
        return request.execute()
    except Exception as exc:
        if getattr(exc, "code", None) == INVALID_TEXT_REPRESENTATION:
            return None
        raise


def _changes(payment: PaymentRecord) -> dict[str, Any]:
    return {name: value for name, value in payment.to_row().items() if name != "id"}


@contextmanager
def _translating() -> Iterator[None]:
    """The client's own exception types are unknown here; `code` is PostgreSQL's."""
    try:
        yield
    except Exception as exc:
        code = getattr(exc, "code", None)
        if code == UNIQUE_VIOLATION:
            raise DuplicatePayment(f"already recorded: {exc}") from exc
        if code == NUMERIC_VALUE_OUT_OF_RANGE:
            raise AmountTooLarge(str(exc)) from exc
        raise
