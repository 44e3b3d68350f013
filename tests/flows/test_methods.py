"""Saved methods and setups: tokens only, one default, the provider's word, crashes in between."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import stripe

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.errors import (
    CardNumberRefused,
    IdempotencyKeyReused,
    NotFound,
    OutcomeUnknown,
    PaydeskError,
    PaymentFailed,
    PaymentMethodNotUsable,
)
from paydesk.flows import direct, methods, setups
from paydesk.flows.direct import NewPayment
from paydesk.flows.methods import AddMethod
from paydesk.flows.setups import StartSetup
from paydesk.ids import request_key, show
from paydesk.rules.money import USD

CALL_POINTS = ["checkout_after_intend", "before_provider_call", "after_provider_call",
               "call_before_done_commit", "call_after_done"]  # fmt: skip


@pytest.fixture
def sdk(sim):
    return stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})


def token(sdk, card="tok_visa"):
    return sdk.v1.payment_methods.create({"type": "card", "card": {"token": card}}).id


def add(desk, user, given, **more):
    return methods.add(desk.env, AddMethod(customer_id=user.uuid, token=given, **more))


def hear(desk, *types):
    """Stripe's events since the last time, in order."""
    for one in desk.sim.deliveries(*types):
        desk.receive(one)


def test_a_token_is_saved_with_what_people_know_it_by_and_nothing_else(desk, sdk):
    # S1.13 S1.31 S1.45
    user = desk.make.user()
    found = add(desk, user, token(sdk), metadata={"label": "Studio"})
    assert (found.kind, found.brand, found.last4) == ("card", "visa", "4242")
    assert found.is_default
    assert found.metadata == {"label": "Studio"} and not found.expired
    row = desk.all("select * from payment_methods")[0]
    assert "4242424242424242" not in str(row)
    customer = desk.sim.objects("customer")[0]
    assert customer["metadata"]["customer_id"] == show("customer", user.uuid)


def test_a_card_number_is_refused_unread(desk):
    # I37
    for given in ("4242424242424242", "4242 4242 4242 4242"):
        with pytest.raises(CardNumberRefused):
            add(desk, desk.make.user(), given)
    assert desk.all("select id from setups") == []


def test_exactly_one_method_is_the_default(desk, sdk):
    # S1.33
    user = desk.make.user()
    first, second = add(desk, user, token(sdk)), add(desk, user, token(sdk, "tok_mastercard"))
    assert [one.is_default for one in (first, second)] == [True, False]
    methods.set_default(desk.env, user.uuid, second.ref)
    listed = methods.list_(desk.env, user.uuid)
    assert [(one.id, one.is_default) for one in listed] == [(second.id, True), (first.id, False)]
    customer = desk.sim.objects("customer")[0]
    assert customer["invoice_settings"]["default_payment_method"] == second.ref
    third = add(desk, user, token(sdk, "tok_amex"), make_default=True)
    assert [one.is_default for one in methods.list_(desk.env, user.uuid)] == [True, False, False]
    assert methods.list_(desk.env, user.uuid, refresh=True)[0].id == third.id


def test_a_removed_method_is_gone_at_the_provider_too(desk, sdk):
    # S1.32
    user = desk.make.user()
    first, second = add(desk, user, token(sdk)), add(desk, user, token(sdk, "tok_mastercard"))
    gone = methods.remove(desk.env, user.uuid, show("method", first.id))
    assert gone.detached_at and not gone.is_default
    assert desk.sim.get(first.ref)["customer"] is None
    assert [one.id for one in methods.list_(desk.env, user.uuid, refresh=True)] == [second.id]
    assert methods.list_(desk.env, user.uuid)[0].is_default
    assert methods.remove(desk.env, user.uuid, first.id).detached_at == gone.detached_at
    with pytest.raises(PaymentMethodNotUsable):
        methods.set_default(desk.env, user.uuid, first.id)


def test_a_method_removed_while_it_is_charged_is_charged_once_and_gone(desk, sdk):
    # S1.32 I6: the charge was begun with it, and ends in exactly one way
    user = desk.make.user()
    saved = add(desk, user, token(sdk))
    order = NewPayment(customer_id=user.uuid, amount=USD("5.00"), request_key=request_key("x"))
    crash.arm("checkout_after_intend")
    with pytest.raises(CrashNow):
        direct.process(desk.env, order)
    methods.remove(desk.env, user.uuid, saved.id)
    crash.disarm()
    desk.clock.advance(minutes=5)
    paid = direct.process(desk.env, order)
    assert paid.state == "failed" and paid.captured == USD(0)
    assert all(one["status"] != "succeeded" for one in desk.sim.objects("payment_intent"))
    with pytest.raises(PaydeskError):
        direct.process(desk.env, replace(order, request_key=request_key("y")))


def test_a_stranger_s_method_is_not_found(desk, sdk):
    # I33
    kept, other = add(desk, desk.make.user(), token(sdk)), desk.make.user("other_one")
    for call in (methods.get, methods.remove, methods.set_default):
        with pytest.raises(NotFound):
            call(desk.env, other.uuid, kept.id)


def test_the_same_key_saves_once_and_another_request_with_it_is_refused(desk, sdk):
    # I40
    user, given, key = desk.make.user(), token(sdk), request_key("add", "1")
    first = add(desk, user, given, request_key=key)
    assert add(desk, user, given, request_key=key).id == first.id
    with pytest.raises(IdempotencyKeyReused):
        add(desk, user, token(sdk), request_key=key)


def test_a_bank_that_refuses_to_save_a_card_is_told(desk, sdk):
    # S1.31
    user = desk.make.user()
    with pytest.raises(PaymentFailed):
        add(desk, user, token(sdk, "tok_chargeDeclined"))
    assert methods.list_(desk.env, user.uuid) == []


def test_changes_made_at_the_provider_come_by_webhook(desk, sdk):
    # S1.13: a bank's new card, a method removed in the dashboard.
    user = desk.make.user()
    kept = add(desk, user, token(sdk))
    whose = desk.sim.objects("customer")[0]["id"]
    other = sdk.v1.payment_methods.attach(token(sdk, "tok_mastercard"), {"customer": whose}).id
    sdk.v1.payment_methods.update(kept.ref, {"card": {"exp_month": 1, "exp_year": 2040}})
    hear(desk)
    listed = {one.ref: one for one in methods.list_(desk.env, user.uuid)}
    assert listed.keys() == {kept.ref, other} and listed[kept.ref].exp_year == 2040
    sdk.v1.payment_methods.detach(kept.ref)
    hear(desk)
    assert [one.ref for one in methods.list_(desk.env, user.uuid)] == [other]


def test_an_expired_card_says_so(desk, sdk):
    # S1.30
    user = desk.make.user()
    one = add(desk, user, token(sdk))
    end = methods.ends_at(one.exp_month, one.exp_year)
    desk.clock.set(end - methods.SOON)
    assert methods.get(desk.env, user.uuid, one.id).expires_soon
    desk.clock.set(end)
    assert methods.get(desk.env, user.uuid, one.id).expired
    with pytest.raises(PaymentMethodNotUsable):
        methods.set_default(desk.env, user.uuid, one.id)


@pytest.mark.parametrize("point", CALL_POINTS)
def test_saving_that_dies_goes_on_by_itself(desk, sdk, point):
    # I6 I27
    user, given = desk.make.user(), token(sdk)
    crash.arm(point)
    with pytest.raises(CrashNow):
        add(desk, user, given)
    desk.recover(rounds=3)
    assert [one.ref for one in methods.list_(desk.env, user.uuid)] == [given]
    assert {row["state"] for row in desk.all("select state from provider_calls")} == {"done"}
    assert len(desk.sim.objects("customer")) == 1


@pytest.mark.parametrize("kind", ["500_after", "drop_after"])
def test_an_unclear_answer_attaches_once(desk, sdk, kind):
    # I27
    user, given = desk.make.user(), token(sdk)
    add(desk, user, token(sdk))
    desk.sim.fault(kind, f"/v1/payment_methods/{given}/attach")
    with pytest.raises(OutcomeUnknown):
        add(desk, user, given)
    desk.recover(rounds=3)
    assert given in [one.ref for one in methods.list_(desk.env, user.uuid)]


def test_a_removal_that_dies_is_finished_by_the_sweep(desk, sdk):
    user = desk.make.user()
    one = add(desk, user, token(sdk))
    crash.arm("before_provider_call")
    with pytest.raises(CrashNow):
        methods.remove(desk.env, user.uuid, one.id)
    assert methods.list_(desk.env, user.uuid) == []
    desk.recover(rounds=2)
    assert desk.sim.get(one.ref)["customer"] is None


def start(desk, user, **more):
    return setups.start(desk.env, StartSetup(customer_id=user.uuid, **more))


# S1.14!
def test_a_setup_is_finished_in_the_browser(desk, sdk):
    # S1.14 S1.34
    user = desk.make.user()
    found = start(desk, user, make_default=True)
    assert found.state == "pending" and found.client_secret.startswith(found.ref)
    assert found.client_secret not in str(desk.all("select * from setups"))
    assert found.client_secret not in str(desk.all("select * from provider_calls"))
    sdk.v1.setup_intents.confirm(found.ref, {"payment_method": "pm_card_visa"})
    hear(desk)
    after = setups.get(desk.env, user.uuid, found.id)
    assert after.state == "succeeded" and after.client_secret is None
    kept = methods.list_(desk.env, user.uuid)
    assert [(one.id, one.is_default) for one in kept] == [(after.method_id, True)]
    who = desk.sim.objects("customer")[0]
    assert who["invoice_settings"]["default_payment_method"] == kept[0].ref


def test_a_setup_page_of_the_provider_is_answered_and_verified(desk):
    # S1.34
    user = desk.make.user()
    found = start(desk, user, hosted=True, success_url="https://app.example/done")
    assert found.url and found.ref.startswith("cs_") and found.client_secret is None
    desk.sim.pay(found.ref)
    after = setups.verify(desk.env, user.uuid, show("setup", found.id))
    assert after.state == "succeeded"
    assert methods.get(desk.env, user.uuid, after.method_id).last4 == "4242"


@pytest.mark.parametrize("passes", [True, False])
def test_a_setup_that_asks_for_its_owner_has_a_page_to_open(desk, passes):
    # S1.34 S3.8
    user = desk.make.user()
    found = start(desk, user, token="pm_card_authenticationRequired",
                  success_url="https://app.example/done")  # fmt: skip
    assert found.state == "requires_action" and found.url
    desk.sim.authenticate(found.ref, succeed=passes)
    after = setups.verify(desk.env, user.uuid, found.id)
    assert (after.method_id is not None) is passes
    assert after.state == "succeeded" if passes else after.state in ("failed", "pending")


def test_a_setup_that_nobody_finishes_is_given_up(desk):
    user = desk.make.user()
    found = start(desk, user)
    desk.clock.advance(hours=25)
    desk.sweep("setups")
    assert setups.get(desk.env, user.uuid, found.id).state == "canceled"


@pytest.mark.parametrize("point", CALL_POINTS)
def test_a_setup_that_dies_goes_on_with_the_same_key(desk, point):
    # I6 I40
    user, key = desk.make.user(), request_key("setup", "1")
    crash.arm(point)
    with pytest.raises(CrashNow):
        start(desk, user, request_key=key)
    found = None
    for _ in range(4):
        desk.clock.advance(minutes=2)
        with contextlib.suppress(PaydeskError):
            found = start(desk, user, request_key=key)
    assert found is not None and found.client_secret
    assert len(desk.sim.objects("setup_intent")) == len(desk.all("select id from setups")) == 1
