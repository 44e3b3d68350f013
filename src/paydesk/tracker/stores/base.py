"""The interface every store implements: four methods, and four more that make it better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from ..models import PaymentRecord

Records = Sequence[PaymentRecord]


class PaymentStore(ABC):
    """Keeps PaymentRecords. Implement the four abstract methods; override others as you can.

    The record handed to a method already carries its new `version`: store it as it is.
    `compare_and_set` makes `complete_once` safe with several writers, `list` and `count` make
    history, statistics, expire_stale and recover work, `update_many` makes sweeps fast.
    """

    #: Off for a store whose table has no place for `status_history`.
    keeps_status_history = True

    @abstractmethod
    def create(self, payment: PaymentRecord) -> PaymentRecord:
        """Insert. Raises DuplicatePayment where the id or the session is known."""

    @abstractmethod
    def get_by_id(self, payment_id: str) -> PaymentRecord | None:
        """The payment of this id, or None."""

    @abstractmethod
    def get_by_session_id(self, session_id: str) -> PaymentRecord | None:
        """The payment of this checkout session, or None."""

    @abstractmethod
    def update(self, payment: PaymentRecord) -> PaymentRecord:
        """Replace the stored record. Raises PaymentNotFound where none is stored."""

    def compare_and_set(self, payment: PaymentRecord, expect_version: int) -> bool:
        """Replace the record only if the stored one is at `expect_version`, in one atomic step."""
        raise TypeError(f"{type(self).__name__} cannot compare and set")

    def update_many(self, pairs: Sequence[tuple[Any, Any]]) -> list[bool]:
        """`compare_and_set(new, old.version)` for each pair (old, new), in one statement."""
        raise TypeError(f"{type(self).__name__} cannot update many")

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
        """Payments newest first (created_at, then id), those that meet every filter given.

        `statuses` are the words of `PaymentRecord.status`. `expires_before`: `expires_at` is at
        or before. `claims_before`: credits not added and `claim_expires_at` at or before.
        """
        raise TypeError(f"{type(self).__name__} cannot list")

    def count(self, *, user_id: str, statuses: Collection[str] | None = None) -> int:
        """How many payments `list` would give without a limit."""
        raise TypeError(f"{type(self).__name__} cannot count")

    def can(self, method: str) -> bool:
        """Does this store implement that optional method itself?"""
        return getattr(type(self), method) is not getattr(PaymentStore, method)
