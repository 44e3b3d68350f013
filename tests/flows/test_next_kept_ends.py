"""Schedules that somebody made at Stripe: what is done here takes no more of them than it means."""

from __future__ import annotations

import pytest
from provider_run import There

from paydesk.errors import PaymentFailed
from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscription_pending
from paydesk.rules.money import USD


@pytest.fixture
def there(billing) -> There:
    return There(billing)


@pytest.fixture
def plain(there):
    there.plan("pro", most_quantity=50)
    there.plan("max", price=USD("50.00"), most_quantity=50)
    return there.begin(there.user(), "max")


def plan_ahead(there, sub, price, **more):
    """As somebody does it at Stripe: another price for a month."""
    made = there.sim.request("POST", "/v1/subscription_schedules", {
        "from_subscription": there.remote(sub)["id"]})  # fmt: skip
    (now,) = made["phases"]
    there.sim.request("POST", f"/v1/subscription_schedules/{made['id']}", {
        **more, "phases": [
            {"items": [{"price": now["items"][0]["price"], "quantity": 1}],
             "start_date": now["start_date"], "end_date": now["end_date"]},
            {"items": [{"price": price, "quantity": 1}],
             "duration": {"interval": "month"}}]})  # fmt: skip
    there.deliver()
    return there.look(sub)


@pytest.fixture
def sub(there, plain):
    """One that changes to another plan for a month, and ends then."""
    price = there.price_there(2000, lookup_key="pro")
    return plan_ahead(there, plain, price, end_behavior="cancel")


def card_of(there, sub):
    there.card(sub.customer_id)
    there.deliver()
    return there.billing.all("select id, ref from payment_methods where is_default")[0]


@pytest.mark.parametrize("what", ["change", "drop", "method"])
def test_its_end_stays(there, sub, what):
    # S1.28
    end = sub.cancel_at
    assert sub.next["plan"] == "pro" and end > sub.period_end
    saved = card_of(there, sub)
    whose = (there.env, sub.customer_id, sub.id)
    after = {"change": lambda: changes.change(*whose, quantity=2, at="now"),
             "method": lambda: changes.set_method(*whose, saved["id"]),
             "drop": lambda: subscription_pending.drop(*whose)}[what]()
    assert after.cancel_at == end
    there.deliver()
    assert there.look(sub).cancel_at == end
    if what == "method":
        assert after.next == sub.next
        there.months()
        assert there.look(sub).plan_key == "pro"
        assert there.remote(sub)["default_payment_method"] == saved["ref"]
    there.months(3)
    assert there.look(sub).state == "canceled"


def test_a_method_holds_where_what_comes_is_no_plan_of_ours(there, plain):
    # S1.45
    saved = card_of(there, plain)
    after = plan_ahead(there, plain, there.price_there(700))
    assert after.next is None
    changes.set_method(there.env, plain.customer_id, plain.id, saved["id"])
    there.months()
    remote = there.remote(plain)
    assert remote["items"]["data"][0]["price"]["unit_amount"] == 700
    assert remote["default_payment_method"] == saved["ref"]


def test_a_version_that_cannot_plan_ahead_plans_nothing_and_still_ends(there, sub):
    # S1.28 S4.21
    stripe = there.env.providers["stripe"]
    stripe.settings._options["stripe_api_version"] = "2019-12-03"
    before = len(there.sim.objects("subscription_schedule"))
    other = there.begin(there.user(), "max")
    with pytest.raises(PaymentFailed):
        changes.change(there.env, other.customer_id, other.id, plan="pro", at="period_end")
    assert len(there.sim.objects("subscription_schedule")) == before
    after = changes.cancel(there.env, sub.customer_id, sub.id)
    assert after.cancel_at == sub.period_end
    there.months()
    assert there.look(sub).state == "canceled"
