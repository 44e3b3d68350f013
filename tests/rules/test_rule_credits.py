"""Credits without a database: amounts, the order of taking, where a refund goes, the oracle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules.credits import MAX_CREDITS, Drawn, Oracle, check_amount, give_back, take_at
from paydesk.rules.ledger import CODES, CREDIT_TYPES, FLOORED, NAMES

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize("amount", [0, -1, 1.0, 1.5, True, "5", None, MAX_CREDITS + 1, 10**30])
def test_credits_are_whole_numbers_above_zero(amount):  # I11
    with pytest.raises(InvalidRequest) as caught:
        check_amount(amount, param="credits")
    assert caught.value.param == "credits"


@given(st.integers(1, MAX_CREDITS))
def test_whole_credits_pass(amount):  # I11
    assert check_amount(amount) == amount


def test_the_turn_of_a_batch_is_its_age_or_its_end():  # C20
    assert take_at("fifo", NOW, NOW + DAY) == NOW
    assert take_at("expiring_first", NOW, NOW + DAY) == NOW + DAY
    assert take_at("expiring_first", NOW, None) is None


@st.composite
def drawn(draw):
    amounts = draw(st.lists(st.integers(1, 50), min_size=1, max_size=8))
    return [Drawn(n, amount, draw(st.integers(0, amount))) for n, amount in enumerate(amounts)]


@given(drawn=drawn(), amount=st.integers(1, 500))
def test_a_refund_never_gives_a_batch_more_than_was_taken_from_it(drawn, amount):  # I17
    parts = dict(give_back(drawn, amount))
    left = {one.batch_id: one.amount - one.returned for one in drawn}
    assert all(0 < part <= left[batch_id] for batch_id, part in parts.items())
    assert sum(parts.values()) == min(amount, sum(left.values()))


@given(drawn=drawn(), amount=st.integers(1, 500))
def test_what_was_taken_last_goes_back_first(drawn, amount):  # I17
    parts = dict(give_back(drawn, amount))
    is_short = False
    for one in reversed(drawn):
        given_back = parts.get(one.batch_id, 0)
        assert not (is_short and given_back)
        is_short = is_short or given_back < one.amount - one.returned


STEPS = st.lists(
    st.tuples(st.sampled_from(["grant", "spend", "refund", "wait"]), st.integers(1, 30)),
    max_size=40,
)


@given(STEPS)
def test_the_oracle_conserves_credits(steps):  # I3 I15
    oracle, now, granted = Oracle(), NOW, 0
    for what, number in steps:
        now += timedelta(seconds=1)
        if what == "grant":
            end = None if number % 3 == 0 else now + number * DAY
            oracle.grant(number, "purchased", now, end)
            granted += number
        elif what == "spend":
            before = oracle.balance(now)
            done = oracle.spend(number, now)
            assert (done is not None) == (number <= before)
            assert oracle.balance(now) == before - (number if done else 0)
        elif what == "refund" and oracle.spends:
            spend = oracle.spends[number % len(oracle.spends)]
            left = oracle.refundable(spend)
            assert oracle.refund(spend, number, now) == (number <= left)
            assert oracle.refundable(spend) == left - (number if number <= left else 0)
        elif what == "wait":
            now += number * DAY
        assert all(batch.remaining >= 0 for batch in oracle.batches)
    held = sum(batch.remaining for batch in oracle.batches)
    spent = sum(oracle.refundable(spend) for spend in oracle.spends)
    assert held + spent <= granted


def test_the_oracle_takes_the_oldest_first_and_passes_over_what_has_ended():  # S4.27 I16
    oracle = Oracle()
    oracle.grant(10, "purchased", NOW, NOW + DAY)
    oracle.grant(10, "promotional", NOW + DAY / 2, None)
    spend = oracle.spend(12, NOW + DAY / 2)
    assert spend is not None and [part for _, part in spend.draws] == [10, 2]
    later = NOW + 2 * DAY
    assert oracle.refund(spend, 12, later) and oracle.balance(later) == 10


def test_promotions_stay_with_their_owner():  # C1
    one, other = Oracle(grace=DAY), Oracle()
    one.grant(5, "promotional", NOW, None)
    one.grant(5, "purchased", NOW, None)
    assert not one.send(other, 6, NOW, promotional=False)
    assert one.send(other, 5, NOW, promotional=False)
    assert (one.balance(NOW), other.balance(NOW)) == (5, 5)
    assert one.send(other, 5, NOW)


def test_the_books_have_a_number_and_a_name_each():
    assert {NAMES[code]: code for code in NAMES} == CODES
    assert sorted(NAMES) == list(range(1, 20)) and set(CODES) > FLOORED


# S4.37!
def test_the_history_knows_the_types_of_document_004():  # S4.37 C18
    assert set(CREDIT_TYPES) == {
        "CREDIT_PURCHASE", "MEMBERSHIP_PAYMENT", "CREDIT_USAGE", "CREDIT_REFUND",
        "CREDIT_TRANSFER", "CREDIT_EXPIRY", "CREDIT_GRANT",
    }  # fmt: skip
