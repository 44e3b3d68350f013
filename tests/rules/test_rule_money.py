"""Money: whole minor units, exact texts, one table of exponents, splits that lose nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules.money import (
    EXPONENTS,
    MAX_MINOR,
    STRIPE_SCALE,
    USD,
    Money,
    currency_code,
    divide_half_up,
    exponent,
    format_minor,
    from_stripe,
    parse_minor,
    split,
    to_stripe,
)

CODES = st.sampled_from(sorted(EXPONENTS))
MINORS = st.integers(-MAX_MINOR, MAX_MINOR)


@given(minor=MINORS, code=CODES)
def test_what_is_shown_can_be_read_back_exactly(minor, code):  # I11 I12
    assert parse_minor(format_minor(minor, code), code) == minor
    assert Money(minor, code, minor=True).decimal == Decimal(minor).scaleb(-exponent(code))


@given(minor=st.integers(0, 10**15), code=CODES)
def test_what_a_provider_is_sent_comes_back_exactly_or_is_refused(minor, code):  # I12
    try:
        sent = to_stripe(minor, code)
    except InvalidRequest:
        digits, step = STRIPE_SCALE[code]
        there = digits - exponent(code)
        assert (minor * 10**there) % step if there >= 0 else minor % 10**-there
    else:
        assert from_stripe(sent, code) == minor
        assert sent % STRIPE_SCALE.get(code, (0, 1))[1] == 0


@pytest.mark.parametrize(
    ("code", "digits"),
    [("usd", 2), ("jpy", 0), ("kwd", 3), ("htg", 2), ("mga", 2), ("ugx", 0), ("isk", 0),
     ("clf", 4), ("uyw", 4)],
)  # fmt: skip
def test_exponents_come_from_iso_4217(code, digits):  # I12
    assert exponent(code) == digits


@pytest.mark.parametrize(
    ("minor", "code", "sent"),
    [(999, "usd", 999), (500, "jpy", 500), (1250, "kwd", 1250), (500, "isk", 50_000),
     (700, "mga", 7), (300, "ugx", 300)],
)  # fmt: skip
def test_stripes_own_scale_is_kept_apart(minor, code, sent):  # I12
    assert to_stripe(minor, code) == sent
    assert from_stripe(sent, code) == minor


@pytest.mark.parametrize(("minor", "code"), [(1251, "kwd"), (701, "mga")])
def test_an_amount_without_an_exact_form_is_refused(minor, code):  # I12
    with pytest.raises(InvalidRequest):
        to_stripe(minor, code)


@given(total=MINORS, weights=st.lists(st.integers(0, 10**9), min_size=1, max_size=12))
def test_shares_sum_to_the_whole_and_are_off_by_less_than_one(total, weights):  # I13
    if not sum(weights):
        with pytest.raises(ValueError):
            split(total, weights)
        return
    shares = split(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share * sum(weights) - total * weight) < sum(weights)
        assert weight or share == 0


def test_equal_remainders_go_to_the_earlier_share():  # I13
    assert split(100, [1, 1, 1]) == [34, 33, 33]
    assert split(-100, [1, 1, 1]) == [-34, -33, -33]


@given(numerator=st.integers(-10**20, 10**20), denominator=st.integers(1, 10**9))
def test_division_rounds_half_away_from_zero(numerator, denominator):  # I13
    quotient = divide_half_up(numerator, denominator)
    doubled = 2 * abs(numerator) - 2 * abs(quotient) * denominator
    assert -denominator <= doubled < denominator
    assert quotient == -divide_half_up(-numerator, denominator)


def test_ten_percent_off_rounds_half_up():
    assert divide_half_up(999 * 10, 100) == 100  # 8.99 is left of 9.99


@pytest.mark.parametrize("amount", [9.99, 10.0, True, None, b"1", float("nan")])
def test_what_is_not_exact_raises_a_type_error(amount):  # I11
    with pytest.raises(TypeError):
        Money(amount, "usd")


@pytest.mark.parametrize(
    "text", ["1e2", "NaN", "Infinity", " 1", "1 ", "1,00", "+1", "", ".5", "5.", "0x10", "١", "1_0"]
)
def test_a_text_that_is_no_plain_decimal_is_refused(text):  # I11
    with pytest.raises(InvalidRequest):
        parse_minor(text, "usd")


@pytest.mark.parametrize(
    ("text", "code", "minor"),
    [("100", "usd", 10_000), ("100.0", "usd", 10_000), ("100.00", "usd", 10_000),
     ("100.000", "usd", 10_000), ("7", "jpy", 7), ("0.001", "kwd", 1)],
)  # fmt: skip
def test_zeros_at_the_end_change_nothing(text, code, minor):  # I11
    assert parse_minor(text, code) == minor


@pytest.mark.parametrize(("text", "code"), [("1.001", "usd"), ("1.5", "jpy"), ("0.0001", "kwd")])
def test_more_decimals_than_the_currency_has_are_refused(text, code):  # I11
    with pytest.raises(InvalidRequest):
        parse_minor(text, code)


def test_the_64_bit_edge_is_refused():  # I11
    assert parse_minor(format_minor(MAX_MINOR, "usd"), "usd") == MAX_MINOR
    with pytest.raises(InvalidRequest):
        parse_minor(format_minor(MAX_MINOR + 1, "usd"), "usd")
    with pytest.raises(InvalidRequest):
        Money(MAX_MINOR + 1, "usd", minor=True)


@pytest.mark.parametrize("code", ["xxx", "US", "dollars", "", "usd ", 5, None])
def test_an_unknown_currency_is_refused(code):  # I12
    with pytest.raises(InvalidRequest):
        currency_code(code)


@given(a=st.integers(-10**15, 10**15), b=st.integers(-10**15, 10**15), code=CODES)
def test_sums_are_exact_and_currencies_never_mix(a, b, code):  # I11
    one, other = Money(a, code, minor=True), Money(b, code, minor=True)
    assert (one + other - other) == one and (one + -one).minor == 0
    assert (one < other) == (a < b)
    with pytest.raises(ValueError):
        one + Money(1, "eur" if code != "eur" else "usd", minor=True)


def test_money_reads_as_money():
    assert str(USD("49.05")) == "USD 49.05" and repr(USD("49.05")) == "Money('49.05', 'usd')"
    assert USD(5).minor == 500 and USD(Decimal("0.10")).minor == 10 and not USD("0")
