"""A reference stands for one payment that is under way or was paid, and can be tried again."""

from __future__ import annotations

import pytest

from paydesk.errors import Conflict
from paydesk.flows import checkout


def test_an_abandoned_order_is_tried_again_under_its_reference(desk):  # S2.10
    user = desk.make.user()
    first = desk.open(user, pack="creator", reference="order-1")
    with pytest.raises(Conflict):
        desk.open(user, pack="creator", reference="order-1")
    checkout.expire_now(desk.env, user.uuid, first.id)
    again = desk.open(user, pack="creator", reference="order-1")
    desk.pay(again)
    desk.deliver(again)
    assert desk.payment(again).state == "succeeded"
    with pytest.raises(Conflict):
        desk.open(user, pack="creator", reference="order-1")
    assert desk.open(desk.make.user(), pack="creator", reference="order-1")


def test_money_that_comes_late_for_an_abandoned_order_is_recorded_beside_the_new(desk):  # I10
    user = desk.make.user()
    first = desk.open(user, pack="creator", reference="order-1")
    desk.pay(first)
    with desk.env.db.transaction(user.uuid) as tx:
        tx.run("update payments set state = 'expired' where id = %(id)s", {"id": first.payment.id})
    again = desk.open(user, pack="creator", reference="order-1")
    desk.pay(again)
    desk.deliver(again)
    desk.deliver(first)
    assert {desk.payment(one).state for one in (first, again)} == {"succeeded"}
    assert desk.balance(first) == 300
