"""What of a charge went back already, by whatever way, is not credited again by a change."""

from __future__ import annotations

from uuid import uuid4

import pytest

from paydesk.flows import credit_notes, disputes, inbox, invoices, payments, refunds
from paydesk.flows import subscription_changes as changes
from paydesk.flows.credit_notes import NewNote
from paydesk.flows.refunds import WantRefund
from paydesk.rules.money import USD, Money


def amounts(seen) -> list[int]:
    return [one.amount.minor for one in seen.lines]


def subscribed(billing):
    """A plan of 20.00 that was just paid, beside one of 50.00."""
    for key, price in (("pro", "20.00"), ("team", "50.00")):
        billing.plan(key, price=USD(price), downgrade_when="now")
    who = billing.user()
    return who, billing.subscribe(who)


def bill(billing, sub):
    return invoices.get(billing.env, sub.customer_id, billing.look(sub).latest_invoice_id)


def refund(billing, one, minor: int):
    found = refunds.request(billing.env, WantRefund(
        customer_id=one.customer_id, payment_id=one.payment_id, force=True, by="ann",
        amount=USD(minor, minor=True), request_key=uuid4(), request_hash=b"",
    ))  # fmt: skip
    assert found.state == "succeeded"


def disputed(billing, one, outcome: str | None, minor: int | None = None):
    ref = payments.get(billing.env, one.customer_id, one.payment_id).payment_ref
    made = billing.sim.dispute(ref, minor)
    if outcome is not None:
        billing.sim.decide_dispute(made["id"], outcome)
    for told in billing.sim.deliveries():
        inbox.receive(billing.env, "stripe", told.body, told.headers)
    assert len(disputes.list_(billing.env, one.customer_id)) == 1


# S1.29 S1.44 I24
def test_a_note_and_a_refund_of_one_charge_both_count(billing):
    who, sub = subscribed(billing)
    one = bill(billing, sub)
    credit_notes.create(billing.env, NewNote(
        customer_id=who.uuid, invoice_id=one.id, amount=USD("10.00"), balance=USD("6.00"),
        refund=USD("4.00"), by="ann", request_key=uuid4(),
    ))  # fmt: skip
    refund(billing, one, 500)
    assert amounts(changes.preview(billing.env, who.uuid, sub.id, plan="team")) == [-500, 5000]


# S1.29 S1.44 I24
@pytest.mark.parametrize(("minor", "left"), [(2000, 3000), (700, 4300)])
def test_a_charge_that_a_change_credited_is_not_given_back_twice(billing, minor, left):
    """20.00 are paid, credited by a change to 50.00, and refunded all the same."""
    who, sub = subscribed(billing)
    first = bill(billing, sub)
    changes.change(billing.env, who.uuid, sub.id, plan="team")
    refund(billing, first, minor)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="pro")
    assert amounts(seen) == [-left, 2000]


# S1.29 S1.44 I24
@pytest.mark.parametrize(("minor", "left"), [(2000, 18000), (700, 19300)])
def test_a_charge_that_a_new_cycle_credited_is_not_given_back_twice(billing, minor, left):
    """The rest of a month pays for a part of a year, and is refunded all the same."""
    who, sub = subscribed(billing)
    first = bill(billing, sub)
    billing.plan("yearly", price=USD("200.00"), interval="year", downgrade_when="now")
    changes.change(billing.env, who.uuid, sub.id, plan="yearly", at="now")
    refund(billing, first, minor)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="pro", at="now")
    assert amounts(seen) == [-left, 2000]


# S1.29 S1.44 S3.23 I24
@pytest.mark.parametrize(("outcome", "credits"), [(None, []), ("lost", []), ("won", [-2000])])
def test_a_charge_that_its_payer_took_back_is_credited_to_nobody(billing, outcome, credits):
    who, sub = subscribed(billing)
    disputed(billing, bill(billing, sub), outcome)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team", at="now")
    if outcome == "won":
        credits = [pytest.approx(-2000, abs=1)]
    assert [minor for minor in amounts(seen) if minor < 0] == credits


# S1.28 S3.23 I24
def test_what_its_payer_took_back_goes_to_no_balance_when_it_is_given_up(billing):
    who, sub = subscribed(billing)
    disputed(billing, bill(billing, sub), "lost", 1500)
    changes.cancel(billing.env, who.uuid, sub.id, at="now", refund="unused")
    assert billing.books(who, "balance") == 0
    (note,) = credit_notes.list_(billing.env, who.uuid)
    assert (note.amount.minor, note.refunded.minor) == (500, 500)


# S1.28 S1.29 I24
@pytest.mark.parametrize("path", [["yearly"], ["pro"], ["yearly", "pro"], ["pro", "yearly", "pro"]])
def test_what_an_earlier_cycle_paid_comes_back_too_when_all_is_given_up(billing, path):
    """Changes that begin the cycle anew pay with what was left of the one before: given up on the
    same day, nothing of it is lost, wherever it was paid."""
    billing.plan("yearly", price=USD("200.00"), interval="year", downgrade_when="now")
    billing.plan("pro", price=USD("20.00"), downgrade_when="now")
    who = billing.user()
    sub = billing.subscribe(who, "yearly" if path[0] == "pro" else "pro")
    for plan in path:
        changes.change(billing.env, who.uuid, sub.id, plan=plan, at="now")
    changes.cancel(billing.env, who.uuid, sub.id, at="now", refund="unused")
    (kept,) = billing.all(
        "select sum(captured_minor - refunded_minor)::bigint as n from payments"
        " where customer_id = %(c)s", c=who.uuid)  # fmt: skip
    assert kept["n"] == billing.books(who, "balance")


# S1.28 I13
def test_what_is_unused_comes_back_in_a_currency_whose_last_digit_cards_do_not_carry(billing):
    """24.390 KWD for 31 days: of 7 days' rest cards take back 5.50, and the balance 0.007."""
    billing.plan(price=Money(24390, "kwd", minor=True), credits=100, credits_rollover="all")
    who = billing.user()
    sub = billing.subscribe(who)
    length = sub.period_end - sub.period_start
    billing.renew(seconds=length.total_seconds() * 24 / 31)
    changes.cancel(billing.env, who.uuid, sub.id, at="now", refund="unused")
    (note,) = credit_notes.list_(billing.env, who.uuid)
    assert (note.amount.minor, note.refunded.minor, note.balance.minor) == (5507, 5500, 7)
    # 22.58 of a hundred credits, rounded up.
    assert billing.balance(who) == 100 - 23
