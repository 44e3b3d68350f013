"""Goods follow the money however it comes and goes: wallets, refunds, two providers' races."""

from __future__ import annotations

import threading

from goods_support import bought, course, membership, purchase, reason, service

from paydesk.flows import inbox, refunds
from paydesk.flows.refunds import WantRefund
from paydesk.ids import request_key
from paydesk.providers.base import Charge
from paydesk.rules.money import USD


def refund(desk, view, amount=None, n=1):
    return refunds.request(
        desk.env,
        WantRefund(customer_id=view.customer_id, payment_id=view.payment.id, amount=amount,
                   by="ana", request_key=request_key(str(view.payment.id), str(n)),
                   request_hash=b"x"),
    )  # fmt: skip


def test_access_stays_with_a_part_of_the_money_and_goes_with_the_rest(desk):
    """I20 S1.39 S1.49: a partial refund takes nothing that cannot be parted."""
    course(desk)
    view = bought(desk, desk.make.user(), item="python")
    refund(desk, view, USD("10.00"))
    assert (purchase(desk, view).state, reason(desk, view, "course:python")) == (
        "completed", "granted")  # fmt: skip
    done = refund(desk, view, n=2)
    assert done.amount == USD("39.99") and done.access_revoked == 1
    assert (purchase(desk, view).state, reason(desk, view, "course:python")) == (
        "refunded", "revoked")  # fmt: skip


def test_a_full_refund_ends_a_service(desk):
    """S0.38 I20"""
    membership(desk)
    view = bought(desk, desk.make.user(), service="premium_membership")
    refund(desk, view)
    assert (service(desk, view).state, reason(desk, view, "lab:1")) == ("canceled", "revoked")
    assert desk.payment(view).state == "refunded"


def test_too_little_money_gives_nothing_until_the_rest_comes(desk):
    """I20 I35: goods of an item wait as those of credits do."""
    course(desk)
    view = desk.open(item="python")

    def money(amount, fact):
        ref = view.payment.session_ref
        inbox.apply_charge(
            desk.env, view.customer_id, view.payment.id,
            Charge(ref=ref, status="succeeded", amount=amount, fact=fact, session_ref=ref,
                   payment_ref=fact), "verify",
        )  # fmt: skip

    money(USD("40.00"), "pi_1")
    assert (desk.payment(view).review, purchase(desk, view).state) == ("underpaid", "pending")
    assert reason(desk, view, "course:python") == "not_purchased"
    money(USD("9.99"), "pi_2")
    assert (desk.payment(view).review, purchase(desk, view).state) == (None, "completed")
    assert reason(desk, view, "course:python") == "granted"


def test_one_event_in_sixteen_threads_completes_one_purchase(desk):
    """I1 I21: webhooks and questions side by side."""
    course(desk)
    membership(desk)
    user = desk.make.user()
    views = [desk.open(user, item="python"), desk.open(user, service="premium_membership")]
    for view in views:
        desk.pay(view)
    events = [one for view in views for one in desk.events(view)]
    threads = [
        threading.Thread(target=lambda: [desk.receive(one) for one in events]) for _ in range(16)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(120)
    desk.sweep("inbox")
    assert purchase(desk, views[0]).state == "completed" and service(desk, views[1]).active
    told = desk.events_of(views[0])
    assert (told.count("purchase.completed"), told.count("service.activated")) == (1, 1)
    assert len(desk.all("select id from access_grants")) == 2
