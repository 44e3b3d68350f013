"""Editing and deleting payments: words freely, ends by the provider's word, money never."""

from __future__ import annotations

import pytest

from paydesk.errors import Conflict, InvalidRequest, NotFound, UseConfirm, UseRefund
from paydesk.flows import payment_edits, payments


def edit(desk, view, **more):
    return payment_edits.update(desk.env, view.customer_id, view.payment.id, **more)


def test_words_are_changed_at_any_time(desk):
    # S3.2 S3.7
    view = desk.open()
    found = edit(desk, view, description="Render, June", metadata={"order": "42"})
    assert (found.description, found.metadata) == ("Render, June", {"order": "42"})
    assert edit(desk, view, description=None).description is None
    rows = desk.all("select type, data from events where type = 'payment.updated' order by seq")
    changed = [row["data"]["changed"] for row in rows]
    assert changed == [["description", "metadata"], ["description"]]


@pytest.mark.parametrize(("word", "state"), [("CANCELLED", "canceled"), ("FAILED", "failed")])
def test_a_pending_payment_is_ended_once_the_provider_confirms(desk, word, state):
    # C27
    view = desk.open()
    assert edit(desk, view, status=word).state == state
    assert desk.sim.get(view.payment.session_ref)["status"] == "expired"
    assert edit(desk, view, status=word).state == state
    with pytest.raises(Conflict):
        edit(desk, view, status="FAILED" if state == "canceled" else "CANCELLED")


@pytest.mark.parametrize("word", ["CANCELLED", "FAILED"])
def test_money_that_came_first_stays(desk, word):
    # C27 I4
    view = desk.open()
    desk.pay(view)
    with pytest.raises(Conflict):
        edit(desk, view, status=word, description="Never mind")
    one = desk.payment(view)
    assert (one.state, one.description) == ("succeeded", view.payment.description)
    assert desk.balance(view) == 150


def test_nobody_completes_or_refunds_by_an_edit(desk):
    # C27 I35
    view = desk.open()
    for word in ("COMPLETED", "succeeded", "paid"):
        with pytest.raises(UseConfirm):
            edit(desk, view, status=word)
    with pytest.raises(UseRefund):
        edit(desk, view, status="REFUNDED")
    for word in ("PROCESSING", "EXPIRED", "shipped"):
        with pytest.raises(InvalidRequest):
            edit(desk, view, status=word)
    assert edit(desk, view, status="PENDING").state == "pending"


def test_a_payment_without_money_is_hidden_and_kept(desk):
    # C6
    view = desk.open()
    found = payment_edits.remove(desk.env, view.customer_id, view.payment.id)
    assert found.deleted_at and found.state == "canceled"
    assert payments.list_(desk.env, view.customer_id) == []
    assert payments.history(desk.env, view.customer_id)[1] == 0
    shown = payments.list_(desk.env, view.customer_id, deleted=True)
    assert [one.id for one in shown] == [view.payment.id]
    assert payment_edits.remove(desk.env, None, view.payment.id).deleted_at == found.deleted_at
    assert [row["type"] for row in desk.all(
        "select type from events where type = 'payment.deleted'")] == ["payment.deleted"]


def test_a_hidden_payment_can_be_shown_again(desk):
    # C6
    view = desk.open()
    payment_edits.remove(desk.env, view.customer_id, view.payment.id)
    for _ in range(2):
        one = payment_edits.restore(desk.env, view.customer_id, view.payment.id)
    assert (one.deleted_at, one.state) == (None, "canceled")
    assert [p.id for p in payments.list_(desk.env, view.customer_id)] == [one.id]
    kinds = desk.all("select type from events where type in ('payment.deleted',"
                     " 'payment.restored') order by seq")  # fmt: skip
    assert [row["type"] for row in kinds] == ["payment.deleted", "payment.restored"]


def test_a_payment_with_money_is_never_deleted(desk):
    # C6 I1
    view = desk.open()
    desk.pay(view)
    with pytest.raises(Conflict):
        payment_edits.remove(desk.env, view.customer_id, view.payment.id)
    assert desk.payment(view).deleted_at is None


def test_another_customers_payment_is_not_found(desk):
    # I33
    view, other = desk.open(), desk.make.user("other_one")
    with pytest.raises(NotFound):
        payment_edits.update(desk.env, other.uuid, view.payment.id, description="mine")
    with pytest.raises(NotFound):
        payment_edits.remove(desk.env, other.uuid, view.payment.id)
