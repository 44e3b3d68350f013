"""The library's front for plans, tax rates and codes for plans."""

from __future__ import annotations

import inspect

import pytest

from paydesk import EUR, KWD, USD, client_async, client_plans
from paydesk.errors import AmountNotChargeable, InvalidPromoCode, InvalidRequest, NotFound


def test_plans_are_made_shown_and_archived(pay):
    """S1.25 S1.52"""
    pro = pay.plans.upsert("pro", name="Pro", prices=[USD("19.99"), EUR("18.00")], trial_days=14)
    assert pay.plans.get("pro") == pro and pay.plans.get(pro) == pro
    pay.plans.upsert("gold", name="Gold", price=USD("29.00"), kind="membership", credits=300,
                     position=1)  # fmt: skip
    assert [one.key for one in pay.plans.list()] == ["pro", "gold"]
    assert [one.key for one in pay.plans.list(kind="membership")] == ["gold"]
    pay.plans.upsert("pro", name="Pro", price=USD("24.99"))
    assert [one.trial_days for one in pay.plans.versions("pro")] == [0, 14]
    assert not pay.plans.archive("gold").active
    assert len(list(pay.plans.list(include_inactive=True))) == 2
    with pytest.raises(NotFound):
        pay.plans.get("nothing")


def test_a_price_between_two_steps_is_refused(pay):
    """S1.25 I12"""
    with pytest.raises(AmountNotChargeable) as refused:
        pay.plans.upsert("gulf", price=KWD("9.995"))
    assert (refused.value.step, refused.value.param) == (10, "price")
    assert pay.plans.upsert("gulf", price=KWD("9.990")).version == 1


def test_a_plan_with_its_price_in_one_text_opens_a_feature(pay):
    """S1.49: the name comes from the key, the interval from the price."""
    pro = pay.plans.upsert("pro", price="19.00 USD/month", grants=["exports", "course:*"],
                           credits=200)  # fmt: skip
    assert (pro.name, pro.terms.price_words()) == ("Pro", "USD 19.00 a month")
    same = pay.plans.upsert("pro", name="Pro", price=USD("19.00"), interval="month",
                            grants=["exports", "course:*"], credits=200)  # fmt: skip
    assert same.version == 1
    assert not pay.can("user_1", "exports")
    pay.subscribe("user_1", plan="pro").complete(card="4242")
    course = pay.can("user_1", "course:python")
    assert course and course.source == pay.subscriptions.current("user_1").id
    assert pay.can("user_1", "exports") and pay.credits.balance("user_1") == 200
    with pytest.raises(InvalidRequest, match="names another interval"):
        pay.plans.upsert("pro", price="19.00 USD/month", interval="year")
    assert pay.plans.get("pro").version == 1


def test_tax_rates_are_entered_listed_and_taken_back(pay):
    vat = pay.tax_rates.add("VAT", "19", country="DE", inclusive=True, by="rosa")
    assert (vat.percent, vat.micros, vat.created_by) == ("19", 190_000, "rosa")
    assert list(pay.tax_rates.list(country="DE")) == [vat]
    assert pay.tax_rates.deactivate(vat).active is False
    assert list(pay.tax_rates.list()) == []


def test_codes_for_plans_are_asked_about(pay):
    """S4.40"""
    pay.plans.upsert("team", name="Team", price=USD("14.50"), least_quantity=3, most_quantity=50)
    pay.promos.upsert("TRY", free_trial_days=30, plans=["team"])
    assert pay.promos.validate("TRY", "maya", plan="team").free_trial_days == 30
    pay.promos.upsert("TEN", percent_off=10, duration="repeating", duration_periods=3)
    ten = pay.promos.validate("TEN", "maya", plan="team", quantity=10)
    assert (ten.price, ten.total, ten.periods) == (USD("145.00"), USD("130.50"), 3)
    assert pay.promos.validate("TEN", "maya", plan="team").price == USD("43.50")
    with pytest.raises(InvalidPromoCode):
        pay.promos.validate("TRY", "maya", price=USD(5))


def test_plans_in_an_event_loop(apay, run):
    async def work():
        await apay.plans.upsert("pro", price="19.99 USD/month")
        await apay.tax_rates.add("VAT", "19", country="DE")
        return [one.key async for one in apay.plans.list()], len(await apay.plans.versions("pro"))

    assert run(work()) == (["pro"], 1)


@pytest.mark.parametrize("name", ["Plans", "TaxRates"])
def test_both_fronts_of_plans_have_the_same_methods(name):
    sync, other = getattr(client_plans, name), getattr(client_async, f"Async{name}")
    for key, method in vars(sync).items():
        if not key.startswith("_"):
            twin = vars(other)[key]
            assert inspect.signature(method).parameters == inspect.signature(twin).parameters
            assert inspect.getdoc(twin)
