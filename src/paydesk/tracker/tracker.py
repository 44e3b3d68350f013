"""PaymentTracker: every change to a payment, and the one place that changes its state."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid4

from .base import PaymentProvider
from .config import TrackerSettings, default_settings
from .exceptions import (
    AlreadyCredited,
    AmountMismatch,
    DuplicatePayment,
    IllegalTransition,
    NotPaid,
    PaymentNotFound,
    RecoveryDisabled,
    SingleWriterWarning,
    StoreLacks,
    VerificationExhausted,
    VersionConflict,
)
from .models import (
    MAX_HISTORY,
    PAID_STATES,
    PaymentPage,
    PaymentRecord,
    PaymentStatistics,
    ProviderReport,
    StatusChange,
    Verification,
    absorbs,
    check_transition,
    status_words,
)
from .rules import grantable, paid_changes, refund_state, stamps
from .statistics import summarize
from .stores.base import PaymentStore

__all__ = ["PaymentRecord", "PaymentStore", "PaymentTracker"]

#: How often a change is tried again after somebody else changed the payment first.
MAX_TRIES = 100
#: How many payments a sweep or a sum reads at once.
BATCH = 500
#: Where `verify` counts how often it asked the provider, inside `metadata`.
ATTEMPTS_KEY = "verification_attempts"

Record = TypeVar("Record", bound=PaymentRecord)
Grant = Callable[[PaymentRecord], object]
log = logging.getLogger(__name__)


class PaymentTracker:
    """Keeps payments in a store. Safe to share between threads when its store is."""

    def __init__(
        self,
        store: PaymentStore,
        *,
        settings: TrackerSettings | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.store = store
        self.settings = settings or default_settings()
        self.clock = clock or _utc_now
        self.single_writer = not store.can("compare_and_set") and not store.can("update_many")
        self._lock = threading.RLock() if self.single_writer else nullcontext()
        self._keeps_history = (
            self.settings.payment_tracking.keep_status_history and store.keeps_status_history
        )

    def create_pending_payment(
        self,
        user_id: str | UUID,
        amount_cents: int,
        credits_to_add: int,
        provider: str,
        session_id: str | None = None,
        package_id: str | None = None,
        package_name: str | None = None,
        *,
        currency: str = "usd",
        amount_usd: Decimal | None = None,
        metadata: dict[str, Any] | None = None,
        payment_id: str | UUID | None = None,
    ) -> PaymentRecord:
        """Record a payment before its user is sent to the provider.

        `amount_cents` is in the currency's minor unit, 0 < x < 2**63. Raises TypeError for a
        float, pydantic's ValidationError (a ValueError) for other bad values, DuplicatePayment
        when the session or the id is known.
        """
        now = self.clock()
        minutes = self.settings.payment_tracking.session_expiry_minutes
        payment = PaymentRecord(
            id=str(payment_id or uuid4()),
            user_id=str(user_id),
            amount_cents=amount_cents,
            amount_usd=amount_usd,
            currency=currency,
            credits_to_add=credits_to_add,
            provider=provider,
            session_id=session_id,
            package_id=package_id,
            package_name=package_name,
            metadata=metadata or {},
            created_at=now,
            updated_at=now,
            expires_at=now + timedelta(minutes=minutes),
        )
        with self._lock:
            if session_id is not None and self.store.get_by_session_id(session_id) is not None:
                raise DuplicatePayment(f"session {session_id} is already recorded")
            return self.store.create(payment)

    # Reading.

    def get(self, payment_id: str | UUID) -> PaymentRecord:
        """The payment of this id. Raises PaymentNotFound."""
        found = self.store.get_by_id(str(payment_id))
        if found is None:
            raise PaymentNotFound(f"no payment {payment_id}")
        return found

    def get_by_session(self, session_id: str) -> PaymentRecord:
        """The payment of this checkout session. Raises PaymentNotFound."""
        found = self.store.get_by_session_id(session_id)
        if found is None:
            raise PaymentNotFound(f"no payment of session {session_id}")
        return found

    def is_duplicate(self, session_id: str) -> bool:
        """Were this session's credits added already?

        A quick answer, not a guard: two callers can both hear False. `complete_once` guards.
        """
        found = self.store.get_by_session_id(session_id)
        return found is not None and found.credits_added

    def history(
        self, user_id: str, *, page: int = 1, page_size: int = 20, status: str | None = None
    ) -> PaymentPage:
        """A user's payments, newest first; `status` takes every alias of a status word."""
        if page < 1 or not 1 <= page_size <= BATCH:
            raise ValueError(f"page starts at 1, page_size is 1 to {BATCH}")
        words = status_words(status) if status else None
        total = self._store_call("count", user_id=str(user_id), statuses=words)
        offset = (page - 1) * page_size
        found = self._store_call(
            "list", user_id=str(user_id), statuses=words, limit=page_size, offset=offset
        )
        return PaymentPage(
            payments=found,
            total_count=total,
            page=page,
            page_size=page_size,
            has_more=offset + len(found) < total,
        )

    def statistics(self, user_id: str) -> PaymentStatistics:
        """A user's payments in sums; see PaymentStatistics for what each counts."""
        return summarize(self._all(user_id=str(user_id)))

    # One change of status each. News that comes late changes nothing and is no error.

    def attach_session(self, payment_id: str, session_id: str) -> PaymentRecord:
        """Give a payment its session, where the session was made after the payment."""
        return self._change(payment_id, lambda p: {"session_id": session_id})

    def mark_processing(self, payment_id: str) -> PaymentRecord:
        """The provider has started to collect the money."""
        return self._mark(payment_id, "processing")

    def mark_completed(
        self,
        payment_id: str,
        provider_payment_id: str | None = None,
        *,
        captured_cents: int | None = None,
    ) -> PaymentRecord:
        """The money has come: all of it, unless `captured_cents` says how much.

        Completes expired, failed and cancelled payments too, since money is a fact. A payment
        that is refunded by now stays refunded.
        """

        def changes(payment: PaymentRecord) -> dict[str, Any]:
            return paid_changes(payment, provider_payment_id, captured_cents)

        return self._mark(payment_id, "succeeded", changes)

    def mark_credits_added(
        self, payment_id: str, credit_transaction_id: str | UUID | None = None
    ) -> PaymentRecord:
        """The credits of a completed payment have been added.

        Raises NotPaid before the payment is completed, AlreadyCredited the second time (with
        `check_duplicates_before_credit` off, the second time changes nothing).
        """

        def changes(payment: PaymentRecord) -> dict[str, Any] | None:
            if payment.credits_added:
                if self.settings.payment_tracking.check_duplicates_before_credit:
                    raise AlreadyCredited(f"credits of payment {payment.id} were added before")
                return None
            if payment.state not in PAID_STATES:
                raise NotPaid(f"payment {payment.id} is {payment.status}; mark_completed first")
            key = credit_transaction_id or payment.credit_transaction_id
            return {**self._credited(), "credit_transaction_id": key and str(key)}

        return self._change(payment_id, changes)

    def mark_failed(
        self, payment_id: str, error_message: str | None = None, error_code: str | None = None
    ) -> PaymentRecord:
        """The provider has given up on the payment."""
        error = {"error_message": error_message, "error_code": error_code}
        return self._mark(payment_id, "failed", lambda p: error)

    def mark_expired(self, payment_id: str) -> PaymentRecord:
        """The checkout session has ended unpaid."""
        return self._mark(payment_id, "expired")

    def mark_cancelled(self, payment_id: str) -> PaymentRecord:
        """The user has left the checkout for good."""
        return self._mark(payment_id, "canceled")

    def mark_refunded(self, payment_id: str, refunded_cents: int | None = None) -> PaymentRecord:
        """`refunded_cents` have gone back in all, everything captured when not given.

        A total, not an addition, so that a repeat changes nothing; a smaller total than before
        means that a refund failed later. Raises RefundTooLarge, and IllegalTransition for a
        payment that was never completed.
        """
        for _ in range(MAX_TRIES):
            with self._lock:
                payment = self.get(payment_id)
                total = payment.captured_cents if refunded_cents is None else refunded_cents
                to_state = refund_state(payment, total)
                if payment.state == to_state and payment.refunded_cents == total:
                    return payment
                done = self._try(payment, to_state, {"refunded_cents": total})
            if done is not None:
                return done
        raise VersionConflict(f"payment {payment_id} changes too often")

    def expire_stale(self, now: datetime | None = None) -> list[PaymentRecord]:
        """Expire every payment that still waits for its user past `expires_at`.

        Money that arrives afterwards still completes them.
        """
        now = now or self.clock()
        expired: list[PaymentRecord] = []
        while True:
            with self._lock:
                due = self._store_call(
                    "list", statuses=frozenset({"pending"}), expires_before=now, limit=BATCH
                )
                done = self.advance_many([(p, "expired", {}) for p in due], now=now)
            expired += [payment for payment in done if payment is not None]
            if len(due) < BATCH:
                return expired

    # Credits exactly once.

    def complete_once(
        self,
        session_id: str,
        grant: Grant,
        *,
        provider_payment_id: str | None = None,
        captured_cents: int | None = None,
    ) -> bool:
        """The money of this session has come: complete the payment and grant its credits once.

        Claims the payment, calls `grant(payment)`, then marks the credits as added. Of any
        number of callers at once one gets True, the others False. `payment.credit_transaction_id`
        was stored before the call: the grant must use it as its key, since a caller that died
        after granting is repeated by `recover` with the same id. Returns False, too, while
        another caller holds the claim and for a payment refunded in full; one refunded in part is
        granted, and `grant` sees its `refunded_cents`.

        What `grant` raises is passed on; the claim is given up and a repeat grants with the same
        id. Raises PaymentNotFound. Warns SingleWriterWarning when the store cannot compare and
        set: then only one process may write.
        """
        if self.single_writer:
            warnings.warn(
                f"{type(self.store).__name__} has no compare_and_set: complete_once is safe "
                "with one writing process only",
                SingleWriterWarning,
                stacklevel=2,
            )
        claimed = self._claim(
            lambda: self.get_by_session(session_id),
            lambda payment: paid_changes(payment, provider_payment_id, captured_cents),
            self.clock(),
        )
        return claimed is not None and self._grant(claimed, grant)

    def recover(self, grant: Grant, now: datetime | None = None) -> list[PaymentRecord]:
        """Repeat the grants whose caller died or failed, with their same `credit_transaction_id`.

        Takes claims whose lease has run out at `now`. A grant that raises is logged and left
        for the next time; the payments credited by this call are returned.
        """
        self._require_recovery()
        now = now or self.clock()
        credited: list[PaymentRecord] = []
        for found in list(self._all(claims_before=now)):
            claimed = self._claim(lambda found=found: self.get(found.id), lambda p: {}, now)
            if claimed is None:
                continue
            try:
                if self._grant(claimed, grant):
                    credited.append(self.get(claimed.id))
            except Exception:
                log.exception("credits of payment %s could not be granted", claimed.id)
        return credited

    # Recovery from webhooks that never came.

    def verify(
        self, session_id: str, provider: PaymentProvider, *, grant: Grant | None = None
    ) -> Verification:
        """Ask the provider how a session stands and record the answer; grant when `grant` is given.

        A payment already credited, or paid and not to be granted here, is not asked about. Raises
        RecoveryDisabled, VerificationExhausted after `max_verification_attempts`, AmountMismatch
        when other money came than was asked (the payment stays as it was), PaymentNotFound.
        """
        self._require_recovery()
        payment = self.get_by_session(session_id)
        if payment.credits_added or payment.state in PAID_STATES:
            if grant is not None:
                self.complete_once(session_id, grant)
            return self._standing(session_id)
        self._count_attempt(payment.id)
        report = provider.fetch(session_id)
        if report.state != "succeeded":
            self._record_report(payment.id, report)
            return self._standing(session_id)
        if (report.amount_cents, report.currency) != (payment.amount_cents, payment.currency):
            asked = f"{payment.amount_cents} {payment.currency}"
            paid = f"{report.amount_cents} {report.currency}"
            raise AmountMismatch(f"payment {payment.id} asked {asked}, the provider has {paid}")
        if grant is None:
            self.mark_completed(payment.id, report.provider_payment_id)
        else:
            reference = report.provider_payment_id
            self.complete_once(session_id, grant, provider_payment_id=reference)
        return self._standing(session_id)

    def verify_on_success_page(
        self, session_id: str, provider: PaymentProvider, *, grant: Grant | None = None
    ) -> Verification:
        """`verify` where `recovery.auto_verify_on_success_page` is on, else only a look."""
        recovery = self.settings.recovery
        if recovery.enabled and recovery.auto_verify_on_success_page:
            return self.verify(session_id, provider, grant=grant)
        return self._standing(session_id)

    # The only code that changes a state.

    def advance(self, record: Record, to_state: str, *, now: datetime, **changes: Any) -> Record:
        """Move one payment to `to_state` (or change only its fields), from the version read.

        Raises IllegalTransition, and VersionConflict when somebody else was first.
        """
        done = self.advance_many([(record, to_state, changes)], now=now)[0]
        if done is None:
            raise VersionConflict(f"payment {record.id} is no longer at version {record.version}")
        return done

    def advance_many(
        self, items: Sequence[tuple[Record, str, dict[str, Any]]], *, now: datetime
    ) -> list[Record | None]:
        """Move payments, each once, in one statement where the store can.

        Returns the new records in order, None where somebody else changed the payment first.
        Raises IllegalTransition before anything is written.
        """
        pairs = [(old, self._next(old, to_state, now, changes)) for old, to_state, changes in items]
        if not pairs:
            return []
        if self.store.can("update_many"):
            written = self.store.update_many(pairs)
        elif self.store.can("compare_and_set"):
            written = [self.store.compare_and_set(new, old.version) for old, new in pairs]
        else:
            written = [self.store.update(new) is not None for _, new in pairs]
        return [new if ok else None for (_, new), ok in zip(pairs, written, strict=True)]

    def _next(
        self, record: Record, to_state: str, now: datetime, changes: dict[str, Any]
    ) -> Record:
        check_transition(record, to_state)
        fields = type(record).model_fields
        unknown = changes.keys() - fields.keys() | changes.keys() & {"id", "state", "version"}
        if unknown:
            raise TypeError(f"advance cannot set {', '.join(sorted(unknown))}")
        values: dict[str, Any] = {**record.__dict__, **stamps(record, to_state, now), **changes}
        values |= {"state": to_state, "version": record.version + 1, "updated_at": now}
        if self._keeps_history and to_state != record.state:
            step = StatusChange.model_validate(
                {
                    "from_state": record.state,
                    "to_state": to_state,
                    "at": now,
                    "version": values["version"],
                }
            )
            values["status_history"] = (*record.status_history, step)[-MAX_HISTORY:]
        return type(record).model_validate(values)

    def _try(
        self, payment: PaymentRecord, to_state: str, changes: dict[str, Any]
    ) -> PaymentRecord | None:
        return self.advance_many([(payment, to_state, changes)], now=self.clock())[0]

    def _mark(
        self,
        payment_id: str,
        to_state: str,
        changes: Callable[[PaymentRecord], dict[str, Any]] = lambda p: {},
    ) -> PaymentRecord:
        for _ in range(MAX_TRIES):
            with self._lock:
                payment = self.get(payment_id)
                late = to_state == "succeeded" and payment.state in PAID_STATES
                if late or absorbs(payment.state, to_state):
                    return payment
                done = self._try(payment, to_state, changes(payment))
            if done is not None:
                return done
        raise VersionConflict(f"payment {payment_id} changes too often")

    def _change(
        self, payment_id: str, changes: Callable[[PaymentRecord], dict[str, Any] | None]
    ) -> PaymentRecord:
        for _ in range(MAX_TRIES):
            with self._lock:
                payment = self.get(payment_id)
                wanted = changes(payment)
                if wanted is None:
                    return payment
                done = self._try(payment, payment.state, wanted)
            if done is not None:
                return done
        raise VersionConflict(f"payment {payment_id} changes too often")

    def _claim(
        self,
        read: Callable[[], PaymentRecord],
        changes: Callable[[PaymentRecord], dict[str, Any]],
        now: datetime,
    ) -> PaymentRecord | None:
        lease = timedelta(seconds=self.settings.payment_tracking.claim_lease_seconds)
        for _ in range(MAX_TRIES):
            with self._lock:
                payment = read()
                if not grantable(payment, now):
                    return None
                paid = payment.state in PAID_STATES
                claim = {
                    **({} if paid else changes(payment)),
                    "credit_transaction_id": payment.credit_transaction_id or str(uuid4()),
                    "claim_expires_at": now + lease,
                }
                to_state = payment.state if paid else "succeeded"
                claimed = self.advance_many([(payment, to_state, claim)], now=now)[0]
            if claimed is not None:
                return claimed
        raise VersionConflict("the payment changes too often")

    def _grant(self, claimed: PaymentRecord, grant: Grant) -> bool:
        with self._giving_up_on_error(claimed):
            grant(claimed)

        def changes(payment: PaymentRecord) -> dict[str, Any] | None:
            if payment.credits_added:
                raise AlreadyCredited(payment.id)
            return self._credited()

        try:
            self._change(claimed.id, changes)
        except AlreadyCredited:
            return False  # The lease ran out meanwhile and another caller finished with our id.
        return True

    @contextmanager
    def _giving_up_on_error(self, claimed: PaymentRecord) -> Iterator[None]:
        try:
            yield
        except Exception:
            # The grant may or may not have happened: the id stays, our lease ends now.
            self._change(
                claimed.id,
                lambda p: (
                    {"claim_expires_at": self.clock()}
                    if p.claim_expires_at == claimed.claim_expires_at
                    else None
                ),
            )
            raise

    def _credited(self) -> dict[str, Any]:
        return {"credits_added": True, "credits_added_at": self.clock(), "claim_expires_at": None}

    def _record_report(self, payment_id: str, report: ProviderReport) -> None:
        error = {"error_code": report.error_code, "error_message": report.error_message}
        if report.state == "pending":
            return
        try:
            self._mark(payment_id, report.state, lambda p: {k: v for k, v in error.items() if v})
        except IllegalTransition:
            # Refunded before we ever saw the money: nothing to hand over, so it stays open here.
            log.warning("payment %s: the provider reports %s", payment_id, report.state)

    def _count_attempt(self, payment_id: str) -> None:
        limit = self.settings.recovery.max_verification_attempts

        def changes(payment: PaymentRecord) -> dict[str, Any]:
            attempts = payment.metadata.get(ATTEMPTS_KEY, 0)
            if attempts >= limit:
                raise VerificationExhausted(f"payment {payment.id} was verified {limit} times")
            return {"metadata": {**payment.metadata, ATTEMPTS_KEY: attempts + 1}}

        self._change(payment_id, changes)

    def _standing(self, session_id: str) -> Verification:
        payment = self.get_by_session(session_id)
        paid = payment.state in PAID_STATES
        return Verification(
            success=paid,
            payment_verified=paid,
            credits_added=payment.credits_added,
            payment=payment,
        )

    def _require_recovery(self) -> None:
        if not self.settings.recovery.enabled:
            raise RecoveryDisabled("recovery.enabled is off")

    def _all(self, **filters: Any) -> Iterator[PaymentRecord]:
        offset = 0
        while True:
            found = self._store_call("list", limit=BATCH, offset=offset, **filters)
            yield from found
            offset += len(found)
            if len(found) < BATCH:
                return

    def _store_call(self, method: str, **arguments: Any) -> Any:
        if not self.store.can(method):
            raise StoreLacks(f"{type(self.store).__name__} has no method {method}")
        return getattr(self.store, method)(**arguments)


def _utc_now() -> datetime:
    return datetime.now(UTC)
