"""StoreContract: the tests that every PaymentStore passes, two concurrent writers included."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from paydesk import tracker as paydesk_tracker

#: A whole second, so that stores which keep fewer digits pass as well.
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class Crash(BaseException):
    """Stands for the end of the process: nothing after it runs."""


class StoreContract:
    """Subclass in a test module, and give `make_store()` or a fixture named `store`.

        class TestMyStore(StoreContract):
            def make_store(self):
                return MyStore(...)

    Each test gets a new store; it need not be empty. `user_id` may be overridden where the
    store's users have ids of a certain shape, `module` where the store is written for a copy of
    the tracker (`module = shared.payments`). A store without `compare_and_set` passes, and the
    tests that need it are skipped with the reason "single writer".
    """

    module: ClassVar[ModuleType] = paydesk_tracker

    def make_store(self) -> Any:
        raise TypeError("a StoreContract needs make_store() or a fixture named store")

    @pytest.fixture
    def store(self) -> Iterator[Any]:
        yield self.make_store()

    @pytest.fixture
    def user_id(self) -> str:
        return str(uuid4())

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def tracker(self, store: Any, clock: Clock) -> Any:
        return self.module.get_payment_tracker(store=store, clock=clock)

    @pytest.fixture
    def pending(self, tracker: Any, user_id: str) -> Callable[..., Any]:
        """pending(amount_cents=999, ...) -> a new payment of a new session."""

        def create(**changes: Any) -> Any:
            arguments = {
                "user_id": user_id,
                "amount_cents": 999,
                "credits_to_add": 150,
                "provider": "stripe",
                "session_id": f"cs_{uuid4().hex}",
                "package_id": "creator",
                "package_name": "Creator Pack",
            }
            return tracker.create_pending_payment(**{**arguments, **changes})

        return create

    # What is written is read.

    def test_a_created_payment_is_found_by_id_and_by_session(self, store, pending):
        payment = pending(metadata={"order": "1042", "tags": ["a", "é"], "n": None})
        assert store.get_by_id(payment.id) == payment
        assert store.get_by_session_id(payment.session_id) == payment

    def test_every_field_survives_the_store(self, store, tracker, pending, clock):
        full = tracker.advance(
            pending(currency="eur", amount_usd="10.87"),
            "succeeded",
            now=clock(),
            provider_payment_id="pi_1",
            credits_added=True,
            credits_added_at=clock(),
            credit_transaction_id=str(uuid4()),
            claim_expires_at=clock() + timedelta(minutes=5),
            error_message="declined once",
            error_code="card_declined",
            captured_cents=999,
            refunded_cents=0,
            metadata={"deep": {"list": [1, 2.5, True, "x"]}},
        )
        assert store.get_by_id(full.id) == full

    def test_an_unknown_payment_is_none(self, store):
        assert store.get_by_id(str(uuid4())) is None
        assert store.get_by_id("no-such-id") is None
        assert store.get_by_session_id(f"cs_{uuid4().hex}") is None

    def test_an_update_replaces_the_record_and_returns_it(self, store, pending):
        payment = pending()
        changed = payment.model_copy(
            update={"state": "processing", "version": 1, "error_code": "slow"}
        )
        assert store.update(changed) == changed
        assert store.get_by_id(payment.id) == changed
        assert store.get_by_session_id(payment.session_id) == changed

    def test_an_update_can_empty_a_field(self, store, tracker, pending, clock):
        failed = tracker.mark_failed(pending().id, "declined", "card_declined")
        paid = tracker.advance(failed, "succeeded", now=clock(), error_code=None)
        assert store.get_by_id(paid.id).error_code is None

    def test_a_change_of_the_returned_metadata_changes_nothing_stored(self, store, pending):
        payment = pending(metadata={"order": "1042"})
        store.get_by_id(payment.id).metadata["order"] = "forged"
        assert store.get_by_id(payment.id).metadata == {"order": "1042"}

    def test_the_largest_amount_is_kept_exactly_or_refused(self, store, pending):
        try:
            payment = pending(amount_cents=2**63 - 1, credits_to_add=2**31)
        except self.module.AmountTooLarge:
            return
        assert store.get_by_id(payment.id).amount_cents == 2**63 - 1

    # Doubles.

    def test_a_session_is_recorded_once(self, pending):
        session_id = pending().session_id
        with pytest.raises(self.module.DuplicatePayment):
            pending(session_id=session_id)

    def test_payments_without_a_session_do_not_collide(self, store, pending):
        first, second = pending(session_id=None), pending(session_id=None)
        assert store.get_by_id(first.id) == first
        assert store.get_by_id(second.id) == second

    # The document's own steps.

    def test_the_documented_steps_complete_and_credit(self, store, tracker, pending):
        payment = pending()
        assert not tracker.is_duplicate(payment.session_id)
        tracker.mark_processing(payment.id)
        tracker.mark_completed(payment.id, "pi_1")
        tracker.mark_credits_added(payment.id)
        stored = store.get_by_id(payment.id)
        assert (stored.status, stored.credits_added) == ("completed", True)
        assert stored.credits_added_at is not None
        assert tracker.is_duplicate(payment.session_id)
        with pytest.raises(self.module.AlreadyCredited):
            tracker.mark_credits_added(payment.id)

    def test_a_single_caller_of_complete_once_grants_once(self, store, tracker, pending):
        payment, keys = pending(), []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self.module.SingleWriterWarning)
            answers = [tracker.complete_once(payment.session_id, keys_of(keys)) for _ in range(3)]
        stored = store.get_by_id(payment.id)
        assert answers == [True, False, False]
        assert keys == [stored.credit_transaction_id]
        assert (stored.status, stored.credits_added) == ("completed", True)

    # Several writers.

    def test_a_stale_version_is_refused(self, store, pending):
        need_compare_and_set(store)
        payment = pending()
        first = payment.model_copy(update={"state": "processing", "version": 1})
        second = payment.model_copy(update={"state": "failed", "version": 1})
        assert store.compare_and_set(first, 0) is True
        assert store.compare_and_set(second, 0) is False
        assert store.compare_and_set(second.model_copy(update={"id": str(uuid4())}), 0) is False
        assert store.get_by_id(payment.id) == first

    def test_two_writers_of_one_version_have_one_winner(self, store, pending):
        need_compare_and_set(store)
        for _ in range(10):
            payment = pending()
            marks = [
                payment.model_copy(update={"error_code": f"w{n}", "version": 1}) for n in (1, 2)
            ]
            won = at_once([lambda mark=mark: store.compare_and_set(mark, 0) for mark in marks])
            assert sorted(won) == [False, True]
            assert store.get_by_id(payment.id) == marks[won.index(True)]

    def test_no_change_is_lost_between_concurrent_writers(self, store, tracker, pending):
        need_compare_and_set(store)
        payment = pending()
        at_once([lambda: tracker.attach_session(payment.id, payment.session_id)] * 8)
        assert store.get_by_id(payment.id).version == 8

    def test_sixteen_callers_of_complete_once_grant_once(self, store, tracker, pending):
        need_compare_and_set(store)
        payment, keys = pending(), []
        answers = at_once([lambda: tracker.complete_once(payment.session_id, keys_of(keys))] * 16)
        assert sorted(answers) == [False] * 15 + [True]
        assert keys == [store.get_by_id(payment.id).credit_transaction_id]
        assert store.get_by_id(payment.id).credits_added

    def test_a_crash_between_claim_and_grant_is_recovered_with_the_same_id(
        self, store, tracker, pending, clock
    ):
        need_compare_and_set(store)
        need(store, "list")
        payment, keys = pending(), []
        with pytest.raises(Crash):
            tracker.complete_once(payment.session_id, crash)
        claimed = store.get_by_id(payment.id)
        assert (claimed.status, claimed.credits_added) == ("completed", False)
        assert tracker.complete_once(payment.session_id, keys_of(keys)) is False
        clock.advance(minutes=6)
        recovered = [p.id for p in tracker.recover(keys_of(keys)) if p.id == payment.id]
        assert recovered == [payment.id]
        assert keys.count(claimed.credit_transaction_id) == 1
        assert store.get_by_id(payment.id).credits_added

    def test_many_updates_tell_which_were_lost(self, store, pending):
        need(store, "update_many")
        fresh, stale = pending(), pending()
        store.update(stale.model_copy(update={"version": 1, "error_code": "first"}))
        pairs = [
            (p, p.model_copy(update={"version": 1, "error_code": "second"})) for p in (stale, fresh)
        ]
        assert store.update_many(pairs) == [False, True]
        assert store.get_by_id(stale.id).error_code == "first"
        assert store.get_by_id(fresh.id).error_code == "second"

    # Lists.

    def test_history_is_newest_first_in_pages_and_by_status(self, store, tracker, pending, clock):
        need(store, "list")
        need(store, "count")
        made = []
        for _ in range(5):
            made.append(pending())
            clock.advance(seconds=1)
        tracker.mark_completed(made[1].id)
        user_id = made[0].user_id
        first = tracker.history(user_id, page=1, page_size=2)
        last = tracker.history(user_id, page=3, page_size=2)
        assert [p.id for p in first.payments] == [made[4].id, made[3].id]
        assert (first.total_count, first.has_more) == (5, True)
        assert [p.id for p in last.payments] == [made[0].id]
        assert not last.has_more
        for word in ("completed", "COMPLETED", "succeeded"):
            found = tracker.history(user_id, status=word)
            assert [p.id for p in found.payments] == [made[1].id]
        assert tracker.history("nobody").total_count == 0

    def test_statistics_sum_what_was_paid_and_kept(self, store, tracker, pending):
        need(store, "list")
        paid, refunded = pending(), pending(amount_cents=500)
        pending(amount_cents=1)
        tracker.mark_completed(paid.id)
        tracker.mark_credits_added(paid.id)
        tracker.mark_completed(refunded.id)
        tracker.mark_refunded(refunded.id, 200)
        sums = tracker.statistics(paid.user_id)
        assert str(sums.total_spent_usd) == "12.99"
        assert sums.spent_cents == {"usd": 1299}
        assert (sums.completed_payments, sums.pending_payments) == (2, 1)
        assert sums.total_credits_purchased == 150

    def test_only_overdue_pending_payments_expire(self, store, tracker, pending, clock):
        need(store, "list")
        overdue, paid = pending(), pending()
        tracker.mark_completed(paid.id)
        clock.advance(minutes=29)
        recent = pending()
        assert overdue.id not in {p.id for p in tracker.expire_stale()}
        clock.advance(minutes=1)
        expired = {p.id for p in tracker.expire_stale()}
        assert expired & {overdue.id, paid.id, recent.id} == {overdue.id}
        assert store.get_by_id(overdue.id).status == "expired"
        assert tracker.mark_completed(overdue.id).status == "completed"


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now

    def advance(self, **span: float) -> None:
        self._now += timedelta(**span)


def need(store: Any, method: str) -> None:
    """Skip the test for a store without this optional method."""
    if not store.can(method):
        pytest.skip(f"{type(store).__name__} has no {method}")


def need_compare_and_set(store: Any) -> None:
    """Skip the test, and say so loudly, for a store that only one process may write."""
    if not store.can("compare_and_set"):
        reason = f"single writer: {type(store).__name__} has no compare_and_set"
        warnings.warn(reason, paydesk_tracker.SingleWriterWarning, stacklevel=2)
        pytest.skip(reason)


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run all calls in threads that start together; their answers in order."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait(timeout=30)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def keys_of(keys: list[str]) -> Callable[[Any], None]:
    """A grant that only notes the key it was given."""
    return lambda payment: keys.append(payment.credit_transaction_id)


def crash(payment: Any) -> None:
    """A grant during which the process ends."""
    raise Crash
