"""Changes that come to nothing, or are paid too late: no period goes unbilled, no money is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from billing import DECLINES
from test_subscription_changes import ASKS_THE_BANK, half_way

from paydesk.errors import PaymentFailed
from paydesk.flows import invoices
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import USD


# I22 I23
@pytest.mark.parametrize("way", ["declined", "voided", "given up"])
def test_a_change_of_interval_that_came_to_nothing_leaves_the_next_period_to_be_billed(
    billing, way
):
    who, sub = half_way(billing)
    billing.plan("yearly", price=USD("200.00"), interval="year", upgrade="seconds")
    billing.card(who, DECLINES if way == "declined" else ASKS_THE_BANK)
    if way == "declined":
        with pytest.raises(PaymentFailed):
            changes.change(billing.env, who.uuid, sub.id, plan="yearly", at="now")
    else:
        _begin_change(billing, who, sub, "yearly")
        _close_change(billing, sub, way)
    billing.card(who)
    billing.until(sub.period_end + timedelta(hours=1))
    assert billing.invoices(sub)[-1] == (1, "paid", 2000, 2000)
    assert billing.look(sub).plan_key == "pro"


def _begin_change(billing, who, sub, plan):
    """A change whose charge waits for the bank."""
    changes.change(billing.env, who.uuid, sub.id, plan=plan, at="now")
    assert billing.invoices(sub)[-1][1] == "open"


def _close_change(billing, sub, way):
    """Its payment ends, and with it the invoice; or somebody gives the invoice up by hand."""
    invoice = billing.look(sub).latest_invoice_id
    if way == "given up":
        return invoices.mark_uncollectible(billing.env, sub.customer_id, invoice)
    billing.clock.advance(days=2)
    billing.recover(rounds=2)
    assert billing.invoices(sub)[-1][1] == "void"


# S1.44 I24 I28
def test_a_change_that_is_paid_too_late_is_put_on_the_balance(billing):
    """It was given up, and the period has moved on: nothing changes, and no money is lost."""
    who, sub = half_way(billing, credits=100)
    billing.plan("team", price=USD("50.00"), upgrade="seconds", most_quantity=10, credits=200)
    billing.card(who, DECLINES)
    saved = billing.card(who, ASKS_THE_BANK)
    _begin_change(billing, who, sub, "team")
    late = billing.look(sub).latest_invoice_id
    taken = 100 - billing.balance(who)
    assert taken == 50
    intent = billing.all("select provider_payment_ref as ref from payments where state <>"
                         " 'succeeded' and customer_id = %(c)s", c=who.uuid)[0]["ref"]  # fmt: skip
    _close_change(billing, sub, "given up")
    billing.reissue(saved, "visa")
    billing.until(sub.period_end + timedelta(hours=1))
    assert billing.balance(who) == 100, "the new month's, and nothing of the old"
    assert billing.invoices(sub)[-1] == (1, "paid", 2000, 2000)
    billing.sim.authenticate(intent)
    billing.recover(rounds=3)
    assert invoices.get(billing.env, who.uuid, late).status == "paid"
    assert billing.look(sub).plan_key == "pro"
    due = invoices.get(billing.env, who.uuid, late).due.minor
    assert billing.books(who, "balance") == due
    assert billing.all("select state from fulfillments where customer_id = %(c)s and state <>"
                       " 'done'", c=who.uuid) == []  # fmt: skip
    assert billing.events(sub)[-1] == "updated"
    billing.until(billing.look(sub).period_end + timedelta(hours=1))
    assert billing.invoices(sub)[-1] == (2, "paid", 2000, 2000 - due), "it pays the next period"
    assert billing.books(who, "balance") == 0


# S1.44
def test_credits_taken_for_a_change_that_was_voided_come_back_with_the_next_change(billing):
    who, sub = half_way(billing, credits=100)
    billing.plan("team", price=USD("50.00"), upgrade="seconds", most_quantity=10, credits=200)
    billing.card(who, ASKS_THE_BANK)
    _begin_change(billing, who, sub, "team")
    assert billing.balance(who) == 50
    invoices.mark_uncollectible(
        billing.env, who.uuid, billing.look(sub).latest_invoice_id
    )
    changes.change(billing.env, who.uuid, sub.id, quantity=2, at="period_end")
    assert billing.balance(who) == 100


# S1.44
def test_lines_that_were_added_by_hand_and_paid_are_no_change(billing, env):
    """What they bring stays revenue."""
    from paydesk.flows import heads
    from paydesk.flows.invoices import NewItem

    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    with env.db.transaction(who.uuid) as tx:
        now = heads.decide(tx, env.now(), who.uuid)
        item = NewItem(kind="one_off", description="Setup", amount_minor=700)
        row = invoices.add(tx, now, who.uuid, sub.id, [item], currency="usd")
    invoices.finalize_now(env, who.uuid, row.id)
    assert invoices.pay(env, who.uuid, row.id, off_session=True).status == "paid"
    assert (billing.books(who, "balance"), billing.books(who, "revenue")) == (0, 2700)
