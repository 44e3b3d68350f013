"""Prices of items by rules, as examples and as properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules import pricing
from paydesk.rules.money import EUR, USD
from paydesk.rules.pricing import Rule
from paydesk.rules.promo import charge_step

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def cost(unit, quantity, *rules, who=None, now=NOW, currency="usd"):
    return pricing.price(unit, quantity, currency, who or {}, now, rules)


def test_students_pay_less_and_others_do_not():
    """S1.46: by customer attributes."""
    rule = Rule(name="Students", customer={"segment": "student"}, percent_off=20)
    assert cost(4999, 1, rule, who={"segment": "student"}).total_minor == 3999
    assert cost(4999, 1, rule, who={"segment": "teacher"}).total_minor == 4999
    assert cost(4999, 1, rule).applied == ()


def test_many_cost_less_each():
    """S1.46: by quantity, both ends inclusive."""
    rule = Rule(name="Five to nine", quantity_from=5, quantity_to=9, unit_price=800)
    assert [cost(1000, n, rule).total_minor for n in (4, 5, 9, 10)] == [4000, 4000, 7200, 10_000]


def test_a_rule_holds_from_its_start_until_before_its_end():
    """S1.46: by date."""
    rule = Rule(name="Spring", starts_at=NOW, ends_at=NOW + DAY, amount_off=300)
    days = [NOW - DAY, NOW, NOW + DAY - timedelta(microseconds=1), NOW + DAY]
    assert [cost(1000, 1, rule, now=at).total_minor for at in days] == [1000, 700, 700, 1000]


def test_the_order_is_unit_price_then_percentages_then_amounts():
    """S1.46 I19: whatever the order of the list between kinds; the first unit price is the one."""
    rules = [
        Rule(name="off", amount_off=100),
        Rule(name="half", percent_off=50),
        Rule(name="tenth", percent_off=10),
        Rule(name="fixed", unit_price=900),
        Rule(name="too late", unit_price=1),
    ]
    found = cost(1000, 2, *rules)
    assert [(one.name, one.off_minor) for one in found.applied] == [
        ("fixed", 200), ("half", 900), ("tenth", 90), ("off", 100)]  # fmt: skip
    assert found.total_minor == 2000 - 200 - 900 - 90 - 100


def test_a_percentage_is_rounded_half_up_once_for_the_line():
    """S1.46 I13: the line is rounded, not the unit."""
    assert cost(333, 3, Rule(name="half", percent_off=50)).total_minor == 999 - 500
    assert cost(1001, 1, Rule(name="half", percent_off=50), currency="jpy").total_minor == 500


def test_no_rule_makes_a_price_higher_or_negative():
    """I19"""
    assert cost(1000, 1, Rule(name="dear", unit_price=5000)).total_minor == 1000
    assert cost(1000, 1, Rule(name="much", amount_off=5000)).total_minor == 0


rules_made = st.lists(
    st.builds(
        lambda name, first, last, effect, amount: Rule(
            name=name, quantity_from=first, quantity_to=None if last is None else first + last,
            **{effect: amount % 100 + 1 if effect == "percent_off" else amount},
        ),
        st.text("abc", min_size=1, max_size=3), st.integers(1, 5),
        st.none() | st.integers(0, 5), st.sampled_from(pricing.EFFECTS), st.integers(1, 10**7),
    ),
    max_size=6,
)  # fmt: skip


@given(st.integers(1, 10**7), st.integers(1, 20), rules_made,
       st.sampled_from(["usd", "jpy", "kwd", "isk"]))  # fmt: skip
def test_what_was_taken_off_and_the_price_make_the_full_price(unit, quantity, rules, currency):
    """I13 I19: exact integers, between nothing and the full price."""
    found = cost(unit, quantity, *rules, currency=currency)
    assert found.full_minor == unit * quantity
    assert 0 <= found.total_minor <= found.full_minor
    assert sum(one.off_minor for one in found.applied) == found.full_minor - found.total_minor
    assert all(one.off_minor > 0 for one in found.applied)


@given(st.integers(1, 10**6), st.integers(1, 99))
def test_a_percentage_leaves_what_the_provider_can_charge(steps, percent):
    """I12: in steps of the currency, such as whole krónur sent with two decimals."""
    step = charge_step("isk")
    found = cost(steps * step, 1, Rule(name="off", percent_off=percent), currency="isk")
    assert found.total_minor % step == 0


@given(rules_made)
def test_a_stored_rule_reads_as_the_same_rule(rules):
    assert pricing.read([one.as_json() for one in rules], "usd") == rules


def test_rules_are_written_with_money_or_minor_units():
    told = [{"name": "a", "amount_off": USD("1.50"), "starts_at": "2026-03-01T00:00:00Z"},
            {"name": "b", "percent_off": 5, "customer": {"vip": True}}]  # fmt: skip
    first, second = pricing.read(told, "usd")
    assert (first.amount_off, first.starts_at) == (150, NOW)
    assert second.customer == {"vip": "true"}


@pytest.mark.parametrize(
    "rule",
    [
        {}, {"name": "x"}, {"name": "", "percent_off": 5}, {"name": "x", "percent_off": 0},
        {"name": "x", "percent_off": 101}, {"name": "x", "percent_off": True},
        {"name": "x", "percent_off": 5, "amount_off": 5}, {"name": "x", "amount_off": EUR(1)},
        {"name": "x", "amount_off": -1}, {"name": "x", "percent_off": 5, "price": 1},
        {"name": "x", "percent_off": 5, "quantity_from": 3, "quantity_to": 2},
        {"name": "x", "percent_off": 5, "starts_at": "soon"},
        {"name": "x", "percent_off": 5, "ends_at": NOW.replace(tzinfo=None)},
        {"name": "x", "percent_off": 5, "starts_at": NOW, "ends_at": NOW}, "x", 5,
    ],
)  # fmt: skip
def test_a_rule_that_is_none_is_refused(rule):
    with pytest.raises(InvalidRequest):
        pricing.read([rule], "usd")
