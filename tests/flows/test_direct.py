"""Payments without a page: a saved method is charged or held, once, whatever dies in between."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import stripe

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.errors import (
    AmountTooLarge,
    Conflict,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PaydeskError,
    PaymentInFlight,
    PaymentMethodNotUsable,
)
from paydesk.flows import credits, direct, methods, payments, promos
from paydesk.flows.direct import NewPayment
from paydesk.flows.methods import AddMethod
from paydesk.ids import request_key
from paydesk.rules.money import USD, Money

CALL_POINTS = ["checkout_before_intend_commit", "checkout_after_intend", "before_provider_call",
               "after_provider_call", "call_before_done_commit", "call_after_done",
               "fulfil_before_goods", "fulfil_after_goods"]  # fmt: skip


@pytest.fixture
def sdk(sim):
    return stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})


@pytest.fixture
def payer(desk, sdk):
    """Makes a customer with a saved card."""

    def make(card="tok_visa"):
        user = desk.make.user()
        made = sdk.v1.payment_methods.create({"type": "card", "card": {"token": card}})
        methods.add(desk.env, AddMethod(customer_id=user.uuid, token=made.id))
        return user

    return make


def process(desk, user, **more):
    told = more or {"wallet": USD("10.00")}
    if not {"amount", "pack", "credits", "wallet", "item"} & told.keys():
        told = {"wallet": USD("10.00"), **told}
    return direct.process(desk.env, NewPayment(customer_id=user.uuid, **told))


def wallet(desk, user, currency="usd"):
    rows = desk.all(
        "select balance from accounts where customer_id = %(c)s and code = 2 and asset = %(a)s",
        c=user.uuid, a=currency,
    )  # fmt: skip
    return sum(row["balance"] for row in rows)


def hear(desk, *types):
    for one in desk.sim.deliveries(*types):
        desk.receive(one)


def test_what_cannot_be_charged_exactly_leaves_nothing_behind(desk, payer):
    user = payer()
    for begin in (direct.process, direct.create):
        with pytest.raises(InvalidRequest):
            begin(desk.env, NewPayment(customer_id=user.uuid, wallet=Money("100.005", "kwd"),
                                       **({} if begin is direct.process else {"method": "card"})))
    assert desk.all("select id from payments where customer_id = %(c)s", c=user.uuid) == []
    found = process(desk, user, wallet=Money("100.01", "kwd"))
    assert (found.state, found.captured) == ("succeeded", Money("100.01", "kwd"))


def test_a_saved_card_fills_the_wallet_at_once(desk, payer):
    # S3.3 S3.8 S3.15 S0.23
    user = payer()
    found = process(desk, user, wallet=USD("10.00"), description="Wallet deposit")
    assert (found.state, found.captured, found.purpose) == ("succeeded", USD("10.00"), "wallet")
    assert wallet(desk, user) == 1000
    assert found.method == "card" and found.method_detail["last4"] == "4242"
    assert found.country == "US" and found.method_id
    assert found.provider_response["status"] == "succeeded"
    assert desk.sim.objects("payment_intent")[0]["customer"] is not None
    hear(desk)
    assert wallet(desk, user) == 1000


def test_a_pack_is_bought_with_a_saved_card(desk, payer):
    # S2.3 S3.8
    user = payer()
    found = process(desk, user, pack="creator")
    assert found.state == "succeeded" and found.credits_added
    with desk.env.db.read() as tx:
        assert credits.balance_total(tx, user.uuid, desk.env.now()) == found.credits


def test_a_token_of_the_browser_is_charged_without_saving_it(desk, sdk):
    # S3.3
    user = desk.make.user()
    made = sdk.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    found = process(desk, user, method=made.id)
    assert found.state == "succeeded" and found.method_id is None
    assert methods.list_(desk.env, user.uuid) == []


def test_apple_pay_is_recorded_as_such(desk, sdk):
    # S1.12 S4.49
    user = desk.make.user()
    found = process(desk, user, method="pm_card_visa_applePay")
    assert (found.state, found.wallet) == ("succeeded", "apple_pay")


def test_a_declined_card_fails_with_its_code_and_takes_nothing(desk, payer):
    # S3.8
    user = payer("tok_chargeCustomerFail")
    found = process(desk, user)
    assert (found.state, found.error_code) == ("failed", "generic_decline")
    assert found.failure_reason and wallet(desk, user) == 0
    # Nobody can pay the intent any more.
    assert desk.sim.objects("payment_intent")[0]["status"] == "canceled"
    hear(desk)
    heard = payments.get(desk.env, user.uuid, found.id)
    # S3.22: which card was declined, from where.
    assert (heard.state, heard.method, heard.country) == ("failed", "card", "US")
    assert heard.method_detail["brand"] == "visa"
    assert [row["state"] for row in desk.all("select state from attempts")] == ["failed"]


@pytest.mark.parametrize("way", ["webhook", "confirm"])
@pytest.mark.parametrize("passes", [True, False])
def test_3d_secure_is_opened_and_ends_the_payment(desk, payer, passes, way):
    # S3.8 S3.9 C7
    user = payer("tok_threeDSecureRequired")
    found = process(desk, user, return_url="https://app.example/back")
    assert found.state == "requires_action" and found.action_url
    assert wallet(desk, user) == 0
    desk.sim.authenticate(found.payment_ref, succeed=passes)
    if way == "webhook":
        hear(desk)
    else:
        direct.confirm(desk.env, user.uuid, found.id)
    after = payments.get(desk.env, user.uuid, found.id)
    assert after.state == ("succeeded" if passes else "failed")
    assert wallet(desk, user) == (1000 if passes else 0)
    assert after.action_url is None


def test_3d_secure_that_nobody_opens_ends_by_itself(desk, payer):
    # I18
    user = payer("tok_threeDSecureRequired")
    found = process(desk, user, return_url="https://app.example/back")
    desk.clock.advance(hours=2)
    desk.sweep("sessions")
    assert payments.get(desk.env, user.uuid, found.id).state in ("canceled", "expired")
    assert desk.sim.get(found.payment_ref)["status"] == "canceled"


def test_confirming_believes_the_provider_alone(desk, payer):
    # C7
    user = payer("tok_threeDSecureRequired")
    found = process(desk, user, return_url="https://app.example/back")
    assert direct.confirm(desk.env, user.uuid, found.id).state == "requires_action"
    assert wallet(desk, user) == 0


def test_one_key_pays_once_and_another_request_with_it_is_refused(desk, payer):
    # I40
    user, key = payer(), request_key("pay", "1")
    first = process(desk, user, request_key=key)
    assert process(desk, user, request_key=key).id == first.id
    with pytest.raises(IdempotencyKeyReused):
        process(desk, user, wallet=USD("11.00"), request_key=key)
    assert len(desk.sim.objects("payment_intent")) == 1


def test_sixty_four_callers_with_one_key_pay_once(desk, payer):
    # I40 I5
    user, key = payer(), request_key("pay", "64")

    def one(_):
        with contextlib.suppress(PaydeskError):
            return process(desk, user, request_key=key)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(one, range(64)))
    assert len({view.id for view in found if view}) == 1
    desk.recover(rounds=1)
    assert wallet(desk, user) == 1000
    assert len(desk.sim.objects("payment_intent")) == 1


def test_one_thing_is_paid_by_one_payment_at_a_time(desk, payer):
    # I21
    user = payer("tok_threeDSecureRequired")
    process(desk, user, payable="invoice 7", return_url="https://app.example/back")
    with pytest.raises(PaymentInFlight):
        process(desk, user, payable="invoice 7")


@pytest.mark.parametrize("kind", ["500_after", "drop_after", "drop_before", "500"])
def test_an_unclear_answer_charges_once(desk, payer, kind):
    # I27: a time-out after success.
    user, key = payer(), request_key("pay", kind)
    desk.sim.fault(kind, "/v1/payment_intents")
    with pytest.raises(OutcomeUnknown):
        process(desk, user, request_key=key)
    desk.recover(rounds=3)
    assert process(desk, user, request_key=key).state == "succeeded"
    assert wallet(desk, user) == 1000
    assert len(desk.sim.objects("charge")) == 1


@pytest.mark.parametrize("comes_back", [True, False])
@pytest.mark.parametrize("point", CALL_POINTS)
def test_a_charge_that_dies_is_made_once(desk, payer, point, comes_back):
    # I6 I27 I40
    user, key = payer(), request_key("pay", point)
    crash.arm(point)
    with pytest.raises(CrashNow):
        process(desk, user, request_key=key)
    desk.recover(rounds=3)
    if comes_back:
        assert process(desk, user, request_key=key).state == "succeeded"
    made = 0 if point == "checkout_before_intend_commit" and not comes_back else 1
    assert wallet(desk, user) == 1000 * made
    assert len(desk.sim.objects("charge")) == made
    assert {row["state"] for row in desk.all("select state from provider_calls")} == {"done"}


@pytest.mark.parametrize("point", [None, "call_before_done_commit", "call_after_done"])
def test_the_code_of_a_declined_charge_is_free_again_whoever_dies(desk, payer, point):
    # I27 S4.40
    desk.make.promo(percent_off=10, cap=1)
    user = payer("tok_chargeCustomerFail")
    if point is None:
        process(desk, user, pack="creator", promo="WELCOME10")
    else:
        crash.arm(point)
        with pytest.raises(CrashNow):
            process(desk, user, pack="creator", promo="WELCOME10")
        desk.recover(rounds=3)
        desk.sweep("promo_uses")
    assert {row["state"] for row in desk.all("select state from payments")} == {"failed"}
    assert promos.get_promo(desk.env, "WELCOME10").used == 0


def test_a_charge_of_yesterday_is_looked_for_and_not_repeated(desk, payer):
    # I27: past the life of the provider's keys.
    user = payer()
    crash.arm("after_provider_call")
    with pytest.raises(CrashNow):
        process(desk, user)
    desk.clock.advance(hours=30)
    desk.sweep("provider_calls")
    assert wallet(desk, user) == 1000 and len(desk.sim.objects("charge")) == 1


def test_a_charge_of_yesterday_that_was_never_sent_ends(desk, payer):
    user = payer()
    crash.arm("before_provider_call")
    with pytest.raises(CrashNow):
        process(desk, user)
    desk.clock.advance(hours=30)
    desk.sweep("provider_calls")
    assert {row["state"] for row in desk.all("select state from payments")} == {"failed"}
    assert desk.sim.objects("charge") == []


def test_events_may_come_before_the_answer(desk, payer):
    # I6
    user = payer()
    crash.arm("after_provider_call")
    with pytest.raises(CrashNow):
        process(desk, user)
    hear(desk)
    assert wallet(desk, user) == 1000
    desk.recover(rounds=1)
    assert wallet(desk, user) == 1000


# Held money --------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [None, USD("4.00")])
def test_held_money_is_taken_in_whole_or_in_part(desk, payer, amount):
    # I8
    user = payer()
    found = process(desk, user, capture=False)
    assert found.state == "authorized" and wallet(desk, user) == 0
    with pytest.raises(AmountTooLarge):
        direct.capture(desk.env, user.uuid, found.id, USD("10.01"))
    after = direct.capture(desk.env, user.uuid, found.id, amount)
    taken = amount or USD("10.00")
    assert (after.state, after.captured) == ("succeeded", taken)
    assert wallet(desk, user) == taken.minor
    assert direct.capture(desk.env, user.uuid, found.id, amount).captured == taken
    with pytest.raises(Conflict):
        direct.void(desk.env, user.uuid, found.id)
    hear(desk)
    assert wallet(desk, user) == taken.minor


def test_held_money_that_is_let_go_is_never_taken(desk, payer):
    # I8
    user = payer()
    found = process(desk, user, capture=False)
    assert direct.void(desk.env, user.uuid, found.id).state == "canceled"
    assert direct.void(desk.env, user.uuid, found.id).state == "canceled"
    with pytest.raises(Conflict):
        direct.capture(desk.env, user.uuid, found.id)
    hear(desk)
    assert wallet(desk, user) == 0


@pytest.mark.parametrize("point", CALL_POINTS[1:6])
def test_taking_held_money_that_dies_takes_it_once(desk, payer, point):
    # I6 I8
    user = payer()
    found = process(desk, user, capture=False)
    crash.arm(point)
    with pytest.raises(CrashNow):
        direct.capture(desk.env, user.uuid, found.id, USD("4.00"))
    desk.recover(rounds=3)
    assert direct.capture(desk.env, user.uuid, found.id, USD("4.00")).captured == USD("4.00")
    assert wallet(desk, user) == 400


def test_a_pack_cannot_be_bought_in_part(desk, payer):
    user = payer()
    found = process(desk, user, pack="creator", capture=False)
    with pytest.raises(InvalidRequest):
        direct.capture(desk.env, user.uuid, found.id, USD("1.00"))
    assert direct.capture(desk.env, user.uuid, found.id).credits_added


# Refused before anything happened ----------------------------------------------------------------


def test_a_method_that_is_not_there_charges_nothing(desk, payer):
    user, other = payer(), payer()
    theirs = methods.list_(desk.env, other.uuid)[0]
    with pytest.raises(NotFound):
        process(desk, user, method=theirs.id)
    with pytest.raises(PaymentMethodNotUsable):
        process(desk, desk.make.user("nobody_s_card"))
    with pytest.raises(InvalidRequest):
        process(desk, user, method="4242424242424242")
    assert desk.sim.objects("payment_intent") == []
    # The provider itself refuses another customer's token.
    found = process(desk, user, method=theirs.ref)
    assert found.state == "failed" and desk.sim.objects("charge") == []


# Pending records ---------------------------------------------------------------------------------


def test_a_card_payment_is_created_with_its_page(desk):
    # S3.1 S0.13 S0.14
    user = desk.make.user()
    found = direct.create(
        desk.env, NewPayment(customer_id=user.uuid, wallet=USD("10.00"), method="STRIPE")
    )
    assert (found.state, found.purpose) == ("pending", "wallet")
    assert found.payment_url and found.payment_url_expires_at
    desk.sim.pay(found.session_ref)
    assert direct.confirm(desk.env, user.uuid, found.id).state == "succeeded"
    assert wallet(desk, user) == 1000


def test_a_method_that_nobody_collects_is_refused(desk):
    # C16
    user = desk.make.user()
    for word in ("shells", "crypto"):
        with pytest.raises(InvalidRequest):
            direct.create(desk.env, NewPayment(customer_id=user.uuid, wallet=USD(1), method=word))
