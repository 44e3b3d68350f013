"""Properties of the life of a payment: no state leaves the graph, no old news undoes new."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.tracker import (
    STATUS_OF,
    TRANSITIONS,
    IllegalTransition,
    PaymentTracker,
    RefundTooLarge,
    get_payment_tracker,
)
from paydesk.tracker.models import PAID_STATES, PHASE, absorbs, status_words
from paydesk.tracker.stores.memory import MemoryPaymentStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STATES = sorted(TRANSITIONS)
DOCUMENTED = {
    "pending",
    "processing",
    "completed",
    "failed",
    "expired",
    "cancelled",
    "refunded",
    "partially_refunded",
}

#: What may be reported about a payment, in any order and as often as it likes.
NEWS = {
    "processing": lambda t, p: t.mark_processing(p),
    "completed": lambda t, p: t.mark_completed(p),
    "failed": lambda t, p: t.mark_failed(p),
    "expired": lambda t, p: t.mark_expired(p),
    "cancelled": lambda t, p: t.mark_cancelled(p),
}


def new_payment(**options):
    tracker = get_payment_tracker("memory", clock=lambda: NOW, **options)
    return tracker, tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")


# S2.11 C2
def test_every_state_has_a_documented_word():
    assert set(STATUS_OF) == set(TRANSITIONS) == set(PHASE)
    assert set(STATUS_OF.values()) == DOCUMENTED


def test_every_alias_finds_its_word():
    for alias, word in {
        "COMPLETED": "completed",
        "succeeded": "completed",
        "canceled": "cancelled",
        "CANCELLED": "cancelled",
        "requires_action": "pending",
        "authorized": "processing",
    }.items():
        assert status_words(alias) == {word}
    with pytest.raises(ValueError, match="no payment status"):
        status_words("done")


# I10
def test_the_graph_is_closed_and_never_goes_back_a_phase():
    for state, following in TRANSITIONS.items():
        assert following <= TRANSITIONS.keys() and state not in following
        assert all(PHASE[after] >= PHASE[state] for after in following)


def test_only_money_leaves_a_dead_state():
    for state in ("failed", "expired", "canceled"):
        assert TRANSITIONS[state] == {"succeeded"}


def test_refunds_begin_and_end_among_paid_states():
    for state in PAID_STATES:
        assert TRANSITIONS[state] <= PAID_STATES
    assert not any(
        after in ("refunded", "partially_refunded")
        for state in TRANSITIONS.keys() - PAID_STATES
        for after in TRANSITIONS[state]
    )


@given(st.sampled_from(STATES), st.sampled_from(STATES))
def test_advance_follows_the_table_and_nothing_else(state, to_state):
    tracker = PaymentTracker(MemoryPaymentStore())
    payment = tracker.create_pending_payment("user_123", 999, 150, "stripe")
    tracker.store.update(stored := payment.model_copy(update={"state": state}))
    if to_state == state or to_state in TRANSITIONS[state]:
        moved = tracker.advance(stored, to_state, now=NOW)
        assert (moved.state, moved.version, moved.updated_at) == (to_state, 1, NOW)
    else:
        with pytest.raises(IllegalTransition):
            tracker.advance(stored, to_state, now=NOW)
        assert tracker.get(payment.id) == stored


@given(st.lists(st.sampled_from(sorted(NEWS)), max_size=12))
def test_news_in_any_order_never_undoes_what_came_later(reports):
    tracker, payment = new_payment()
    phase = 0
    for report in reports:
        state = NEWS[report](tracker, payment.id).state
        assert PHASE[state] >= phase
        phase = PHASE[state]
    if "completed" in reports:
        assert tracker.get(payment.id).status == "completed"


def test_all_orders_of_the_news_of_a_paid_payment_end_completed():
    for order in permutations(["processing", "completed", "failed", "expired", "cancelled"]):
        tracker, payment = new_payment()
        for report in order:
            NEWS[report](tracker, payment.id)
        assert tracker.get(payment.id).status == "completed"


@given(st.lists(st.integers(min_value=0, max_value=999), min_size=1, max_size=8))
def test_the_refund_state_follows_from_the_total_alone(totals):
    # I7
    tracker, payment = new_payment()
    tracker.mark_completed(payment.id)
    for total in totals:
        refunded = tracker.mark_refunded(payment.id, total)
        expected = {0: "completed", 999: "refunded"}.get(total, "partially_refunded")
        assert (refunded.status, refunded.refunded_cents) == (expected, total)
        assert tracker.mark_refunded(payment.id, total).version == refunded.version


def test_more_than_was_captured_is_never_refunded():
    # I7
    tracker, payment = new_payment()
    with pytest.raises(IllegalTransition):
        tracker.mark_refunded(payment.id, 1)
    tracker.mark_completed(payment.id, captured_cents=500)
    for total in (501, -1):
        with pytest.raises(RefundTooLarge):
            tracker.mark_refunded(payment.id, total)
    with pytest.raises(TypeError):
        tracker.mark_refunded(payment.id, 1.0)
    assert tracker.mark_refunded(payment.id).status == "refunded"


def test_a_completed_report_after_a_refund_is_old_news():
    tracker, payment = new_payment()
    tracker.mark_completed(payment.id)
    refunded = tracker.mark_refunded(payment.id)
    assert tracker.mark_completed(payment.id) == refunded
    assert not tracker.complete_once("cs_1", lambda p: pytest.fail("granted after a refund"))


@given(st.sampled_from(STATES), st.sampled_from(STATES))
def test_old_news_is_what_is_neither_legal_nor_ahead(state, to_state):
    legal = to_state in TRANSITIONS[state]
    ahead = PHASE[to_state] > PHASE[state]
    assert absorbs(state, to_state) is (not legal and not ahead)


# S2.12
def test_every_change_of_status_is_remembered_with_its_time():
    tracker, payment = new_payment()
    tracker.clock = lambda: NOW + timedelta(minutes=1)
    tracker.mark_processing(payment.id)
    tracker.mark_completed(payment.id)
    steps = [(s.from_state, s.to_state, s.version) for s in tracker.get(payment.id).status_history]
    assert steps == [("pending", "processing", 1), ("processing", "succeeded", 2)]
    assert tracker.get(payment.id).status_history[0].at == NOW + timedelta(minutes=1)
    quiet, other = new_payment(keep_status_history=False)
    assert quiet.mark_completed(other.id).status_history == ()


def test_advance_sets_no_field_that_it_keeps_itself():
    tracker, payment = new_payment()
    for forbidden in ({"version": 7}, {"id": payment.id}, {"colour": "red"}):
        with pytest.raises(TypeError, match="cannot set"):
            tracker.advance(payment, "processing", now=NOW, **forbidden)
    with pytest.raises(TypeError):
        tracker.advance(payment, "succeeded", now=NOW, captured_cents=9.99)
