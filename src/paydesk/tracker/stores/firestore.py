"""Payments in Cloud Firestore, through Google's own client (`google-cloud-firestore`)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from datetime import datetime
from typing import Any

from ..exceptions import DuplicatePayment, PaymentNotFound
from ..models import PaymentRecord
from .base import PaymentStore, Records

#: How often a change is laid onto the newest version because another writer was faster.
MAX_TRIES = 50
#: What can be a document's id as it is; anything else stands under its digest.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")
_JSON_FIELDS = ("metadata", "status_history")


class FirestorePaymentStore(PaymentStore):
    """A collection of payments, and one of sessions that holds each to a single payment.

    Every change is one commit with the version that was read as its precondition, and is never
    sent again by itself: of two writers one is told that it came too late. Give `client=`, a
    `google.cloud.firestore.Client`, or `project=` and `database=` to have one made.
    """

    def __init__(
        self,
        client: Any = None,
        *,
        project: str | None = None,
        database: str | None = None,
        collection: str = "payment_transactions",
    ) -> None:
        from google.api_core import exceptions

        if client is None:
            from google.cloud import firestore

            client = firestore.Client(project=project, database=database)
        self._client = client
        self._taken = exceptions.AlreadyExists
        self._late = (exceptions.FailedPrecondition, exceptions.NotFound, exceptions.Aborted)
        self._payments = client.collection(collection)
        self._sessions = client.collection(f"{collection}_sessions")

    def create(self, payment: PaymentRecord) -> PaymentRecord:
        batch = self._client.batch()
        batch.create(self._payments.document(payment.id), _document(payment))
        self._claim_session(batch, payment)
        try:
            batch.commit(retry=None)
        except self._taken as exc:
            raise DuplicatePayment(f"already recorded: {payment.id}") from exc
        return payment

    def get_by_id(self, payment_id: str) -> PaymentRecord | None:
        if not _PLAIN.fullmatch(payment_id):
            return None
        return _record(self._payments.document(payment_id).get())

    def get_by_session_id(self, session_id: str) -> PaymentRecord | None:
        found = self._sessions.document(_key(session_id)).get()
        return self.get_by_id(found.get("payment_id")) if found.exists else None

    def update(self, payment: PaymentRecord) -> PaymentRecord:
        for _ in range(MAX_TRIES):
            stored = self._payments.document(payment.id).get()
            if not stored.exists:
                raise PaymentNotFound(f"no payment {payment.id}")
            if self._replace(stored, payment):
                return payment
        raise TimeoutError(f"payment {payment.id} changes too often")

    def compare_and_set(self, payment: PaymentRecord, expect_version: int) -> bool:
        for _ in range(MAX_TRIES):
            stored = self._payments.document(payment.id).get()
            if not stored.exists or stored.get("version") != expect_version:
                return False
            if self._replace(stored, payment):
                return True
        raise TimeoutError(f"payment {payment.id} changes too often")

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
        query = self._filtered(user_id, statuses)
        if expires_before is not None:
            query = _where(query, "expires_at", "<=", expires_before)
        if claims_before is not None:
            # A lease that is null is at or before no instant.
            query = _where(query, "credits_added", "==", False)
            query = _where(query, "claim_expires_at", "<=", claims_before)
        query = query.order_by("created_at", direction="DESCENDING")
        query = query.order_by("id", direction="DESCENDING").limit(limit).offset(offset)
        found = (_record(one) for one in query.stream())
        return [one for one in found if one is not None]

    def count(self, *, user_id: str, statuses: Collection[str] | None = None) -> int:
        (answer,) = self._filtered(user_id, statuses).count(alias="n").get()
        return int(answer[0].value)

    def _filtered(self, user_id: str | None, statuses: Collection[str] | None) -> Any:
        query = self._payments
        if user_id is not None:
            query = _where(query, "user_id", "==", user_id)
        return query if statuses is None else _where(query, "status", "in", sorted(statuses))

    def _replace(self, stored: Any, payment: PaymentRecord) -> bool:
        """Write the record over the version that was read; False where another one is there now.

        Raises DuplicatePayment where its session is another payment's.
        """
        batch = self._client.batch()
        option = self._client.write_option(last_update_time=stored.update_time)
        batch.update(stored.reference, _document(payment), option=option)
        if payment.session_id is not None and payment.session_id != stored.get("session_id"):
            self._claim_session(batch, payment)
        try:
            batch.commit(retry=None)
        except self._taken as exc:
            held = self._sessions.document(_key(str(payment.session_id))).get()
            if held.exists and held.get("payment_id") == payment.id:
                return False  # Another writer attached the very session: read it again.
            raise DuplicatePayment(f"session {payment.session_id} is already recorded") from exc
        except self._late:
            return False
        return True

    def _claim_session(self, batch: Any, payment: PaymentRecord) -> None:
        if payment.session_id is not None:
            batch.create(
                self._sessions.document(_key(payment.session_id)), {"payment_id": payment.id}
            )


def _where(query: Any, field: str, operator: str, value: Any) -> Any:
    from google.cloud.firestore_v1.base_query import FieldFilter

    return query.where(filter=FieldFilter(field, operator, value))


def _key(session_id: str) -> str:
    """A document's id for a session: Firestore takes neither slashes nor long texts."""
    if _PLAIN.fullmatch(session_id):
        return session_id
    return f"sha256-{hashlib.sha256(session_id.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _document(payment: PaymentRecord) -> dict[str, Any]:
    """The record as fields: times as timestamps, so that they sort; free JSON as its text, since
    Firestore's own values nest less deeply and know no large numbers."""
    fields = payment.to_dict()
    for name in fields:
        if name.endswith("_at"):
            fields[name] = getattr(payment, name)
    for name in _JSON_FIELDS:
        fields[name] = json.dumps(fields[name], ensure_ascii=False)
    return fields


def _record(found: Any) -> PaymentRecord | None:
    if not found.exists:
        return None
    fields = found.to_dict()
    for name, value in fields.items():
        if isinstance(value, datetime):
            # The client's own kind of time carries nanoseconds beside it.
            fields[name] = datetime.fromisoformat(value.isoformat())
    return PaymentRecord.from_dict(fields)
