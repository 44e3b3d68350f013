"""Prices of plans as one text, and the names that keys give."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.errors import AmountNotChargeable, InvalidRequest
from paydesk.rules import plans
from paydesk.rules.money import EXPONENTS, JPY, USD, Money, format_minor


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("19.00 USD/month", (USD("19.00"), "month", 1)),
        ("19 usd / month", (USD(19), "month", 1)),
        ("199USD/year", (USD(199), "year", 1)),
        ("50.00 USD/3 months", (USD(50), "month", 3)),
        ("4.50 USD/week", (USD("4.50"), "week", 1)),
        ("500 JPY/2 weeks", (JPY(500), "week", 2)),
        ("0 USD/30 days", (USD(0), "day", 30)),
        (" 19.00 USD ", (USD("19.00"), None, None)),
    ],
)
def test_a_price_is_read_with_its_interval(text, found):
    # S1.25
    assert plans.read_price(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "USD", "19.00", "19.00 USD/", "19.00 USD/decade", "19.00 USD month", "-1 USD/month",
     "1.234 USD/month", "1e3 USD", "19,00 USD", "19.00 XYZ/month", "19.00 USD/x months",
     "19.00 USD/3months 1", "١٩ USD/month", ". USD", "19.00 USD/month; 1 USD/year"],
)  # fmt: skip
def test_what_is_no_price_is_refused_by_name(text):
    with pytest.raises(InvalidRequest) as refused:
        plans.read_price(text)
    assert refused.value.param == "price"


# I12 S1.25
@pytest.mark.parametrize(("text", "step"), [
    ("9.995 KWD", 10), ("1.005 BHD", 10), ("12.341 TND/year", 10), ("20.15 MGA", 100),
])  # fmt: skip
def test_a_price_that_cards_cannot_be_charged_to_the_last_digit_is_refused(text, step):
    with pytest.raises(AmountNotChargeable) as refused:
        plans.check(price=text)
    problem = refused.value.to_problem()
    assert (problem["code"], problem["param"], problem["step"], problem["status"]) == (
        "amount_not_chargeable", "price", step, 422)  # fmt: skip
    assert isinstance(refused.value, InvalidRequest)


# I12 S1.25
@pytest.mark.parametrize("text", ["9.990 KWD", "0 KWD", "10 ISK", "10 UGX", "175.01 HUF",
                                  "10.99 TWD", "500 JPY", "20.00 MGA"])  # fmt: skip
def test_a_price_in_whole_steps_is_sold(text):
    price = plans.read_price(text)[0]
    assert plans.check(price=text)["prices"] == {price.currency: price.minor}


@given(
    currency=st.sampled_from(sorted(EXPONENTS)), minor=st.integers(0, 10**12),
    unit=st.sampled_from(sorted(plans.INTERVALS)), count=st.integers(1, 9_999),
)  # fmt: skip
def test_whatever_is_written_is_read_again(currency, minor, unit, count):
    # I1: no unit of money is lost on the way
    word = unit if count == 1 else f"{count} {unit}s"
    text = f"{format_minor(minor, currency)} {currency.upper()}/{word}"
    assert plans.read_price(text) == (Money(minor, currency, minor=True), unit, count)


def test_the_text_and_the_interval_do_not_contradict_each_other():
    def period(**terms):
        told = plans.check(**terms)
        return told["interval_count"], told["interval_unit"], told["prices"]

    price = {"usd": 1900}
    assert period(price="19 USD") == period(price=USD(19)) == (1, "month", price)
    assert period(price="19 USD", interval="week", interval_count=2) == (2, "week", price)
    assert period(price="19 USD/3 months", interval="month") == (3, "month", price)
    assert period(price="19 USD/3 months", interval_count=3) == (3, "month", price)
    for other in ({"interval": "year"}, {"interval_count": 2},
                  {"interval": "week", "interval_count": 3}):  # fmt: skip
        with pytest.raises(InvalidRequest, match="names another interval") as refused:
            plans.check(price="19 USD/3 months", **other)
        assert refused.value.param == "interval"
    for text in ("19 USD/0 months", "19 USD/11 years"):
        with pytest.raises(InvalidRequest):
            plans.check(price=text)


@pytest.mark.parametrize(
    ("key", "name"),
    [("pro", "Pro"), ("pro_plus", "Pro plus"), ("team-2", "Team 2"), ("VIP", "VIP"),
     ("été", "Été"), ("_", "_")],
)  # fmt: skip
def test_a_name_comes_from_the_key(key, name):
    assert plans.name_of(key) == name


def test_plans_are_compared_by_the_price_of_a_year():
    def terms(price, **more):
        return plans.terms_of(UUID(int=1), 1, plans.check(price=price, **more))

    told = ["100 USD/year", "9 USD/month", "30 USD/3 months", "3 USD/week", "1 EUR/year"]
    found = sorted(told, key=lambda one: plans.cost(terms(one), "usd"))
    assert found == ["100 USD/year", "9 USD/month", "30 USD/3 months", "3 USD/week", "1 EUR/year"]
    team = terms("9 USD/month", least_quantity=3, most_quantity=9)
    assert plans.cost(team, "usd") > plans.cost(terms("20 USD/month"), "usd")


def test_a_plan_opens_what_it_grants():
    def opens(grants, kind, name):
        return plans.opens(plans.terms_of(UUID(int=1), 1, plans.check(price=USD(1), grants=grants)),
                           kind, name)  # fmt: skip

    assert opens(None, "course", "python") and opens(["course:*"], "course", "python")
    assert opens(["course:python"], "course", "python")
    assert not opens(["course:python"], "course", "*") and not opens([], "course", "python")
    assert not opens(["lab:*"], "course", "python")
