"""Promo rules as properties: comparison, discount, eligibility."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules import promo
from paydesk.rules.money import EXPONENTS, to_stripe
from paydesk.rules.promo import Purchase, Terms

NOW = datetime(2026, 3, 1, tzinfo=UTC)
currencies = st.sampled_from(sorted(EXPONENTS))
prices = st.integers(1, 10**12)


def percent(n: int, **more) -> Terms:
    return Terms(kind="percent", percent_off=n, **more)


def test_ten_percent_of_nine_ninety_nine_leaves_eight_ninety_nine():
    """S4.40: rounded half up."""
    assert 999 - promo.discount(percent(10), 999, "usd") == 899
    assert promo.discount(percent(10), 995, "usd") == 100
    assert promo.discount(percent(10), 994, "usd") == 99


@given(prices, st.integers(1, 100), currencies)
def test_a_percentage_is_never_negative_and_never_the_whole_price(price, off, currency):
    """I19"""
    taken = promo.discount(percent(off), price, currency)
    assert 0 <= taken < price
    assert taken == 0 or price - taken >= promo.least_charge(currency)


@given(prices, st.integers(1, 10**12), currencies)
def test_a_fixed_discount_is_never_negative_and_never_the_whole_price(price, off, currency):
    """I19"""
    terms = Terms(kind="fixed", amount_off_minor=off, currency=currency)
    taken = promo.discount(terms, price, currency)
    assert 0 <= taken < price and taken <= off
    assert taken == 0 or price - taken >= promo.least_charge(currency)


@given(st.integers(1, 10**9), st.integers(1, 100), currencies)
def test_what_is_left_of_a_chargeable_price_can_be_charged(steps, off, currency):
    """I12 I19: no discount leaves an amount that the provider cannot take exactly."""
    price = steps * promo.charge_step(currency)
    left = price - promo.discount(percent(off), price, currency)
    to_stripe(left, currency)


@given(st.integers(100, 10**9), st.integers(1, 99))
def test_a_larger_percentage_never_takes_less(price, off):
    smaller, larger = (promo.discount(percent(n), price, "usd") for n in (off, off + 1))
    assert smaller <= larger


@given(st.text(max_size=40))
def test_comparing_is_stable_and_blind_to_case_and_form(text):
    """I19"""
    once = promo.norm(text)
    assert promo.norm(once) == once
    assert promo.norm(f"  {text}\t") == once


@pytest.mark.parametrize(
    ("a", "b"),
    [("WELCOME10", "welcome10"), ("Ｗelcome１０", "WELCOME10"), ("STRASSE", "straße"),
     ("cafe\u0301", "CAFÉ"), ("ﬁrst", "FIRST"), (" SPRING ", "spring"), ("ΣΑΣ", "σας")],
)  # fmt: skip
def test_codes_that_people_hold_for_the_same_are_the_same(a, b):
    """I19"""
    assert promo.norm(a) == promo.norm(b)


def test_codes_that_differ_stay_apart():
    assert len({promo.norm(c) for c in ("SPRING", "SPR1NG", "SPRİNG", "SPRING-1")}) == 4


@pytest.mark.parametrize("bad", ["", "  ", "a b", "a\0", "x" * 65, "a\u200bb", "\ud800", 7, None])
def test_what_cannot_be_a_code_is_refused(bad):
    """I38"""
    with pytest.raises(InvalidRequest):
        promo.check_code(bad)


BUYS = {"price_minor": 999, "currency": "usd", "pack": "creator",
        "customer_ids": ("user_1", "cus_x"), "metadata": {"tier": "gold"}}  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "purchase", "reason"),
    [
        ({}, {}, None),
        ({"active": False}, {}, "inactive"),
        ({"starts_at": NOW + timedelta(seconds=1)}, {}, "not_started"),
        ({"starts_at": NOW}, {}, None),
        ({"expires_at": NOW}, {}, "expired"),
        ({"expires_at": NOW + timedelta(seconds=1)}, {}, None),
        ({"packs": frozenset({"studio"})}, {}, "wrong_product"),
        ({"packs": frozenset({"studio"})}, {"pack": None}, "wrong_product"),
        ({"packs": frozenset({"creator"})}, {}, None),
        ({"min_purchase_minor": 1000, "currency": "usd"}, {}, "minimum_purchase"),
        ({"min_purchase_minor": 999, "currency": "usd"}, {}, None),
        ({"min_purchase_minor": 9, "currency": "usd"}, {"currency": "eur"}, "wrong_currency"),
        ({"customers": frozenset({"user_2"})}, {}, "not_eligible"),
        ({"customers": frozenset({"user_1"})}, {}, None),
        ({"match_metadata": {"tier": "silver"}}, {}, "not_eligible"),
        ({"match_metadata": {"tier": "gold"}}, {}, None),
        ({"first_purchase": True}, {"has_purchased": True}, "not_first_purchase"),
        ({"first_purchase": True}, {}, None),
        ({}, {"price_minor": 50}, "no_discount"),
    ],
)
def test_each_restriction_refuses_by_its_own_reason(terms, purchase, reason):
    """S4.41"""
    found = promo.refusal(percent(10, **terms), Purchase(**{**BUYS, **purchase}), NOW)
    assert found == reason
    assert found is None or found in promo.REFUSALS
