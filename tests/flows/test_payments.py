"""Payments as they are read: by any id, in pages, in sums."""

from __future__ import annotations

import pytest
from purchase import DECLINED, SECURED

from paydesk import ids
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import checkout, payment_trail, payments
from paydesk.rules.money import EUR, USD
from paydesk.rules.payments import handle_of, payment_of_handle


def test_a_payment_is_found_by_any_of_its_ids(desk):
    """C17: prefixed, bare, handle, checkout, session, intent, ledger entry."""
    view = desk.open()
    desk.pay(view)
    desk.deliver(view)
    one = desk.payment(view)
    sale = desk.all("select id from transfers where reason = 'SALE'")[0]["id"]
    refs = [
        one.id, str(one.id), one.id.hex, ids.show("payment", one.id), one.handle,
        ids.show("checkout", view.id), str(view.id), one.session_ref, one.payment_ref,
        ids.show("transfer", sale),
    ]  # fmt: skip
    assert {payments.get(desk.env, None, ref).id for ref in refs} == {one.id}
    other = desk.make.user()
    for ref in refs:
        with pytest.raises(NotFound):
            payments.get(desk.env, other.uuid, ref)
    for ref in ("", "pay_", "pay_" + "0" * 26, "payment_1_z", "payment_x_y", "pi_none", "x" * 999,
                "\x00", "é", str(desk.make.user().uuid)):  # fmt: skip
        with pytest.raises(NotFound):
            payments.get(desk.env, None, ref)


def test_a_handle_is_the_id_written_in_another_way(desk):
    """C17: `payment_<n>_<x>`, never null, unique, and found without a look-up."""
    user = desk.make.user()
    for _ in range(200):
        made = ids.new_owned(user.uuid)
        handle = handle_of(made)
        assert handle.count("_") == 2
        assert payment_of_handle(handle) == made


def test_pages_newest_first_with_cursors_both_ways(desk):
    """S2.16 and cursors of /v1."""
    user = desk.make.user()
    made = []
    for number in range(5):
        made.append(desk.open(user, amount=USD(f"{number + 1}.00")).payment.id)
        desk.clock.advance(seconds=1)
    newest = made[::-1]
    desk.open(amount=USD("7"))

    def listed(**more):
        return [one.id for one in payments.list_(desk.env, user.uuid, **more)]

    assert listed() == newest
    assert listed(limit=2) == newest[:2]
    assert listed(limit=2, after=newest[1]) == newest[2:4]
    assert listed(limit=2, before=newest[4]) == newest[2:4]
    assert len(payments.list_(desk.env)) == 6
    page, total = payments.history(desk.env, user.uuid, page=2, page_size=2)
    assert ([one.id for one in page], total) == (newest[2:4], 5)
    with pytest.raises(NotFound):
        payments.list_(desk.env, desk.make.user().uuid, after=newest[1])


def test_filters_understand_every_documents_words(desk):
    """C2: completed, succeeded, paid; cancelled, canceled; upper case."""
    user = desk.make.user()
    paid, open_, given_up = (desk.open(user) for _ in range(3))
    desk.pay(paid)
    desk.deliver(paid)
    checkout.expire_now(desk.env, user.uuid, given_up.id)

    def listed(status):
        return [one.id for one in payments.list_(desk.env, user.uuid, status=status)]

    for word in ("completed", "succeeded", "paid", "COMPLETED", "Complete"):
        assert listed(word) == [paid.payment.id], word
    for word in ("cancelled", "canceled", "CANCELLED"):
        assert listed(word) == [given_up.payment.id], word
    assert listed("pending") == [open_.payment.id]
    assert [o.id for o in payments.list_(desk.env, user.uuid, method="card")] == [paid.payment.id]
    with pytest.raises(InvalidRequest):
        listed("nonsense")
    page, total = payments.history(desk.env, user.uuid, status="completed")
    assert (len(page), total) == (1, 1)


def test_sums_of_a_customer(desk):
    """S2.17: what was captured, by currency, and the credits that came."""
    user = desk.make.user()
    for told in ({"pack": "creator"}, {"amount": EUR("3.00")}, {"amount": USD("1.00")}):
        view = desk.open(user, **told)
        desk.pay(view)
        desk.deliver(view)
    desk.open(user)
    stats = payments.stats(desk.env, user.uuid)
    assert (stats.total_payments, stats.by_status) == (4, {"completed": 3, "pending": 1})
    assert stats.spent == {"usd": USD("10.99"), "eur": EUR("3.00")}
    assert stats.credits_purchased == 150
    empty = payments.stats(desk.env, desk.make.user().uuid)
    assert (empty.total_payments, empty.last_payment_at) == (0, None)


def test_the_timeline_tells_every_try_and_change(desk):
    """S2.12: complete history of attempts and status changes."""
    view = desk.open()
    desk.pay(view, card=DECLINED)
    desk.deliver(view)
    desk.pay(view)
    desk.deliver(view)
    with desk.env.db.read() as tx:
        one = payments.view(tx, view.customer_id, view.payment.id)
        steps = payment_trail.timeline(tx, one)
        tries = payment_trail.attempts(tx, view.customer_id, view.payment.id)
    assert [step.type for step in steps] == [
        "checkout.created", "payment.created", "payment.declined", "checkout.completed",
        "payment.succeeded", "fulfillment.done",
    ]  # fmt: skip
    assert [(one.state, bool(one.url)) for one in tries] == [("succeeded", True), ("failed", False)]
    assert tries[1].error_code


def test_a_failed_3d_secure_is_told_as_a_declined_try(desk):
    """S2.1: each try that failed stands in the timeline, however many events tell of it."""
    view = desk.open()
    desk.pay(view, card=SECURED, approve=False)
    desk.pay(view, card=SECURED, approve=False)
    desk.deliver(view)
    desk.deliver(view)
    assert desk.events_of(view).count("payment.declined") == 2
    assert desk.payment(view).error_code == "payment_intent_authentication_failure"
    desk.pay(view)
    desk.deliver(view)
    assert desk.payment(view).state == "succeeded"
    assert desk.balance(view) == desk.payment(view).credits
    assert desk.events_of(view).count("payment.declined") == 2
