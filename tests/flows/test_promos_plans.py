"""Promo codes for plans: free trials, and discounts that last for some periods."""

from __future__ import annotations

import pytest

from paydesk.errors import InvalidPromoCode, InvalidRequest, NotFound
from paydesk.flows import catalog, customers, plans, promos, reports
from paydesk.pages import desk_catalog
from paydesk.rules.money import EUR, USD


@pytest.fixture
def pro(env):
    plans.upsert(env, "team", name="Team", price=USD("49.00"), least_quantity=2, most_quantity=9)
    catalog.upsert_pack(env, "creator", name="Creator Pack", credits=150, price=USD("9.99"))
    return plans.upsert(env, "pro", name="Pro", prices=[USD("19.99"), EUR("18.00")])


@pytest.fixture
def maya(env):
    return customers.ensure(env, "maya")


def refused(call, *args, **more):
    with pytest.raises(InvalidPromoCode) as caught:
        call(*args, **more)
    assert caught.value.legacy_code == "PAY003"
    return caught.value.reason


def test_a_free_trial_code_says_its_days_and_takes_nothing_off(env, pro, maya):
    """S4.40"""
    promo = promos.upsert_promo(env, "TRY14", free_trial_days=14, plans=["pro"], per_customer=1)
    assert repr(promo) == "<Promo TRY14 14 days free, used 0>"
    quote = promos.quote(env, "try14", maya, plan="pro")
    assert (quote.kind, quote.free_trial_days, quote.discount_minor) == ("free_trial", 14, 0)
    assert quote.total == USD("19.99")
    assert promos.get_promo(env, "TRY14").used == 0


def test_a_free_trial_code_is_for_plans_alone(env, pro, maya):
    """S4.40 S4.41: refused for packs, credits, items and amounts."""
    promos.upsert_promo(env, "TRY14", free_trial_days=14)
    for product in ({"pack": "creator"}, {"credits": 20, "price": USD(18)}, {"price": USD(5)},
                    {"item": "python", "price": USD(5)}):  # fmt: skip
        assert refused(promos.quote, env, "TRY14", maya, **product) == "wrong_product"
        assert refused(promos.apply, env, "TRY14", maya, **product) == "wrong_product"
    assert promos.quote(env, "TRY14", maya, plan="team").free_trial_days == 14


def test_a_code_names_the_plans_or_the_packs_that_it_is_for(env, pro, maya):
    """S4.41"""
    promos.upsert_promo(env, "PRO", percent_off=10, plans=["pro"])
    promos.upsert_promo(env, "PACK", percent_off=10, packs=["creator"])
    promos.upsert_promo(env, "BOTH", percent_off=10, packs=["creator"], plans=[pro])
    promos.upsert_promo(env, "ALL", percent_off=10)
    works = {
        code: [
            what for what in ({"plan": "pro"}, {"plan": "team"}, {"pack": "creator"})
            if not isinstance(_try(env, code, maya, what), InvalidPromoCode)
        ]
        for code in ("PRO", "PACK", "BOTH", "ALL")
    }  # fmt: skip
    assert works == {
        "PRO": [{"plan": "pro"}],
        "PACK": [{"pack": "creator"}],
        "BOTH": [{"plan": "pro"}, {"pack": "creator"}],
        "ALL": [{"plan": "pro"}, {"plan": "team"}, {"pack": "creator"}],
    }
    assert promos.get_promo(env, "BOTH").plans == ("pro",)


def _try(env, code, who, what):
    try:
        return promos.quote(env, code, who, **what)
    except InvalidPromoCode as refusal:
        return refusal


def test_a_discount_lasts_once_for_some_periods_or_for_ever(env, pro, maya):
    """S4.40: told by the quote, for whoever subscribes."""
    promos.upsert_promo(env, "ONCE", percent_off=10)
    promos.upsert_promo(env, "THREE", amount_off=USD(5), duration="repeating", duration_periods=3)
    promos.upsert_promo(env, "EVER", percent_off=20, duration="forever")
    told = [promos.quote(env, code, maya, plan="pro") for code in ("ONCE", "THREE", "EVER")]
    assert [(one.duration, one.periods) for one in told] == [
        ("once", None), ("repeating", 3), ("forever", None)]  # fmt: skip
    assert [one.discount_minor for one in told] == [200, 500, 400]


def test_a_quote_is_of_all_seats_in_the_currency_asked(env, pro, maya):
    promos.upsert_promo(env, "TEN", percent_off=10)
    assert promos.quote(env, "TEN", maya, plan="team").price == USD("98.00")
    five = plans.price_of(env, plans.get(env, "team"), "usd", 5)
    assert promos.quote(env, "TEN", maya, plan="team", price=five).discount == USD("24.50")
    assert promos.quote(env, "TEN", maya, plan=pro, price=EUR(18)).total == EUR("16.20")
    promos.upsert_promo(env, "FIVE", amount_off=USD(5))
    assert refused(promos.quote, env, "FIVE", maya, plan=pro, price=EUR(18)) == "wrong_currency"


def test_limits_hold_for_plans_too(env, pro, maya):
    """I18: a code that is used up is refused before anybody subscribes with it."""
    from paydesk import ids

    promo = promos.upsert_promo(env, "ONE", free_trial_days=7, cap=1)
    promos.reserve(env, promo.uuid, maya.uuid, ids.new_owned(maya.uuid))
    ben = customers.ensure(env, "ben")
    assert refused(promos.quote, env, "ONE", ben, plan="pro") == "limit_reached"


def test_a_plan_that_costs_nothing_is_not_discounted(env, pro, maya):
    """I19"""
    plans.upsert(env, "free", name="Free", price=USD(0))
    promos.upsert_promo(env, "TEN", percent_off=10)
    promos.upsert_promo(env, "TRY", free_trial_days=10)
    assert refused(promos.quote, env, "TEN", maya, plan="free") == "no_discount"
    assert promos.quote(env, "TRY", maya, plan="free").discount_minor == 0


def test_the_dashboard_says_what_codes_for_plans_give(env, pro):
    """S4.40"""
    promos.upsert_promo(env, "TRY", free_trial_days=14)
    promos.upsert_promo(env, "PRO", percent_off=10, plans=["pro"], packs=["creator"])
    promos.upsert_promo(env, "TWO", amount_off=USD(5), duration="repeating", duration_periods=2)
    promos.upsert_promo(env, "EVER", percent_off=20, duration="forever")
    rows = {row["code"]: row for row in reports.promos_page(env)}
    assert {code: desk_catalog.promo_gives(row) for code, row in rows.items()} == {
        "TRY": "14 days of trial", "PRO": "10% off", "TWO": "$5.00 off, 2 periods",
        "EVER": "20% off, for ever"}  # fmt: skip
    assert desk_catalog._promo_limits(rows["TRY"], "usd") == "every plan"
    assert desk_catalog._promo_limits(rows["PRO"], "usd") == "creator, pro"


@pytest.mark.parametrize(
    "wrong",
    [
        {"free_trial_days": 0}, {"free_trial_days": 731}, {"free_trial_days": 7, "percent_off": 10},
        {"free_trial_days": 7, "packs": ["creator"]}, {"free_trial_days": 7, "duration": "forever"},
        {"bonus_credits": 5, "duration": "forever"}, {"percent_off": 10, "duration": "twice"},
        {"percent_off": 10, "duration": "repeating"}, {"percent_off": 10, "duration_periods": 3},
        {"percent_off": 10, "duration": "repeating", "duration_periods": 0}, {},
    ],
)  # fmt: skip
def test_terms_that_contradict_each_other_are_refused(env, pro, wrong):
    with pytest.raises(InvalidRequest):
        promos.upsert_promo(env, "X", **wrong)


def test_a_code_for_a_plan_that_there_is_not_is_refused(env, pro, maya):
    with pytest.raises(NotFound):
        promos.upsert_promo(env, "X", percent_off=10, plans=["nothing"])
    promos.upsert_promo(env, "X", percent_off=10)
    with pytest.raises(NotFound):
        promos.quote(env, "X", maya, plan="nothing")
