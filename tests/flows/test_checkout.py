"""Checkouts: price, limits, idempotency, completion by each path, expiry and late money."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from purchase import Desk, signed

from paydesk import ids
from paydesk.errors import (
    AmountTooLarge,
    AmountTooSmall,
    Conflict,
    CreditLimitExceeded,
    IdempotencyKeyReused,
    InvalidPromoCode,
    InvalidRequest,
    NotFound,
    PaymentInFlight,
    TransactionLimit,
)
from paydesk.flows import checkout, inbox, promos
from paydesk.flows.checkout import StartCheckout
from paydesk.ids import request_key
from paydesk.rules.money import EUR, JPY, USD


def changed(desk, **settings):
    env = replace(desk.env, settings=replace(desk.env.settings, **settings))
    return Desk(env, desk.sim, desk.make, desk.clock)


def sessions(desk):
    return desk.sim.objects("checkout.session")


# Completion ------------------------------------------------------------------------------------


def test_a_pack_paid_on_the_hosted_page_becomes_credits_by_webhook(desk):
    """S2.9 S2.10 S4.24 I1: the pending row, the payment, the webhook, the credits."""
    view = desk.open()
    assert view.url.startswith(desk.sim.url)
    assert (view.status, view.payment.status, view.payment.credits) == ("open", "pending", 150)
    assert desk.pay(view).status == "complete"
    desk.deliver(view)
    after = desk.payment(view)
    assert (after.state, after.status, after.credits_added) == ("succeeded", "completed", True)
    assert (after.captured, after.method) == (USD("9.99"), "card")
    assert after.credits_added_at == desk.clock.now()
    assert (after.fulfillment.path, after.fulfillment.state) == ("webhook", "done")
    assert desk.balance(view) == 150
    assert desk.events_of(view) == [
        "customer.created", "checkout.created", "payment.created", "checkout.completed",
        "payment.succeeded", "credits.granted", "fulfillment.done",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["verify", "success_page", "admin"])
def test_where_no_webhook_comes_asking_the_provider_completes_it(desk, path):
    """S2.10 S2.12 I1: and the row says who did it."""
    view = desk.open()
    assert checkout.verify(desk.env, view.id, path=path).status == "open"
    desk.pay(view)
    done = checkout.verify(desk.env, view.payment.session_ref, view.customer_id, path)
    assert (done.status, done.path, desk.balance(view)) == ("complete", path, 150)
    again = checkout.verify(desk.env, view.payment.id, path="verify")
    assert (again.path, desk.balance(view)) == (path, 150)
    desk.deliver(view)
    assert (desk.payment(view).fulfillment.path, desk.balance(view)) == (path, 150)


def test_another_customers_checkout_is_a_missing_one(desk):
    """I33: by every reference."""
    view, other = desk.open(), desk.make.user()
    for ref in (view.id, ids.show("checkout", view.id), view.payment.session_ref,
                ids.show("payment", view.payment.id), view.payment.handle):  # fmt: skip
        with pytest.raises(NotFound):
            checkout.verify(desk.env, ref, other.uuid)
        with pytest.raises(NotFound):
            checkout.get(desk.env, other.uuid, ref)
        assert checkout.get(desk.env, view.customer_id, ref).id == view.id


def test_the_hosted_page_opens_only_with_its_secret(desk):
    view = desk.open()
    assert len(view.secret) >= 22
    assert view.page_url.endswith(f"?s={view.secret}")
    assert checkout.by_secret(desk.env, ids.show("checkout", view.id), view.secret).id == view.id
    for secret in ("", "x", view.secret[:-1], "é\ud800"):
        with pytest.raises(NotFound):
            checkout.by_secret(desk.env, ids.show("checkout", view.id), secret)


def test_the_success_page_asks_only_so_often(desk):
    """S2.19."""
    view = desk.open()
    asked = [checkout.count_verification(desk.env, view.customer_id, view.id, 3) for _ in range(5)]
    assert asked == [True, True, True, False, False]


# S4.32!
def test_what_the_provider_is_told(desk):
    """S1.12 S4.32 I35: our ids and the document's on session and intent, the catalogue's price."""
    user = desk.make.user("user_123")
    view = desk.open(user, email="maya@example.com", success_url="https://app.example.com/thanks",
                     cancel_url="https://app.example.com/pricing",
                     metadata={"userId": "somebody else", "credits": "9999"})  # fmt: skip
    desk.pay(view)
    session = desk.sim.get(view.payment.session_ref)
    intent = desk.sim.get(session["payment_intent"])
    for thing in (session, intent):
        assert thing["metadata"] == {
            "customer_id": user.id,
            "payment_id": ids.show("payment", view.payment.id),
            "userId": "user_123",
            "packId": "creator",
            "credits": "150",
        }
    assert (session["amount_total"], session["currency"]) == (999, "usd")
    assert session["customer_email"] == "maya@example.com"
    assert f"/checkout/{ids.show('checkout', view.id)}/success?s=" in session["success_url"]
    assert session["cancel_url"] == "https://app.example.com/pricing"
    left = session["expires_at"] - session["created"]
    assert left >= 30 * 60 + 120
    assert view.payment.metadata == {"userId": "somebody else", "credits": "9999"}


# Price and limits ------------------------------------------------------------------------------


def test_credits_by_number_are_priced_by_the_setting(desk):
    """S4.22: DEFAULT_CREDIT_PRICE and MIN_CREDIT_PURCHASE."""
    view = desk.open(credits=25)
    assert (view.total, view.payment.credits) == (USD("25.00"), 25)
    cheap = changed(desk, default_credit_price=Decimal("0.125"))
    assert cheap.open(credits=11).total == USD("1.38")
    with pytest.raises(AmountTooSmall):
        desk.open(credits=9)
    for wrong in (True, 10.0, "10", 0, -5):
        with pytest.raises((InvalidRequest, AmountTooSmall)):
            desk.open(credits=wrong)


def test_a_plain_amount_buys_no_credits(desk):  # S1.12
    view = desk.open(amount=EUR("12.50"), description="Lesson", reference="booking-7")
    assert (view.payment.purpose, view.payment.credits) == ("payment", 0)
    desk.pay(view)
    desk.deliver(view)
    assert desk.payment(view).fulfillment.state == "done"
    assert desk.balance(view) == 0
    with pytest.raises(Conflict):
        checkout.start(desk.env, StartCheckout(
            customer_id=view.customer_id, amount=EUR("1.00"), reference="booking-7"
        ))  # fmt: skip


def test_a_currency_without_decimals_goes_through_exactly(desk):
    """I12."""
    view = desk.open(amount=JPY(1200))
    desk.pay(view)
    desk.deliver(view)
    assert desk.payment(view).captured == JPY(1200)


def test_exactly_one_thing_is_bought(desk):
    user = desk.make.user()
    for told in ({}, {"pack": "creator", "credits": 10}, {"credits": 10, "amount": USD("1")}):
        with pytest.raises(InvalidRequest):
            checkout.start(desk.env, StartCheckout(customer_id=user.uuid, **told))
    with pytest.raises(NotFound):
        desk.open(pack="never-made")
    desk.make.pack("old", active=False)
    with pytest.raises(NotFound):
        desk.open(pack="old")


def test_limits_are_kept_before_any_money_moves(desk):
    """S4.22 S4.23 S4.34 C19 PAY006."""
    user = desk.make.user()
    with pytest.raises(AmountTooLarge):
        desk.open(user, amount=USD("5000.01"))
    with pytest.raises(AmountTooLarge):
        desk.open(user, credits=5001)
    tight = changed(desk, max_credit_balance=299, max_daily_transactions=3)
    first = tight.open(user)
    desk.pay(first)
    desk.deliver(first)
    with pytest.raises(CreditLimitExceeded) as refused:
        tight.open(user)
    assert (refused.value.limit, refused.value.balance) == (299, 150)
    tight.open(user, amount=USD("1"))
    tight.open(user, amount=USD("1"))
    with pytest.raises(TransactionLimit):
        tight.open(user, amount=USD("1"))
    desk.clock.advance(days=1)
    assert tight.open(user, amount=USD("1")).url
    assert len(sessions(desk)) == 4


def test_a_grant_for_money_taken_is_never_refused_but_flagged(desk):
    """C19: two checkouts were open when the limit was still kept."""
    user = desk.make.user()
    tight = changed(desk, max_credit_balance=200)
    views = [tight.open(user), tight.open(user)]
    for view in views:
        desk.pay(view)
        for one in desk.events(view, "checkout.session.completed"):
            tight.receive(one)
    assert desk.balance(views[0]) == 300
    assert [desk.payment(view).review for view in views] == [None, "credit_limit"]


# Promo codes -----------------------------------------------------------------------------------


# S4.40!
def test_a_code_lowers_the_price_and_a_bonus_code_adds_credits(desk):
    """S4.40: WELCOME10 makes 9.99 into 8.99; bonus credits are a batch of their own."""
    desk.make.promo("WELCOME10", percent_off=10)
    desk.make.promo("PLUS50", bonus_credits=50)
    view = desk.open(promo="welcome10")
    assert (view.total, view.payment.discount, view.payment.price) == (
        USD("8.99"), USD("1.00"), USD("9.99"))  # fmt: skip
    bonus = desk.open(promo="PLUS50")
    assert (bonus.total, bonus.payment.credits) == (USD("9.99"), 200)
    for one in (view, bonus):
        desk.pay(one)
        desk.deliver(one)
    assert (desk.balance(view), desk.balance(bonus)) == (150, 200)
    rows = desk.all(
        "select kind, granted::int from batches where customer_id = %(c)s order by kind",
        c=bonus.customer_id,
    )
    assert [tuple(row.values()) for row in rows] == [("promotional", 50), ("purchased", 150)]
    assert {row["state"] for row in desk.all("select state from promo_uses")} == {"used"}
    with pytest.raises(InvalidPromoCode):
        desk.open(promo="NEVER")


def test_the_last_use_of_a_code_is_sold_once_and_comes_back_once(desk):
    """I18: only the provider's word that the session is dead gives the use back."""
    desk.make.promo("ONE", percent_off=10, cap=1)
    view = desk.open(promo="ONE")
    with pytest.raises(InvalidPromoCode):
        desk.open(promo="ONE")
    desk.clock.advance(minutes=31)
    with pytest.raises(InvalidPromoCode):
        desk.open(promo="ONE")
    desk.sim.fault("500", "/v1/checkout/sessions/*")
    desk.sweep("sessions", "promo_uses")
    assert desk.all("select used::int from promo_counts") == [{"used": 1}]
    assert desk.payment(view).state == "pending"
    desk.clock.advance(minutes=3)
    for _ in range(3):
        desk.sweep("sessions", "promo_uses")
    assert desk.all("select used::int from promo_counts") == [{"used": 0}]
    assert desk.payment(view).state == "expired"
    assert desk.open(promo="ONE").total == USD("8.99")


def test_a_code_applied_before_is_used_by_the_next_checkout(desk):
    """S4.18: without naming it again."""
    desk.make.promo("WELCOME10", percent_off=10, per_customer=1)
    user = desk.make.user()
    reservation = promos.apply(desk.env, "WELCOME10", user, pack="creator")
    view = desk.open(user)
    assert (view.total, view.payment.id) == (USD("8.99"), reservation.payment_id)
    assert desk.open(user).total == USD("9.99")


# Idempotency -----------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_checkout_and_no_other_request(desk):
    """I27: per customer; another customer's key is another key."""
    key = request_key("app", "order-1")
    user = desk.make.user()
    first = desk.open(user, pack="creator", request_key=key)
    assert desk.open(user, pack="creator", request_key=key).url == first.url
    with pytest.raises(IdempotencyKeyReused):
        desk.open(user, credits=10, request_key=key)
    with pytest.raises(IdempotencyKeyReused):
        desk.open(user, pack="creator", request_key=key, request_hash=b"another")
    other = desk.open(desk.make.user(), pack="creator", request_key=key)
    assert other.id != first.id
    assert len(sessions(desk)) == 2


def test_a_refusal_that_changed_nothing_may_succeed_later_with_its_key(desk):
    """I27: nothing was stored."""
    user, key = desk.make.user(), request_key("app", "later")
    tight = changed(desk, max_credit_balance=100)
    with pytest.raises(CreditLimitExceeded):
        tight.open(user, pack="creator", request_key=key)
    assert desk.open(user, pack="creator", request_key=key).url


def test_one_payment_at_a_time_for_a_thing_that_is_bought_once(desk):
    """Architecture 3.7, I21: until the first is dead."""
    user = desk.make.user()
    first = desk.open(user, amount=USD("5"), payable="course:1")
    with pytest.raises(PaymentInFlight):
        desk.open(user, amount=USD("5"), payable="course:1")
    assert desk.open(user, amount=USD("5"), payable="course:2").url
    checkout.expire_now(desk.env, user.uuid, first.id)
    assert desk.open(user, amount=USD("5"), payable="course:1").url


# The end of a session --------------------------------------------------------------------------


def test_a_session_nobody_pays_ends_at_the_provider_first(desk):
    """S2.11 I6: theirs outlives ours and is ended by us."""
    view = desk.open()
    desk.sweep("sessions")
    assert desk.payment(view).state == "pending"
    desk.clock.advance(minutes=30)
    desk.sweep("sessions")
    assert desk.payment(view).status == "expired"
    assert [one["status"] for one in sessions(desk)] == ["expired"]
    assert desk.events_of(view)[-2:] == ["checkout.expired", "payment.expired"]
    desk.deliver(view)
    assert desk.payment(view).status == "expired"


def test_a_session_that_was_paid_in_the_last_moment_is_credited_by_the_sweep(desk):
    """I1 I6."""
    view = desk.open()
    desk.pay(view)
    desk.clock.advance(minutes=31)
    desk.sweep("sessions")
    done = desk.payment(view)
    assert (done.state, done.fulfillment.path, desk.balance(view)) == ("succeeded", "sweep", 150)


def test_a_signed_expiry_ends_the_payment_and_gives_the_code_back_once(desk):
    """I18: checkout.session.expired is the provider's word."""
    desk.make.promo("ONE", percent_off=10, cap=1)
    view = desk.open(promo="ONE")
    desk.sim.request("POST", f"/v1/checkout/sessions/{view.payment.session_ref}/expire")
    for _ in range(3):
        desk.deliver(view)
    assert desk.payment(view).state == "expired"
    assert desk.all("select used::int from promo_counts") == [{"used": 0}]
    desk.sweep("promo_uses", "sessions")
    assert desk.all("select used::int from promo_counts") == [{"used": 0}]


def test_late_money_completes_an_expired_payment(desk):
    """I10: terminal states absorb, except that money is money."""
    desk.make.promo("ONE", percent_off=10, cap=1)
    view = desk.open(promo="ONE")
    desk.pay(view)
    paid = desk.events(view, "checkout.session.completed")[0]
    told = paid.event
    told["type"], told["id"] = "checkout.session.expired", "evt_expired"
    told["data"]["object"] |= {"status": "expired", "payment_status": "unpaid",
                               "payment_intent": None}  # fmt: skip
    body = json.dumps(told).encode()
    inbox.receive(desk.env, "stripe", body, signed(body))
    assert desk.payment(view).state == "expired"
    assert desk.all("select used::int from promo_counts") == [{"used": 0}]
    desk.receive(paid)
    assert (desk.payment(view).state, desk.balance(view)) == ("succeeded", 150)
    assert desk.all("select used::int from promo_counts") == [{"used": 1}]
    inbox.replay(desk.env, "stripe", "", "evt_expired")
    assert desk.payment(view).state == "succeeded"


def test_a_customer_who_gives_up_ends_the_session(desk):
    """S2.11: cancelled; a second time it is over."""
    view = desk.open()
    after = checkout.expire_now(desk.env, view.customer_id, view.id)
    assert (after.status, after.payment.status) == ("canceled", "cancelled")
    assert [one["status"] for one in sessions(desk)] == ["expired"]
    with pytest.raises(Conflict):
        checkout.expire_now(desk.env, view.customer_id, view.id)
    desk.deliver(view)
    assert desk.payment(view).status == "cancelled"


def test_giving_up_after_paying_leaves_the_payment_paid(desk):
    """I10: money that came first stays."""
    view = desk.open()
    desk.pay(view)
    after = checkout.expire_now(desk.env, view.customer_id, view.id)
    assert (after.status, desk.balance(view)) == ("complete", 150)
