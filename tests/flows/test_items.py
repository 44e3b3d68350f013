"""The catalogue of items: made by key, shown in order, priced by rules and by the application."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from datetime import timedelta

import pytest
from goods_support import bought, course, membership, purchase

from paydesk.errors import (
    AmountTooLarge,
    AmountTooSmall,
    InvalidPromoCode,
    InvalidRequest,
    Misconfigured,
    NotFound,
)
from paydesk.flows import items, promos
from paydesk.flows.checkout import StartCheckout, start
from paydesk.rules.money import EUR, USD


def test_an_item_is_made_by_its_key_and_made_so_again(env):
    """S1.8 S1.49: every field as given; grants in either form."""
    told = {"name": "Python", "price": USD("49.99"), "position": 2}
    first = items.upsert(env, "python", grants=["course:python", "exports"], **told)
    again = items.upsert(
        env, "python", access_days=30, grants=[{"type": "course", "id": "python", "days": 5}],
        rules=[{"name": "Half", "percent_off": 50}], **told,
    )  # fmt: skip
    assert again.uuid == first.uuid and items.get(env, first.id) == items.get(env, "python")
    assert first.grants == (
        {"type": "course", "id": "python", "days": None},
        {"type": "exports", "id": "*", "days": None})  # fmt: skip
    assert (again.access_days, again.grants[0]["days"]) == (30, 5)
    assert again.rules[0].as_json() == {"name": "Half", "percent_off": 50}


def test_items_are_listed_in_the_order_they_are_shown_until_they_are_withdrawn(env):
    items.upsert(env, "b", name="B", price=USD(2), position=1)
    items.upsert(env, "a", name="A", price=USD(3), position=1)
    items.upsert(env, "c", name="C", price=USD(9), position=0)
    assert [one.key for one in items.list_(env)] == ["c", "b", "a"]
    assert not items.deactivate(env, "b").active
    assert [one.key for one in items.list_(env)] == ["c", "a"]
    assert len(items.list_(env, include_inactive=True)) == 3
    with pytest.raises(NotFound):
        items.get(env, "b", active_only=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"price": USD(0)}, {"kind": "plan"}, {"duration_months": 6},
        {"kind": "service"}, {"kind": "service", "duration_months": 0}, {"access_days": -1},
        {"grants": "course:python"}, {"grants": ["a b"]}, {"grants": [{"kind": "x"}]},
        {"rules": [{"name": "x"}]}, {"most_quantity": True},
    ],
)  # fmt: skip
def test_what_makes_no_item_is_refused(env, wrong):
    with pytest.raises(InvalidRequest):
        items.upsert(env, "x", **{"name": "X", "price": USD(5), **wrong})


@pytest.mark.parametrize("key", ["", "a b", "item_x", "a\n", "x" * 101])
def test_a_key_is_a_word_and_no_id_of_ours(env, key):
    with pytest.raises(InvalidRequest):
        items.upsert(env, key, name="X", price=USD(5))


def test_rules_price_an_item_on_the_server_and_the_purchase_says_how(desk):
    """S1.46 I35: by customer, quantity and date; the checkout asks the provider for that."""
    course(
        desk, most_quantity=10,
        rules=[
            {"name": "Students", "customer": {"segment": "student"}, "percent_off": 20},
            {"name": "Three", "quantity_from": 3, "unit_price": USD("40.00")},
            {"name": "Over", "ends_at": desk.clock.now(), "percent_off": 90},
        ],
    )  # fmt: skip
    user = desk.make.user(metadata={"segment": "student"})
    quote = items.quote(desk.env, "python", user, 3)
    assert (quote.full, quote.price) == (USD("149.97"), USD("96.00"))
    view = bought(desk, user, item="python", quantity=3)
    assert view.total == USD("96.00") == desk.payment(view).captured
    assert view.lines[0]["unit_minor"] == 4999 and view.lines[0]["quantity"] == 3
    one = purchase(desk, view)
    assert (one.state, one.quantity, one.price) == ("completed", 3, USD("96.00"))
    assert one.pricing == (
        {"rule": "Three", "effect": "unit_price", "off_minor": 2997},
        {"rule": "Students", "effect": "percent_off", "off_minor": 2400})  # fmt: skip


def test_the_price_is_frozen_when_the_checkout_is_opened(desk):
    """S1.46 I35: what the catalogue says later changes nothing that is sold."""
    course(desk)
    view = desk.open(item="python")
    course(desk, price=USD("99.00"), grants=["course:other"])
    desk.pay(view)
    desk.deliver(view)
    one = purchase(desk, view)
    assert (one.price, one.paid) == (USD("49.99"), USD("49.99"))
    rows = desk.all("select resource_id from access_grants")
    assert [row["resource_id"] for row in rows] == ["python"]


def test_the_applications_hook_sets_the_price_and_is_recorded(desk):
    """S1.46: a callable on the server; None leaves what the rules say."""
    course(desk, rules=[{"name": "Ten", "percent_off": 10}], most_quantity=5)

    def loyal(item, quantity, customer, price):
        return USD("30.00") if customer.external_id == "maya" else None

    desk.env.hooks.price_item = loyal
    view = desk.open(desk.make.user("maya"), item="python")
    assert view.total == USD("30.00")
    assert purchase(desk, view).pricing[1] == {
        "rule": "test_the_applications_hook_sets_the_price_and_is_recorded.<locals>.loyal",
        "effect": "hook", "off_minor": 1499}  # fmt: skip
    assert desk.open(desk.make.user("joe"), item="python").total == USD("44.99")


@pytest.mark.parametrize("answer", [USD(0), EUR(5), 5, "5.00"])
def test_a_hook_that_answers_no_price_sells_nothing(desk, answer):
    course(desk)
    desk.env.hooks.price_item = lambda *_: answer
    with pytest.raises(Misconfigured):
        desk.open(item="python")
    assert desk.all("select id from payments") == []


def test_the_hook_may_be_named_by_a_setting(desk, monkeypatch):
    """S1.46"""
    module = types.ModuleType("shop_prices")
    module.cheap = lambda item, quantity, customer, price: USD("5.00")
    monkeypatch.setitem(sys.modules, "shop_prices", module)
    course(desk)
    told = replace(desk.env, settings=replace(desk.env.settings, price_item="shop_prices:cheap"))
    who = desk.make.user()
    assert start(told, StartCheckout(customer_id=who.uuid, item="python")).total == USD("5.00")
    for wrong in ("shop_prices", "shop_prices:dear", "nowhere:cheap"):
        bad = replace(desk.env, settings=replace(desk.env.settings, price_item=wrong))
        with pytest.raises(Misconfigured):
            items.quote(bad, "python", who)


def test_a_promo_code_that_names_no_packs_is_for_items_too(desk):
    """S1.46: after the rules; a code for packs, or one that brings credits, is not for items."""
    course(desk, rules=[{"name": "Ten off", "amount_off": USD("10.00")}])
    desk.make.promo("WELCOME10", percent_off=10)
    desk.make.promo("PACKS", percent_off=10, packs=["creator"])
    desk.make.promo("BONUS", bonus_credits=25)
    user = desk.make.user()
    assert promos.quote(desk.env, "welcome10", user, price=USD("39.99"), item="python").total == (
        USD("35.99"))  # fmt: skip
    for code in ("PACKS", "BONUS"):
        with pytest.raises(InvalidPromoCode) as refused:
            desk.open(user, item="python", promo=code)
        assert refused.value.extra["reason"] == "wrong_product"
    view = bought(desk, user, item="python", promo="WELCOME10")
    payment = desk.payment(view)
    assert (payment.price, payment.discount, payment.amount) == (
        USD("39.99"), USD("4.00"), USD("35.99"))  # fmt: skip
    used = desk.all("select state from promo_uses")
    assert used == [{"state": "used"}]


def test_an_applied_code_waits_for_the_checkout_of_its_item(desk):
    course(desk)
    course(desk, "go")
    desk.make.promo("WELCOME10", percent_off=10)
    user = desk.make.user()
    promos.apply(desk.env, "WELCOME10", user, price=USD("49.99"), item="python")
    assert desk.open(user, item="go").total == USD("49.99")
    assert desk.open(user, item="python").total == USD("44.99")


def test_what_cannot_be_sold_so_is_refused_before_anything_is_written(desk):
    course(desk, most_quantity=2)
    course(desk, "free", rules=[{"name": "All", "percent_off": 100}])
    course(desk, "dear", price=USD("6000.00"))
    course(desk, "old", active=False)
    membership(desk)
    for problem, what in [
        (InvalidRequest, {"item": "python", "quantity": 3}),
        (InvalidRequest, {"item": "python", "quantity": 0}),
        (InvalidRequest, {"item": "python", "pack": "creator"}),
        (InvalidRequest, {"item": "premium_membership"}),
        (InvalidRequest, {"service": "python"}),
        (InvalidRequest, {"pack": "creator", "quantity": 2}),
        (InvalidRequest, {"wallet": USD(0)}),
        (InvalidPromoCode, {"wallet": USD(5), "promo": "X"}),
        (AmountTooSmall, {"item": "free"}),
        (AmountTooLarge, {"item": "dear"}),
        (NotFound, {"item": "old"}),
        (NotFound, {"item": "none"}),
    ]:
        with pytest.raises(problem):
            start(desk.env, StartCheckout(customer_id=desk.make.user().uuid, **what))
    assert desk.all("select id from payments") == []


def test_what_gives_access_is_offered_nearest_first(env):
    """S1.49"""
    items.upsert(env, "all", name="All", price=USD(9), grants=["platform"])
    items.upsert(env, "courses", name="Courses", price=USD(8), grants=["course:*"])
    items.upsert(env, "python", name="Python", price=USD(7), grants=["course:python"])
    assert items.offering(env, "course", "python").key == "python"
    assert items.offering(env, "course", "go").key == "courses"
    assert items.offering(env, "lab", "7").key == "all"
    items.deactivate(env, "all")
    assert items.offering(env, "lab", "7") is None


def test_a_rule_of_tomorrow_waits_for_its_day(desk):
    """S1.46: the date is the one clock's."""
    tomorrow = desk.clock.now() + timedelta(days=1)
    course(desk, rules=[{"name": "Later", "starts_at": tomorrow, "percent_off": 50}])
    user = desk.make.user()
    assert items.quote(desk.env, "python", user).price == USD("49.99")
    desk.clock.advance(days=1)
    assert items.quote(desk.env, "python", user).price == USD("24.99")
