"""What a provider's news means for a payment: properties of the pure decisions."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk import ids
from paydesk.errors import NotFound
from paydesk.rules.money import EUR, USD, Money
from paydesk.rules.payments import (
    DEAD_STATES,
    OPEN_STATES,
    backoff_s,
    handle_of,
    judge,
    needs_asking,
    owner_in_metadata,
    payment_of_handle,
)
from paydesk.tracker.models import PAID_STATES, TRANSITIONS

STATES = st.sampled_from(sorted(TRANSITIONS))
STATUSES = st.sampled_from(
    ["pending", "processing", "requires_action", "authorized", "succeeded", "failed", "expired",
     "canceled"]
)  # fmt: skip
AMOUNTS = st.integers(0, 10**6).map(lambda n: Money(n, "usd", minor=True))
NEWS = st.tuples(STATUSES, AMOUNTS, st.integers(0, 2), st.booleans())
ASKED = USD("9.99")


@given(STATES, STATUSES, st.none() | AMOUNTS, st.booleans(), st.booleans(), st.integers(0, 2000))
def test_a_verdict_moves_along_the_declared_graph_only(
    state, status, amount, is_new, is_fresh, captured
):
    """I10: and money that was taken is never undone."""
    verdict = judge(state, ASKED, captured, status=status, amount=amount, is_new=is_new,
                    is_fresh=is_fresh)  # fmt: skip
    assert verdict.state == state or verdict.state in TRANSITIONS[state]
    assert verdict.captured_minor >= 0
    if state in PAID_STATES:
        assert verdict.state == state
    if verdict.goods == "hand_over":
        assert captured + verdict.captured_minor >= ASKED.minor
    if state in OPEN_STATES and not is_fresh and status in OPEN_STATES:
        assert verdict.state == state


@given(st.permutations(range(5)), st.lists(NEWS, min_size=5, max_size=5))
def test_captures_add_up_the_same_in_every_order(order, news):
    """I1 I10: facts by name, each counted once, whatever comes between."""

    def total(sequence):
        state, captured, seen = "pending", 0, {}
        for status, amount, fact, is_fresh in sequence:
            # The same fact always carries the same amount: the first one told.
            amount = amounts[fact]
            is_new = status == "succeeded" and fact not in seen
            verdict = judge(state, ASKED, captured, status=status, amount=amount, is_new=is_new,
                            is_fresh=is_fresh)  # fmt: skip
            if is_new:
                seen[fact] = amount
            state, captured = verdict.state, captured + verdict.captured_minor
        return state in PAID_STATES, captured

    amounts = {}
    for _, amount, fact, _ in news:
        amounts.setdefault(fact, amount)
    assert total(news) == total([news[i] for i in order])


@pytest.mark.parametrize(
    ("amount", "captured", "goods", "review"),
    [
        (USD("9.99"), 0, "hand_over", None),
        (USD("10.00"), 0, "hand_over", "overpaid"),
        (USD("9.98"), 0, "blocked", "underpaid"),
        (USD("0.01"), 998, "hand_over", None),
        (EUR("9.99"), 0, "blocked", "currency_mismatch"),
        (USD("0"), 0, "blocked", "underpaid"),
    ],
)
def test_what_was_captured_against_what_was_asked(amount, captured, goods, review):
    """I35 data rule 3."""
    verdict = judge("pending", ASKED, captured, status="succeeded", amount=amount, is_new=True,
                    is_fresh=False)  # fmt: skip
    assert (verdict.goods, verdict.review, verdict.state) == (goods, review, "succeeded")


@pytest.mark.parametrize("state", sorted(DEAD_STATES))
def test_late_money_completes_what_had_ended(state):
    """I10: expired, failed or canceled becomes succeeded when the provider proves the money."""
    verdict = judge(state, ASKED, 0, status="succeeded", amount=ASKED, is_new=True, is_fresh=False)
    assert (verdict.state, verdict.goods) == ("succeeded", "hand_over")


@given(STATES, STATUSES, st.none() | AMOUNTS, st.booleans(), st.booleans())
def test_only_exact_signed_claims_are_believed_unasked(state, status, amount, ended, proof):
    """Data rule 4: anything odd is asked about."""
    asks = needs_asking(state, ASKED, status=status, amount=amount, ended=ended, proof=proof)
    if status == "succeeded":
        assert asks == (not proof or amount != ASKED)
    if status == "pending":
        assert not asks
    if status == "expired" and not proof and state in OPEN_STATES:
        assert asks


@given(st.integers(-5, 10**6))
def test_waiting_grows_to_an_hour_and_no_further(tries):
    assert 5 <= backoff_s(tries) <= 3600
    assert backoff_s(tries) <= backoff_s(tries + 1)


@given(st.integers(0, 2**40 - 1), st.integers(0, 2**48 - 1))
def test_a_handle_gives_the_id_back(tag, ms):
    """C17."""
    made = ids.new_owned(ids.customer_of_tag(tag), ms)
    assert payment_of_handle(handle_of(made)) == made


@given(st.text(max_size=80))
def test_any_text_as_a_handle_is_found_or_missing(text):
    """C17: never a fault."""
    with contextlib.suppress(NotFound):
        assert payment_of_handle("payment_" + text).int < 2**128


@given(st.none() | st.text(max_size=60), st.none() | st.text(max_size=60))
def test_made_up_metadata_names_nobody_or_a_consistent_pair(payment_id, customer_id):
    found = owner_in_metadata(payment_id, customer_id)
    assert found is None or ids.customer_of(found[1]) == found[0]


def test_metadata_of_ours_names_its_payment_and_a_mixed_pair_none():
    """I35: the two ids must belong together."""
    ours, other = ids.new_customer(), ids.new_customer()
    payment = ids.new_owned(ours)
    shown = ids.show("payment", payment)
    assert owner_in_metadata(shown, ids.show("customer", ours)) == (ours, payment)
    assert owner_in_metadata(shown, None) == (ours, payment)
    assert owner_in_metadata(shown, ids.show("customer", other)) is None
    assert owner_in_metadata(None, ids.show("customer", ours)) is None
