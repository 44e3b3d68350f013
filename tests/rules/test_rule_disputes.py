"""Disputes as rules: states move forward, sums come back exactly, evidence is what banks read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules import disputes as rules
from paydesk.rules.disputes import ENDED_STATES, STATES, Posting

ORDER = st.lists(st.sampled_from(STATES), min_size=1, max_size=8)


@given(ORDER)
def test_news_never_takes_a_dispute_back(told):  # I10
    state = None
    for word in told:
        after = rules.next_state(state, word)
        assert state not in ENDED_STATES or after in {state, "won", "lost", "needs_response",
                                                      "under_review"}  # fmt: skip
        assert not (state == "won" and after != "won")
        assert state is None or STATES.index(after) >= min(STATES.index(state), 4)
        assert rules.next_state(after, word) == after
        state = after


@given(ORDER, st.randoms())
def test_any_order_of_a_true_history_ends_the_same(told, rng):  # I9 I10
    history = ["needs_response", "under_review", "lost", "won"][: len(told)]
    mixed = [*history, *history]
    rng.shuffle(mixed)
    state = None
    for word in mixed:
        state = rules.next_state(state, word)
    assert state == history[-1]


def test_only_a_second_withdrawal_goes_on_after_the_end():
    assert rules.next_state("won", "lost") == "won"
    assert rules.next_state("won", "lost", is_withdrawn_again=True) == "lost"
    assert rules.next_state("won", "needs_response", is_withdrawn_again=True) == "needs_response"
    assert rules.next_state("closed", "needs_response") == "needs_response"
    assert rules.next_state("lost", "won") == "won"


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=5), st.data())
def test_what_comes_back_is_taken_off_the_latest_first_and_never_more(amounts, data):  # I9
    postings = [Posting("revenue", amount) for amount in amounts]
    total = sum(amounts)
    first = data.draw(st.integers(0, total))
    parts = rules.unwind(postings, first)
    after = [Posting(p.account, p.amount, part) for p, part in zip(postings, parts, strict=True)]
    assert sum(parts) == first
    assert all(0 <= part <= p.amount for p, part in zip(postings, parts, strict=True))
    touched = [i for i, part in enumerate(parts) if part]
    assert all(parts[i] == amounts[i] for i in touched[1:])
    rest = rules.unwind(after, total - first)
    assert [a + b for a, b in zip(parts, rest, strict=True)] == amounts
    with pytest.raises(AssertionError):
        rules.unwind(postings, total + 1)


def test_goods_are_with_us_while_their_money_is_not():  # I9
    assert rules.goods_are_ours("needs_response", 999, 0)
    assert rules.goods_are_ours("lost", 999, 400)
    assert not rules.goods_are_ours("won", 999, 0)
    assert not rules.goods_are_ours("lost", 999, 999)
    assert not rules.goods_are_ours("warning", 0, 0)


def test_a_draft_takes_named_texts_and_forgets_empty_ones():
    draft = rules.check_texts({"customer_name": "Ada", "service_date": " "}, {"service_date": "x"})
    assert draft == {"customer_name": "Ada"}
    full = dict.fromkeys(rules.TEXT_FIELDS[:7], "x" * rules.MAX_TEXT)
    assert rules.check_texts(full, {}) == full
    with pytest.raises(InvalidRequest, match="together"):
        rules.check_texts({"uncategorized_text": "x" * rules.MAX_TEXT}, full)
    with pytest.raises(InvalidRequest, match="it is a file"):
        rules.check_texts({"receipt": "file_1"}, {})


def test_files_together_have_a_limit():
    pdf = b"%PDF-1.7"
    rules.check_file("receipt", "a.pdf", pdf, "application/pdf", rules.MAX_FILES_SIZE - len(pdf))
    with pytest.raises(InvalidRequest):
        rules.check_file("receipt", "a.pdf", pdf, "application/pdf", rules.MAX_FILES_SIZE)
