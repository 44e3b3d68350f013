"""A purchase from the order to the credits, over the official SDK against the simulator."""

from __future__ import annotations

from paydesk import ids
from paydesk.flows import checkout, credits, inbox, payments
from paydesk.flows.checkout import StartCheckout


def deliver(env, sim, session_ref, *types):
    for one in sim.deliveries(*types, about=session_ref):
        inbox.receive(env, "stripe", one.body, one.headers)


def balance(env, customer_id):
    with env.db.read() as tx:
        return credits.balance_total(tx, customer_id, env.now())


def test_a_pack_paid_on_the_hosted_page_becomes_credits_by_webhook(env, make, sim):
    """S2.9 S2.10 S4.24 I1: the pending row, the payment, the webhook, the credits."""
    user, pack = make.user(), make.pack()
    view = checkout.start(env, StartCheckout(customer_id=user.uuid, pack=pack.key))
    assert view.url.startswith(sim.url)
    assert (view.status, view.payment.status, view.payment.credits) == ("open", "pending", 150)
    assert sim.pay(view.payment.session_ref).status == "complete"
    deliver(env, sim, view.payment.session_ref)
    after = payments.get(env, user.uuid, view.payment.id)
    assert (after.state, after.status, after.credits_added) == ("succeeded", "completed", True)
    assert after.captured == pack.price
    assert after.fulfillment.path == "webhook"
    assert balance(env, user.uuid) == 150
