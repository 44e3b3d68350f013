"""Plans at a provider: pushed as products with prices that recur, compared, taken from there."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from paydesk.errors import InvalidRequest
from paydesk.flows import catalog_sync, plans
from paydesk.providers.stripe import SIMULATOR_KEY
from paydesk.rules.money import EUR, USD


@pytest.fixture
def there(sim) -> Any:
    """The dashboard: Stripe's own SDK."""
    return stripe.StripeClient(SIMULATOR_KEY, base_addresses={"api": sim.url}).v1


@pytest.fixture
def pro(env, there):
    made = plans.upsert(env, "pro", name="Pro", prices=[USD("19.99"), EUR(18)], interval="month",
                        interval_count=3, trial_days=14, grants=["course:*"])  # fmt: skip
    assert catalog_sync.sync(env).failed == 0
    return made


def product(env, there) -> Any:
    with env.db.read() as tx:
        refs = tx.one("select product_ref, price_ref from catalog_refs where kind = 'plan'")
    found = there.products.retrieve(refs["product_ref"])
    assert found.default_price == refs["price_ref"]
    return found


def test_a_plan_is_pushed_with_a_price_that_recurs(env, there, pro):
    """S4.1: at the price in the default currency; a second run does nothing."""
    made = product(env, there)
    assert (made.name, made.active) == ("Pro", True)
    assert made.metadata.to_dict() == {"paydesk_id": pro.id, "paydesk_key": "pro"}
    price = there.prices.retrieve(made.default_price)
    assert (price.unit_amount, price.currency) == (1999, "usd")
    assert (price.recurring.interval, price.recurring.interval_count) == ("month", 3)
    again = catalog_sync.sync(env)
    assert (again.changes, again.unchanged) == ((), 1)
    assert catalog_sync.drift(env) == []


@pytest.mark.parametrize("terms", [{"price": USD("24.99")}, {"interval": "year"}])
def test_a_new_amount_or_interval_takes_the_old_prices_place(env, there, pro, terms):
    """S4.1"""
    told = {"price": USD("19.99"), "interval": "month", "interval_count": 3, **terms}
    plans.upsert(env, "pro", name="Pro", **told)
    assert [one.type for one in catalog_sync.drift(env)] == ["price"]
    assert [one.actions for one in catalog_sync.sync(env).changes] == [("price",)]
    prices = there.prices.list({"product": product(env, there).id, "active": True}).data
    assert [p.id for p in prices] == [product(env, there).default_price]
    assert prices[0].recurring.interval == told["interval"]
    assert catalog_sync.drift(env) == []


def test_a_plan_takes_name_and_amount_from_there(env, there, pro):
    """S4.1: the amount makes a version; all else stays."""
    made = product(env, there)
    price = there.prices.create({
        "product": made.id, "currency": "usd", "unit_amount": 2999,
        "recurring": {"interval": "month", "interval_count": 3},
    })  # fmt: skip
    there.products.update(made.id, {"name": "Pro 3", "default_price": price.id})
    drift = {one.type: one.theirs for one in catalog_sync.drift(env)}
    assert drift == {
        "name": "Pro 3",
        "price": {"amount": 2999, "currency": "usd", "interval": "3 month"},
    }
    assert catalog_sync.adopt(env, "pro").actions == ("adopt",)
    now = plans.get(env, "pro")
    assert (now.name, now.version, now.terms.trial_days) == ("Pro 3", 2, 14)
    assert dict(now.terms.prices) == {"usd": USD("29.99"), "eur": EUR(18)}
    assert catalog_sync.drift(env) == []


def test_a_price_of_another_interval_is_not_taken(env, there, pro):
    made = product(env, there)
    price = there.prices.create({"product": made.id, "currency": "usd", "unit_amount": 500})
    there.products.update(made.id, {"default_price": price.id})
    with pytest.raises(InvalidRequest, match="interval"):
        catalog_sync.adopt(env, "pro")
    assert plans.get(env, "pro").version == 1
    assert catalog_sync.sync(env).failed == 0
    assert catalog_sync.drift(env) == []


def test_a_product_that_recurs_and_only_they_have_is_not_adopted(env, there):
    made = there.products.create({"name": "Box", "metadata": {"paydesk_key": "box",
                                                              "grants": "box"}})  # fmt: skip
    price = there.prices.create({"product": made.id, "currency": "usd", "unit_amount": 500,
                                 "recurring": {"interval": "month"}})  # fmt: skip
    there.products.update(made.id, {"default_price": price.id})
    assert "no single amount" in catalog_sync.drift(env)[0].reason
    with pytest.raises(InvalidRequest):
        catalog_sync.adopt(env, made.id)


def test_an_archived_plan_is_archived_there(env, there, pro):
    plans.archive(env, "pro")
    assert [one.actions for one in catalog_sync.sync(env).changes] == [("archive",)]
    assert product(env, there).active is False
