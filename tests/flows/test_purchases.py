"""Items are bought once, whoever asks at the same time; their goods follow their money."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest
from goods_support import bought, course, given_back, purchase, reason, taken_back
from purchase import DECLINED

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.errors import AlreadyPurchased, NotFound, PaymentInFlight
from paydesk.flows import access, checkout, fulfillment, inbox, payments, purchases
from paydesk.flows.checkout import StartCheckout
from paydesk.providers.base import Charge
from paydesk.rules.money import USD


# S1.22!
def test_a_paid_item_is_the_customers_with_its_access(desk):
    """S1.16 S1.22 S1.23 S1.38: purchase, access, sale and events in the payment's transaction."""
    course(desk)
    view = desk.open(item="python")
    assert purchase(desk, view).state == "pending"
    assert reason(desk, view, "course:python") == "not_purchased"
    desk.pay(view)
    desk.deliver(view)
    one, may = purchase(desk, view), access.can(desk.env, view.customer_id, "course:python")
    assert (one.state, one.paid, one.completed_at) == ("completed", USD("49.99"), desk.env.now())
    assert may and may.reason == "granted" and may.expires_at is None and may.offer_url is None
    assert may.source.startswith("pur_")
    reasons = desk.all("select reason from transfers where customer_id = %(c)s order by seq",
                       c=view.customer_id)  # fmt: skip
    assert [row["reason"] for row in reasons] == ["PAYMENT_CAPTURE", "SALE"]
    assert {"purchase.completed", "access.granted"} <= set(desk.events_of(view))


def test_nothing_is_given_while_the_payment_is_not_through(desk):
    """I20: never on pending, and a declined card gives nothing."""
    course(desk)
    view = desk.open(item="python")
    desk.pay(view, card=DECLINED)
    desk.deliver(view)
    assert purchase(desk, view).state == "pending"
    assert not access.can(desk.env, view.customer_id, "course:python")


def test_sixty_four_checkouts_at_once_make_one_purchase(desk):
    """I21 S1.47: one opens, the others hear that it is under way; after it, that it is owned."""
    course(desk)
    user = desk.make.user()
    opened, refused = [], []
    start = threading.Barrier(16)

    def go() -> None:
        start.wait(30)
        for _ in range(4):
            try:
                what = StartCheckout(customer_id=user.uuid, item="python")
                opened.append(checkout.start(desk.env, what))
            except (PaymentInFlight, AlreadyPurchased) as exc:
                refused.append(exc)

    threads = [threading.Thread(target=go) for _ in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(120)
    assert (len(opened), len(refused)) == (1, 63)
    desk.pay(opened[0])
    desk.deliver(opened[0])
    with pytest.raises(AlreadyPurchased) as owned:
        desk.open(user, item="python")
    assert owned.value.extra["purchase"].startswith("pur_")
    assert [one.state for one in purchases.list_(desk.env, user.uuid)] == ["completed"]


def late_twin(desk):
    """Two payments of one item: the first was thought dead, and its money came last."""
    user = desk.make.user()
    first = desk.open(user, item="python")
    charged = Charge(ref=first.payment.session_ref, status="expired", ended=True,
                     session_ref=first.payment.session_ref)  # fmt: skip
    inbox.apply_charge(desk.env, user.uuid, first.payment.id, charged, "verify")
    assert desk.payment(first).state == "expired"
    assert purchase(desk, first).state == "canceled"
    second = bought(desk, user, item="python")
    money = Charge(ref=first.payment.session_ref, status="succeeded", amount=USD("49.99"),
                   fact="pi_late", session_ref=first.payment.session_ref, payment_ref="pi_late")
    inbox.apply_charge(desk.env, user.uuid, first.payment.id, money, "webhook")
    return first, second


def test_money_for_something_owned_is_kept_and_shown_to_a_person(desk):
    """S1.47 I21 data rule 2: recorded, its goods blocked, in review; the purchase stays one."""
    course(desk)
    first, second = late_twin(desk)
    one = desk.payment(first)
    assert (one.state, one.captured, one.review) == (
        "succeeded", USD("49.99"), "already_purchased")  # fmt: skip
    assert (one.fulfillment.state, one.fulfillment.error_code) == ("blocked", "already_purchased")
    assert (purchase(desk, first).state, purchase(desk, second).state) == ("pending", "completed")
    deposits = desk.all("select balance::int from accounts where code = 5 and customer_id = %(c)s",
                        c=first.customer_id)  # fmt: skip
    assert deposits == [{"balance": 4999}]
    assert "payment.review" in desk.events_of(first)
    assert len(desk.all("select id from access_grants")) == 1


def test_blocked_goods_can_be_handed_over_once_the_other_purchase_went_back(desk):
    course(desk)
    first, second = late_twin(desk)
    again = fulfillment.resolve(desk.env, first.customer_id, first.payment.id, "retry", actor="ana")
    assert again.fulfillment.state == "blocked"
    taken_back(desk, second, uuid4())
    done = fulfillment.resolve(desk.env, first.customer_id, first.payment.id, "retry", actor="ana")
    assert (done.fulfillment.state, done.review) == ("done", None)
    assert purchase(desk, first).state == "completed"
    assert reason(desk, first, "course:python") == "granted"


def test_a_repeatable_item_is_bought_again_and_prolongs(desk):
    """S1.49: the new days follow the present ones."""
    course(desk, "lab", repeatable=True, grants=["lab:gpu"], access_days=30)
    user = desk.make.user()
    both = [desk.open(user, item="lab") for _ in range(2)]
    for view in both:
        desk.pay(view)
        desk.deliver(view)
    may = access.can(desk.env, user.uuid, "lab:gpu")
    assert (may.expires_at - desk.env.now()).days == 60
    assert {one.state for one in purchases.list_(desk.env, user.uuid)} == {"completed"}


def test_the_same_event_five_times_completes_once(desk):
    """I1 I28"""
    course(desk)
    view = bought(desk, desk.make.user(), item="python")
    for _ in range(4):
        desk.deliver(view)
        checkout.verify(desk.env, view.id)
    assert desk.events_of(view).count("purchase.completed") == 1
    assert len(desk.all("select id from access_grants")) == 1


@pytest.mark.parametrize("point", ["fulfil_before_goods", "fulfil_after_goods",
                                   "apply_before_commit", "checkout_before_intend_commit",
                                   "checkout_after_intend"])  # fmt: skip
def test_a_crash_leaves_all_of_a_purchase_or_nothing(desk, point):
    """I5 I6: written with the payment, completed with its money; repeated it ends the same."""
    course(desk)
    user, key = desk.make.user(), uuid4()
    crash.arm(point)
    view = None
    for _ in range(3):
        try:
            view = desk.open(user, item="python", request_key=key)
            if view.payment.paid:
                break
            desk.pay(view)
            desk.deliver(view)
            break
        except CrashNow:
            crash.disarm()
            desk.clock.advance(minutes=2)
    desk.recover(rounds=3)
    assert view is not None
    checkout.verify(desk.env, view.id)
    assert [one.state for one in purchases.list_(desk.env, user.uuid)] == ["completed"]
    assert len(desk.all("select id from access_grants")) == 1


def test_what_is_taken_back_for_one_cause_is_given_back_by_it_alone(desk):
    """I9 I20: a refund and a dispute of one purchase, ended in either order."""
    course(desk)
    view = bought(desk, desk.make.user(), item="python")
    refund, dispute = uuid4(), uuid4()
    assert taken_back(desk, view, refund) == [1, 0, 1]
    assert taken_back(desk, view, refund) == [0, 0, 0]
    assert taken_back(desk, view, dispute, "dispute") == [1, 0, 0]
    assert (purchase(desk, view).state, reason(desk, view, "course:python")) == (
        "refunded", "revoked")  # fmt: skip
    assert given_back(desk, view, refund) == [0, 0, 0]
    assert purchase(desk, view).state == "refunded"
    assert given_back(desk, view, dispute) == [1, 0, 1]
    assert given_back(desk, view, dispute) == [0, 0, 0]
    assert (purchase(desk, view).state, reason(desk, view, "course:python")) == (
        "completed", "granted")  # fmt: skip
    told = desk.events_of(view)
    assert (told.count("access.revoked"), told.count("purchase.refunded")) == (1, 1)
    assert (told.count("access.granted"), told.count("purchase.completed")) == (2, 2)


def test_a_refunded_item_can_be_bought_again_and_then_stays_refunded(desk):
    """S1.47 I21: also where the refund fails afterwards."""
    course(desk)
    user, refund = desk.make.user(), uuid4()
    first = bought(desk, user, item="python")
    taken_back(desk, first, refund)
    second = bought(desk, user, item="python")
    assert given_back(desk, first, refund) == [1, 0, 0]
    assert (purchase(desk, first).state, purchase(desk, second).state) == ("refunded", "completed")


def test_purchases_are_listed_newest_first_and_found_by_any_of_their_ids(desk):
    """S1.37 S1.48"""
    course(desk)
    course(desk, "go")
    user = desk.make.user()
    old, new = bought(desk, user, item="python"), desk.open(user, item="go")
    found = purchases.list_(desk.env, user.uuid)
    assert [one.item_key for one in found] == ["go", "python"]
    assert purchases.list_(desk.env, user.uuid, limit=1, after=found[0].id) == found[1:]
    assert [one.item_key for one in purchases.list_(desk.env, state="completed")] == ["python"]
    assert purchases.list_(desk.env, user.uuid, item="go")[0].payment_id == new.payment.id
    assert purchases.get(desk.env, user.uuid, old.payment.id) == found[1]
    with pytest.raises(NotFound):
        purchases.get(desk.env, desk.make.user().uuid, found[1].id)
    view = payments.get(desk.env, None, old.payment.id)
    assert (view.purpose, view.description) == ("item", "Course python")


def test_money_put_into_a_wallet_is_no_sale(desk):
    """S3.15: deposits to wallet, once."""
    view = bought(desk, desk.make.user(), wallet=USD("25.00"))
    desk.deliver(view)
    rows = desk.all("select code, balance::int from accounts where customer_id = %(c)s"
                    " and balance <> 0 order by code", c=view.customer_id)  # fmt: skip
    assert rows == [{"code": 2, "balance": 2500}, {"code": 10, "balance": -2500}]
    assert desk.payment(view).fulfillment.state == "done"
