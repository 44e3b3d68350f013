"""Coupons through the official SDK: on a page that begins a subscription, and on its invoices."""

from __future__ import annotations

import pytest
import stripe
from billing_support import DAY, START, World

PAGE = {"success_url": "http://shop.test/thanks", "mode": "subscription"}


@pytest.fixture
def world(sandbox, client):
    return World(sandbox, client)


def begin(world, **coupon):
    """A customer who subscribed on a page with a coupon."""
    made = world.client.v1.coupons.create(coupon)
    page = world.client.v1.checkout.sessions.create({
        **PAGE, "customer": world.customer, "discounts": [{"coupon": made.id}],
        "line_items": [{"price": world.price(999), "quantity": 1}],
    })  # fmt: skip
    world.sandbox.pay(page.id)
    return page


@pytest.mark.parametrize(
    ("coupon", "totals"),
    [
        ({"percent_off": 25, "duration": "once"}, [749, 999, 999]),
        ({"percent_off": 12.5, "duration": "forever"}, [874, 874, 874]),
        ({"amount_off": 300, "currency": "usd", "duration": "repeating",
          "duration_in_months": 2}, [699, 699, 999]),
    ],
)  # fmt: skip
def test_a_coupon_is_taken_off_as_long_as_it_lasts(world, coupon, totals):
    page = begin(world, **coupon)
    assert (page.amount_subtotal, page.amount_total) == (999, totals[0])
    assert page.total_details.amount_discount == 999 - totals[0]
    world.sandbox.advance_clock(world.clock, START + 62 * DAY)
    found = world.sandbox.objects("invoice")
    assert [one["total"] for one in found] == totals
    for one in found:
        off = sum(part["amount"] for part in one["total_discount_amounts"])
        assert one["subtotal"] - off == one["total"]
        assert sum(part["amount"] for line in one["lines"]["data"]
                   for part in line["discount_amounts"]) == off  # fmt: skip


def test_a_coupon_of_that_name_is_there_already(world):
    told = {"id": "SPRING", "percent_off": 10, "duration": "once"}
    assert world.client.v1.coupons.create(told).valid
    with pytest.raises(stripe.InvalidRequestError) as refused:
        world.client.v1.coupons.create(told)
    assert refused.value.code == "resource_already_exists"
    assert [one.id for one in world.client.v1.coupons.list().data] == ["SPRING"]
    assert world.client.v1.coupons.retrieve("SPRING").percent_off == 10
    assert world.client.v1.coupons.delete("SPRING").deleted


def test_a_single_payment_takes_no_coupon_here(world):
    world.client.v1.coupons.create({"id": "X", "percent_off": 10, "duration": "once"})
    with pytest.raises(stripe.StripeError):
        world.client.v1.checkout.sessions.create({
            **PAGE, "mode": "payment", "discounts": [{"coupon": "X"}],
            "line_items": [{"quantity": 1, "price_data": {
                "currency": "usd", "unit_amount": 500, "product_data": {"name": "One"}}}],
        })  # fmt: skip


def test_an_amount_off_names_its_currency(client):
    with pytest.raises(stripe.InvalidRequestError, match="currency"):
        client.v1.coupons.create({"amount_off": 500})
