"""Reminders: of what a person has yet to pay, after days, so often, and never once it came."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from paydesk import ids
from paydesk.flows import checkout, clocks, customers, invoices, notifications, offline, reminders
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.ids import request_key
from paydesk.worker import Worker


@pytest.fixture
def told(env, make, clock):
    make.pack()
    on = "receipt,refund,payment_failed,invoice"
    env = replace(env, settings=replace(env.settings, notifications_off=on,
                                        offline_expiry_days=60))  # fmt: skip
    Worker(env).run_once("outgoing_feed")
    return env


def order(env, who):
    return checkout.start(
        env, StartCheckout(customer_id=who.uuid, pack="creator", provider="manual")
    )


def mails(env, who):
    worker = Worker(env)
    for name in ("reminders", "publisher", "outgoing_feed", "notifications"):
        worker.run_once(name)
    found = [one for one in notifications.list_(env) if one.customer_id == who.uuid]
    return [(one.kind, one.state) for one in found]


# S3.21!
def test_a_transfer_that_does_not_come_is_asked_for_twice_and_no_more(told, make, clock):
    who = make.user(email="maya@northwind.example")
    view = order(told, who)
    clock.advance(days=2, hours=23)
    assert mails(told, who) == []
    clock.advance(hours=1)
    for _ in range(2):
        assert mails(told, who) == [("payment_reminder", "kept")]
    clock.advance(days=3)
    assert mails(told, who) == [("payment_reminder", "kept")] * 2
    clock.advance(days=30)
    assert len(mails(told, who)) == 2
    one = notifications.list_(told)[0]
    shown = notifications.rendered(told, one)
    assert view.payment.session_ref in shown.text
    assert f"/checkout/{ids.show('checkout', view.id)}?s={view.secret}" in shown.html


# S3.21
def test_whoever_has_paid_is_not_reminded(told, make, clock):
    who = make.user(email="maya@northwind.example")
    view = order(told, who)
    clock.advance(days=4)
    assert reminders.remind_due(told) == 1
    offline.confirm(told, who.uuid, view.payment.id, by="rosa", method="cash")
    assert mails(told, who) == [("payment_reminder", "skipped")], "paid before the mail went out"
    clock.advance(days=4)
    assert len(mails(told, who)) == 1


# S3.21
def test_an_open_invoice_is_reminded_of_with_its_page(told, make, clock):
    who = make.user(email="maya@northwind.example")
    made = invoices.create(told, NewInvoice(
        customer_id=who.uuid, currency="usd", request_key=request_key("consulting"),
        items=(NewItem(kind="one_off", description="Consulting", amount_minor=12_000),),
    ))  # fmt: skip
    clock.advance(days=3)
    assert mails(told, who) == [("invoice_reminder", "kept")]
    shown = notifications.rendered(told, notifications.list_(told)[0])
    assert "$120.00" in shown.subject
    assert f"/invoice/{ids.show('invoice', made.id)}?s=" in shown.html
    invoices.void(told, who.uuid, made.id)
    clock.advance(days=9)
    assert len(mails(told, who)) == 1


def test_without_days_nobody_is_reminded(told, make, clock):
    who = make.user(email="maya@northwind.example")
    order(told, who)
    clock.advance(days=30)
    off = replace(told, settings=replace(told.settings, payment_reminder_days=0))
    assert mails(off, who) == []
    off = replace(told, settings=replace(told.settings, notifications_off="all"))
    assert reminders.remind_due(off) == 0


# S3.21 I25
def test_a_clock_reminds_its_customers(told, clock):
    mine = clocks.create(told)
    who = customers.ensure(told, "clocked", clock=mine.uuid)
    order(told, who)
    clocks.advance(told, mine, by=timedelta(days=4))
    assert reminders.remind_due(told) == 0
    with told.db.read() as tx:
        assert tx.all("select sent from reminders where customer_id = %(c)s", {"c": who.uuid}) == [
            {"sent": 1}
        ]
    clock.advance(days=30)
    assert reminders.remind_due(told) == 0, "the ordinary sweep passes over"
