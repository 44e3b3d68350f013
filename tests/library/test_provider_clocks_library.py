"""Clocks moved by hand lead what Stripe runs too: as an application's tests have it."""

from __future__ import annotations

import pytest

from paydesk import USD
from paydesk.errors import Conflict
from paydesk.testing.plugin import clock, pay, paydesk_simulator

__all__ = ["clock", "pay", "paydesk_simulator"]

DECLINES = "4000000000000341"


@pytest.fixture
def begin(pay):
    pay.plans.upsert("pro", name="Pro", price=USD("20.00"), credits=100, grants=["exports"])

    def made(user, *, card="4242", **more):
        return pay.subscribe(
            user, plan="pro", runner="provider", success_url="https://app.example.com/ok", **more
        ).complete(card=card)

    return made


def clocks_there(simulator):
    return simulator.objects("test_helpers.test_clock")


def states(pay, user):
    return [one.status for one in pay.payments.list(customer=user)]


# S1.12 S1.56
def test_two_renewals_follow_when_the_clock_is_moved_two_months(
    pay, clock, begin, paydesk_simulator
):
    start = clock.now()
    begin("u")
    assert len(clocks_there(paydesk_simulator)) == 1
    clock.advance(days=63)
    sub = pay.subscriptions.current("u")
    assert states(pay, "u") == ["succeeded"] * 3
    assert sub.status == "active" and sub.period_start <= clock.now() < sub.period_end
    assert pay.can("u", "exports")
    given = [line.amount for line in pay.credits.history("u") if line.amount > 0]
    assert given == [100] * 3
    assert [one.status for one in pay.invoices.list(customer="u")] == ["paid"] * 3
    (there,) = clocks_there(paydesk_simulator)
    assert there["frozen_time"] == int(clock.now().timestamp())
    told = [(one.type, one.created_at) for one in pay.events.list(customer="u")
            if one.type == "subscription.renewed"]  # fmt: skip
    assert len(told) == 2
    assert all(start < at < clock.now() for _, at in told), (start, told, clock.now())


# S1.17
def test_a_trial_becomes_a_paid_period_and_its_end_is_told_of_before(pay, clock, begin):
    begin("u", trial_days=14)
    assert pay.subscriptions.current("u").status == "trialing"
    assert states(pay, "u") == [] and pay.can("u", "exports")
    clock.advance(days=15)
    assert pay.subscriptions.current("u").status == "active"
    assert states(pay, "u") == ["succeeded"] and pay.credits.balance("u") == 100
    told = [one.type for one in pay.events.list(customer="u")]
    assert told.count("subscription.trial_will_end") == 1


# S1.56
def test_a_card_that_fails_months_later_leads_to_past_due_by_stripes_retries(
    pay, clock, begin, paydesk_simulator
):
    sub = begin("u")
    clock.advance(days=32)
    raw = paydesk_simulator.objects("subscription")[0]
    method = paydesk_simulator.request(
        "POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach",
        {"customer": raw["customer"]},
    )  # fmt: skip
    paydesk_simulator.request(
        "POST", f"/v1/subscriptions/{raw['id']}", {"default_payment_method": method["id"]}
    )
    clock.advance(days=32)
    assert pay.subscriptions.get(sub).status == "past_due"
    assert pay.invoices.list(customer="u").first().status == "open"
    clock.advance(days=60)
    after = pay.subscriptions.get(sub)
    assert after.status == paydesk_simulator.get(raw["id"])["status"] == "canceled"
    assert not pay.can("u", "exports")
    ended = next(one for one in pay.events.list(customer="u")
                 if one.type == "subscription.canceled")  # fmt: skip
    assert ended.created_at < clock.now()


# S1.12 S1.56
def test_four_customers_of_one_clock_stand_on_two_there(pay, clock, begin, paydesk_simulator):
    for number in range(4):
        begin(f"u{number}")
    there = clocks_there(paydesk_simulator)
    assert len(there) == 2
    used = [one["test_clock"] for one in paydesk_simulator.objects("customer")]
    assert sorted(used.count(one["id"]) for one in there) == [1, 3]
    clock.advance(days=32)
    for number in range(4):
        assert states(pay, f"u{number}") == ["succeeded"] * 2
        assert pay.can(f"u{number}", "exports")


# S1.56
def test_a_customer_without_a_clock_stays_as_he_is(pay, clock, begin, paydesk_simulator):
    begin("u")
    pay.clocks.use(None)
    other = begin("other")
    (real,) = (one for one in paydesk_simulator.objects("customer") if not one["test_clock"])
    clock.advance(days=63)
    assert states(pay, "u") == ["succeeded"] * 3 and states(pay, "other") == ["succeeded"]
    assert pay.subscriptions.get(other).period_end == other.period_end
    kept = [one for one in paydesk_simulator.objects("subscription")
            if one["customer"] == real["id"]]  # fmt: skip
    assert [one["test_clock"] for one in kept] == [None]


# S1.56
def test_who_subscribes_later_begins_at_the_clocks_instant(pay, clock, begin):
    begin("u")
    pay.subscriptions.cancel(pay.subscriptions.current("u"), at="now")
    clock.advance(days=40)  # Nothing runs there: the provider's clock is left where it is.
    again, other = begin("u"), begin("other")
    for one in (again, other):
        assert one.status == "active" and one.period_start == clock.now()
    clock.advance(days=32)
    assert states(pay, "other") == ["succeeded"] * 2


# S1.56
def test_a_customer_there_without_a_clock_is_replaced_unless_he_has_saved_methods(
    pay, clock, begin, paydesk_simulator
):
    pay.packs.upsert("s", name="Small", credits=20, price=USD("2.00"))
    session = pay.checkout("u", pack="s", success_url="https://app.example.com/ok")
    paydesk_simulator.pay(session.payment.provider_session)
    pay.verify(session)
    begin("u")
    clock.advance(days=32)
    assert states(pay, "u") == ["succeeded"] * 3
    pay.plans.upsert("own", name="Own", price=USD("5.00"), family="own")
    pay.subscribe("saved", plan="own").complete(card="4242")
    with pytest.raises(Conflict, match="saved methods"):
        begin("saved")


# S1.56
def test_a_clock_that_stripe_threw_away_keeps_no_other_standing(
    pay, clock, begin, paydesk_simulator
):
    begin("u")
    (there,) = clocks_there(paydesk_simulator)
    paydesk_simulator.request("DELETE", f"/v1/test_helpers/test_clocks/{there['id']}")
    pay.credits.grant("u", 5, expires_days=3)
    clock.advance(days=4)
    assert pay.credits.balance("u") == 100
    assert begin("other").status == "active"
