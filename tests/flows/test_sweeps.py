"""Sweeps: a customer who is held elsewhere, or a row with a fault of its own, delays no other."""

from __future__ import annotations

from contextlib import contextmanager

import psycopg
import pytest
from psycopg.errors import AdminShutdown, DeadlockDetected, LockNotAvailable, QueryCanceled

from paydesk import crash
from paydesk.flows import checkout, fulfillment, promos, provider_calls, sweeps
from paydesk.providers.base import Charge


@contextmanager
def held(desk, customer_id):
    """The customer's head is locked by a connection that is none of ours."""
    with psycopg.connect(desk.env.db.dsn) as conn:
        conn.execute(
            "select 1 from heads where customer_id = %s for no key update", (customer_id,)
        )
        yield


def test_sessions_of_others_end_while_a_customer_is_held(desk):
    """I40: whoever was opened first is due first, and waited for only shortly."""
    first = desk.open()
    desk.clock.advance(seconds=5)
    second = desk.open()
    desk.clock.advance(minutes=40)
    with held(desk, first.customer_id):
        assert checkout.expire_due(desk.env) == 1
    assert (desk.payment(first).state, desk.payment(second).state) == ("pending", "expired")
    assert checkout.expire_due(desk.env) == 1


def test_a_session_of_a_provider_that_is_gone_delays_no_other(desk):
    """I40: its provider is installed no more."""
    first = desk.open()
    desk.clock.advance(seconds=5)
    second = desk.open()
    with desk.env.db.transaction() as tx:
        tx.run(
            "update payments set provider = 'gone' where id = %(id)s", {"id": first.payment.id}
        )
    desk.clock.advance(minutes=40)
    assert checkout.expire_due(desk.env) == 1
    assert desk.payment(second).state == "expired"


def test_goods_of_others_are_handed_over_while_a_customer_is_held(desk, monkeypatch):
    """I1 I40: the money is here; one lock keeps nobody else's credits back."""

    def fail(*_):
        raise RuntimeError("no goods today")

    first, second = desk.open(), desk.open()
    with monkeypatch.context() as patch:
        patch.setitem(fulfillment.FULFILL, "credits", fail)
        for view in (first, second):
            desk.pay(view)
            desk.deliver(view)
    desk.clock.advance(minutes=5)
    with held(desk, first.customer_id):
        assert fulfillment.fulfil_due(desk.env) == 1
    assert (desk.balance(first), desk.balance(second)) == (0, 150)
    assert fulfillment.fulfil_due(desk.env) == 1


def test_codes_of_others_go_back_while_a_customer_is_held(desk):
    """I18 I40: reservations whose time is over."""
    desk.make.promo("P10", percent_off=10)
    first, second = desk.make.user(), desk.make.user()
    for user in (first, second):
        promos.apply(desk.env, "P10", user, pack="creator")
    desk.clock.advance(minutes=60)
    with held(desk, first.uuid):
        assert promos.release_expired(desk.env) == 1
    assert promos.get_promo(desk.env, "P10").used == 1


def test_calls_of_others_are_sent_while_a_customer_is_held(desk):
    """I6 I40: nobody's checkout waits for another's lock."""
    first, second = desk.make.user(), desk.make.user()
    for user in (first, second):
        crash.arm("before_provider_call")
        with pytest.raises(crash.CrashNow):
            desk.open(user)
        desk.clock.advance(seconds=1)
    desk.clock.advance(minutes=2)
    with held(desk, first.uuid):
        assert provider_calls.resolve_due(desk.env) == 1


def test_a_payment_under_way_is_asked_about_ever_more_rarely(desk, monkeypatch):
    """I40: a bank debit takes days, and sessions that should end do not wait behind it."""
    view = desk.open()
    stripe = type(desk.env.providers["stripe"])
    asked = []

    def under_way(self, ref, *_):
        asked.append(desk.clock.now())
        return Charge(ref=ref, status="processing", session_ref=ref)

    with monkeypatch.context() as patch:
        patch.setattr(stripe, "expire_checkout", under_way)
        desk.clock.advance(minutes=31)
        for _ in range(48):
            checkout.expire_due(desk.env)
            desk.clock.advance(minutes=30)
    assert desk.payment(view).state == "processing"
    assert 5 <= len(asked) <= 16
    desk.clock.advance(hours=6)
    checkout.expire_due(desk.env)
    assert desk.payment(view).state == "expired"


@pytest.mark.parametrize(("wrong", "is_passing"), [
    (DeadlockDetected("two"), True), (LockNotAvailable("held"), True),
    (AdminShutdown("bye"), True), (QueryCanceled("statement timeout"), False),
], ids=lambda one: type(one).__name__)  # fmt: skip
def test_what_takes_too_long_by_itself_is_no_fault_that_passes(wrong, is_passing):
    """I29: done anew it takes as long; counted as a try, it is put off and told in the end."""
    assert sweeps.is_passing(wrong) is is_passing
