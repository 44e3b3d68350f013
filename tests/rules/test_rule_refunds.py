"""The arithmetic of refunds: shares that add up, windows, thresholds, what covers what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.rules.refunds import (
    BatchState,
    Source,
    Unused,
    batch_share,
    by_policy,
    credits_to_take,
    fee_share,
    from_accounts,
    needs_approval,
    of_sale,
    payment_state,
    pooled_shares,
    refundable,
    share_of,
    window_end,
    with_unused,
)

counts = st.integers(0, 10**7)
parts = st.lists(st.integers(1, 10**5), min_size=1, max_size=12)


@given(counts, parts)
def test_partial_refunds_add_up_to_the_whole(granted, amounts):
    # S4.30 I17
    sold, before, taken = sum(amounts), 0, []
    for amount in amounts:
        taken.append(credits_to_take(granted, sold, before, amount))
        before += amount
    assert sum(taken) == granted and min(taken) >= 0


@given(counts, st.integers(1, 10**6), st.data())
def test_a_share_is_the_nearest_whole_credit(granted, sold, data):
    refunded = data.draw(st.integers(0, sold))
    share = share_of(granted, sold, refunded)
    assert 2 * abs(share * sold - granted * refunded) <= sold
    assert share <= share_of(granted, sold, min(sold, refunded + 1)) <= granted


def test_the_published_example():
    assert credits_to_take(500, 4905, 0, 1000) == 102


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000),
       st.integers(1, 5000), st.data())  # fmt: skip
def test_a_share_is_taken_expired_or_missing(granted, spare, expired, gone, sold, data):
    spare, gone = min(spare, granted), min(gone, granted)
    expired = min(expired, granted - spare)
    counted = data.draw(st.integers(0, min(expired, gone)))
    batch = BatchState(granted, spare, expired, gone, counted)
    found = batch_share(batch, sold, data.draw(st.integers(0, sold)))
    assert found.share == found.taken + found.expired + found.missing
    assert 0 <= found.taken <= spare and 0 <= found.expired <= expired - counted
    assert found.missing >= 0 and (not found.missing or found.taken == spare)


# S4.25 I6
@given(st.integers(1, 5000), st.data())
def test_of_what_is_given_up_its_own_credits_go_back_and_at_last_all(sold, data):
    since = data.draw(st.integers(0, sold - 1))
    minor = data.draw(st.integers(1, sold - since))
    granted, gone = data.draw(st.integers(0, 10**6)), data.draw(st.integers(0, 10**6))
    gone = min(gone, granted)
    unused = Unused(since, minor, gone, data.draw(st.integers(0, granted - gone)))
    asked = [with_unused(granted, sold, n, unused) for n in range(since + 1, sold + 1)]
    assert asked == sorted(asked), "more money never asks for fewer"
    assert asked[minor - 1] == gone + unused.credits
    assert since + minor == sold or asked[-1] == granted
    assert with_unused(granted, sold, data.draw(st.integers(0, since)), unused) <= gone


# S4.25 I6
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500)),
                min_size=1, max_size=12), st.integers(-50, 8000))  # fmt: skip
def test_batches_taken_together_give_what_is_unspent_first(sums, wanted):
    batches = [BatchState(sum(one), one[0], one[1]) for one in sums]
    found = pooled_shares(batches, wanted)
    spare, whole = sum(one.spare for one in batches), sum(one.granted for one in batches)
    assert sum(one.share for one in found) == min(max(0, wanted), whole)
    assert sum(one.taken for one in found) == min(max(0, wanted), spare)
    assert sum(one.missing for one in found) == max(
        0, min(wanted, whole) - spare - sum(one.expired for one in batches))
    for one, batch in zip(found, batches, strict=True):
        assert one.share == one.taken + one.expired + one.missing <= batch.granted
        assert one.taken <= batch.spare and one.expired <= batch.expired


def test_unspent_credits_come_first_and_ended_ones_are_not_asked_twice():
    assert batch_share(BatchState(100, 30, 20), 1000, 400).taken == 30
    found = batch_share(BatchState(100, 30, 20), 1000, 1000)
    assert (found.taken, found.expired, found.missing) == (30, 20, 50)
    again = batch_share(BatchState(100, 0, 20, gone=60, gone_expired=20), 1000, 1000)
    assert (again.taken, again.expired, again.missing) == (0, 0, 40)


@given(st.integers(0, 10**9), st.lists(st.tuples(
    st.sampled_from(["requested", "rejected", "pending", "succeeded", "failed", "canceled"]),
    st.integers(1, 10**8))), st.integers(0, 10**8))  # fmt: skip
def test_what_is_left_counts_only_live_refunds_and_disputes(captured, refunds, disputed):
    # I7 I9
    gone = sum(a for s, a in refunds if s in ("pending", "succeeded")) + disputed
    assert refundable(captured, refunds, disputed) == max(0, captured - gone)


def test_the_word_for_a_payment_follows_its_refunded_sum():
    # I7
    assert [payment_state(10, n) for n in (0, 1, 9, 10, 12)] == [
        "succeeded", "partially_refunded", "partially_refunded", "refunded", "refunded"]


def test_the_window_ends_days_after_the_money_came():
    # S1.51
    paid = datetime(2026, 9, 21, 10, tzinfo=UTC)
    assert window_end(paid, 30) == paid + timedelta(days=30)
    assert window_end(paid, 0) is None and window_end(None, 30) is None


@pytest.mark.parametrize(("amount", "threshold", "currency", "asked"), [
    (5000, "50", "usd", False), (5001, "50", "usd", True), (5001, "50.015", "usd", False),
    (50, "50", "jpy", False), (51, "50.9", "jpy", True), (10**9, "0", "usd", False),
    (50_001, "50", "bhd", True),
])  # fmt: skip
def test_amounts_above_the_threshold_need_another_person(amount, threshold, currency, asked):
    # C11
    assert needs_approval(amount, Decimal(threshold), currency) is asked


def test_money_beyond_the_price_goes_back_without_goods():
    assert [of_sale(gone, 12, 10) for gone in (0, 1, 2, 3, 12, 20)] == [0, 0, 0, 1, 10, 10]
    assert of_sale(5, 10, 0) == 0


@given(st.integers(0, 10**6), st.lists(st.integers(-1000, 10**5), max_size=3))
def test_accounts_are_drawn_in_order_and_never_below_zero(amount, standing):
    sources = [Source(f"a{i}", n) for i, n in enumerate(standing)]
    found, rest = from_accounts(amount, sources)
    assert sum(one.amount for one in found) + rest == amount and rest >= 0
    assert all(0 < one.amount <= dict(sources)[one.account] for one in found)
    assert not rest or sum(one.amount for one in found) == sum(max(0, n) for n in standing)


def test_what_is_missing_is_owed_or_forgiven():
    assert by_policy(7, "debt") == (7, 0) and by_policy(7, "clamp") == (0, 7)


def test_fees_are_lost_in_proportion():
    assert fee_share(59, 999, 0, 999) == 59
    assert fee_share(59, 999, 0, 500) + fee_share(59, 999, 500, 499) == 59
