"""What pays an invoice of a provider: one payment or several, one outside of it, a credit note."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from uuid import uuid4

import pytest
from test_provider_billing_items import there, told

from paydesk.flows import invoices, refunds
from paydesk.flows import provider_billing_events as news
from paydesk.flows import subscription_changes as changes
from paydesk.ids import new_owned
from paydesk.providers.billing import RemotePayment
from paydesk.providers.stripe_billing_shapes import of_invoice
from paydesk.rules.money import Money

__all__ = ["there", "told"]

VERSIONS = ["2023-10-16", "2025-03-31.basil", None]


def unpaid(there, version=None, **plan):
    """A subscription whose second month could not be charged: (it, its open invoice there)."""
    there.plan("pro", **plan)
    sub = there.begin(there.user())
    there.billing.reissue(
        SimpleNamespace(ref=there.remote(sub)["default_payment_method"]), "chargeCustomerFail"
    )
    there.months(version=version)
    (open_,) = [one for one in there.sim.objects("invoice") if one["status"] == "open"]
    return sub, open_


def attach(there, sub, invoice, amount):
    """Somebody charges the customer apart from the invoice, and has it pay a part of it."""
    method = there.card(sub.customer_id)
    intent = there.sim.request("POST", "/v1/payment_intents", {
        "amount": amount, "currency": "usd", "customer": there.ref(sub.customer_id),
        "payment_method": method, "confirm": True, "payment_method_types": ["card"]})  # fmt: skip
    there.sim.request("POST", f"/v1/invoices/{invoice['id']}/attach_payment",
                      {"payment_intent": intent["id"]})  # fmt: skip


def outside(there, invoice):
    there.sim.request("POST", f"/v1/invoices/{invoice['id']}/pay", {"paid_out_of_band": True})


def payments(there, sub):
    """(asked, captured, state) of each that brought money."""
    return [tuple(row.values()) for row in there.billing.all(
        "select asked_minor, captured_minor, state from payments where customer_id = %(c)s"
        " and captured_minor > 0 order by created_at, id", c=sub.customer_id)]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_paid_outside_of_stripe_is_no_money_of_stripes(there, version):
    # S1.50 I22: since 2025-03-31 nothing but the list of its payments says so
    sub, open_ = unpaid(there, version)
    outside(there, open_)
    assert there.sim.get(open_["id"])["amount_paid_off_stripe"] == 0
    there.deliver(version=version)
    assert there.billing.invoices(sub)[-1] == (1, "paid", 2000, 2000)
    assert there.look(sub).state == "active" and there.billing.can(sub, "tier:pro")
    assert there.billing.books(sub, "revenue") == 2000
    assert "succeeded" not in there.billing.payments(sub)[1:]


@pytest.mark.parametrize("is_told", [True, False])
def test_each_payment_of_an_invoice_is_its_own_and_asks_for_its_part(there, is_told):
    # S1.17 S1.50 I3: two that somebody attached, and the invoice's own with the rest
    sub, open_ = unpaid(there, credits=100)
    for amount in (1200, 500):
        attach(there, sub, open_, amount)
        if is_told:
            there.deliver()
            assert there.billing.invoices(sub)[-1][:2] == (1, "open")
            assert there.billing.balance(sub) == 0
    there.billing.reissue(
        SimpleNamespace(ref=there.remote(sub)["default_payment_method"]), "visa"
    )
    there.sim.request("POST", f"/v1/invoices/{open_['id']}/pay")
    there.deliver(twice=2)
    assert there.billing.invoices(sub)[-1] == (1, "paid", 2000, 2000)
    assert sorted(payments(there, sub)[1:]) == [
        (300, 300, "succeeded"), (500, 500, "succeeded"), (1200, 1200, "succeeded")]  # fmt: skip
    bill = invoices.get(there.billing.env, None, there.look(sub).latest_invoice_id)
    assert len(bill.payments) == 3 and bill.payment_id in bill.payments
    assert there.billing.books(sub, "revenue") == 4000
    assert there.billing.balance(sub) == 100
    assert there.billing.events(sub).count("renewed") == 1
    assert there.look(sub).state == "active" and there.billing.can(sub, "tier:pro")
    assert there.parked() == []


@pytest.mark.parametrize("is_told", [True, False])
def test_of_what_was_paid_here_and_elsewhere_only_stripes_part_is_its_money(there, is_told):
    # S1.50 I22: the rest never came, and the invoice is settled all the same
    sub, open_ = unpaid(there, credits=100)
    attach(there, sub, open_, 1200)
    if is_told:
        there.deliver()
    outside(there, open_)
    there.deliver()
    assert there.billing.invoices(sub)[-1] == (1, "paid", 2000, 2000)
    assert payments(there, sub)[1:] == [(1200, 1200, "succeeded")]
    assert there.billing.books(sub, "revenue") == 3200
    assert there.billing.balance(sub) == 100
    assert there.look(sub).state == "active" and there.billing.can(sub, "tier:pro")
    told = there.billing.all(
        "select data ->> 'paid' as paid from events where customer_id = %(c)s"
        " and type = 'invoice.paid' order by seq", c=sub.customer_id)  # fmt: skip
    assert [row["paid"] for row in told] == ["2000", "1200"]
    assert there.parked() == []


def pay_back(there, sub, captured, amount=None):
    """Give so much, or all, of the payment back that brought `captured`; its refund."""
    (row,) = there.billing.all("select id from payments where captured_minor = %(n)s"
                               " and customer_id = %(c)s", n=captured, c=sub.customer_id)
    return refunds.request(there.env, refunds.WantRefund(
        customer_id=sub.customer_id, payment_id=row["id"], by="ann", force=True,
        amount=amount and Money(amount, "usd", minor=True), request_key=uuid4(),
        request_hash=b"by hand",
    ))  # fmt: skip


@pytest.mark.parametrize("is_told", [True, False])
def test_what_an_invoice_gives_hangs_on_a_payment_that_brought_money(there, is_told):
    # S1.50 I6: its own was declined, another paid a part, the rest was paid outside
    sub, open_ = unpaid(there, credits=100, grace_days=0)
    attach(there, sub, open_, 1200)
    if is_told:
        there.deliver()
    outside(there, open_)
    there.deliver()
    (row,) = there.billing.all("select p.captured_minor from invoices i join payments p"
                               " on p.customer_id = i.customer_id and p.id = i.payment_id"
                               " where i.cycle = 1")  # fmt: skip
    assert row == {"captured_minor": 1200}
    assert there.billing.balance(sub) == 100
    pay_back(there, sub, 1200)
    assert there.billing.balance(sub) == 0
    assert not there.billing.can(sub, "tier:pro")


@pytest.mark.parametrize(("first", "last"), [(1900, 100), (100, 1900)])
def test_each_payment_of_an_invoice_has_bought_its_part_of_what_it_gives(there, first, last):
    # S1.50 I6: credits by its money, and access with the last of it
    sub, open_ = unpaid(there, credits=100, grace_days=0)
    for amount in (1900, 100):
        attach(there, sub, open_, amount)
        there.deliver()
    pay_back(there, sub, first)
    assert there.billing.balance(sub) == 100 - first // 20
    assert there.billing.can(sub, "tier:pro")
    pay_back(there, sub, last)
    assert there.billing.balance(sub) == 0
    assert not there.billing.can(sub, "tier:pro")


def test_a_refund_that_fails_gives_back_what_the_last_one_shut(there):
    # S1.50 I6: then all went back is no more so; another try shuts it again
    sub, open_ = unpaid(there, credits=100, grace_days=0)
    for amount in (1900, 100):
        attach(there, sub, open_, amount)
        there.deliver()
    failing = pay_back(there, sub, 1900)
    pay_back(there, sub, 100)
    there.billing.sim.finish_refund(failing.provider_ref, "failed")
    refunds.refresh(there.env, sub.customer_id, failing.id, "poll")
    assert there.billing.balance(sub) == 95
    assert there.billing.can(sub, "tier:pro")
    pay_back(there, sub, 1900)
    assert there.billing.balance(sub) == 0
    assert not there.billing.can(sub, "tier:pro")


@pytest.mark.parametrize("is_told", [True, False])
def test_a_credit_note_there_takes_off_what_is_still_due(there, is_told):
    # S1.50: issued before the payment, it leaves less to pay; what is paid then settles all
    sub, open_ = unpaid(there)
    intent = next(one for one in there.sim.objects("payment_intent") if one["amount"] == 2000
                  and one["status"] == "requires_payment_method")  # fmt: skip
    own = next(one for one in there.sim.objects("invoice_payment")
               if one["invoice"] == open_["id"])  # fmt: skip
    there.sim.alter(intent["id"], amount=1500)
    there.sim.alter(own["id"], amount_requested=1500)
    there.sim.alter(open_["id"], event=True, amount_due=1500, amount_remaining=1500,
                    pre_payment_credit_notes_amount=500)  # fmt: skip
    if is_told:
        there.deliver()
        (row,) = there.billing.all("select due_minor, balance_minor, total_minor from invoices"
                                   " where state = 'open'")  # fmt: skip
        assert tuple(row.values()) == (1500, 500, 2000)
    there.billing.reissue(
        SimpleNamespace(ref=there.remote(sub)["default_payment_method"]), "visa"
    )
    there.sim.request("POST", f"/v1/invoices/{open_['id']}/pay")
    there.deliver()
    assert there.billing.invoices(sub)[-1] == (1, "paid", 2000, 1500)
    assert payments(there, sub)[1:] == [(1500, 1500, "succeeded")]
    assert there.billing.all("select review from payments where review is not null") == []
    assert there.billing.books(sub, "revenue") == 3500
    assert there.look(sub).state == "active" and there.billing.can(sub, "tier:pro")


def test_a_credit_note_that_takes_all_off_settles_the_invoice(there):
    # S1.50: nothing is left to pay, and nothing came
    sub, open_ = unpaid(there)
    there.sim.alter(open_["id"], event=True, amount_due=0, amount_remaining=0, amount_paid=0,
                    pre_payment_credit_notes_amount=2000, status="paid")  # fmt: skip
    there.deliver()
    assert there.billing.invoices(sub)[-1] == (1, "paid", 2000, 0)
    assert there.billing.books(sub, "revenue") == 2000
    assert "succeeded" not in there.billing.payments(sub)[1:]


def test_an_invoice_that_is_refused_leaves_no_stale_state(there):
    # I18: what became of the subscription is known, and the other invoices are laid down
    there.plan("pro")
    sub = there.begin(there.user())
    there.go_on(days=31, hours=2)
    broken = there.sim.objects("invoice")[-1]
    (own,) = [one for one in there.sim.objects("invoice_payment")
              if one["invoice"] == broken["id"]]  # fmt: skip
    other = there.billing.make.user()
    call = there.env.providers.call

    def as_there(name, method, *args):
        found = call(name, method, *args)
        if method == "fetch" and args[0] == own["payment"]["payment_intent"]:
            # Somebody's program gave the intent the name of another customer's payment.
            return replace(found, payment_id=str(new_owned(other.uuid)), customer_id=other.id)
        return found

    there.env.providers.call = as_there
    there.sim.request("DELETE", f"/v1/subscriptions/{there.look(sub).provider_ref}")
    there.deliver()
    assert (there.look(sub).state, there.look(sub).period) == ("canceled", 1)
    assert not there.billing.can(sub, "tier:pro")
    waiting = there.billing.all("select state from provider_events where state <> 'done'")
    assert waiting
    del there.env.providers.call
    assert there.parked() == []
    assert there.billing.invoices(sub)[-1] == (1, "paid", 2000, 2000)


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_charge_without_a_payment_intent_is_money_too(there, told, is_listed):
    # S1.17 C26: Stripe's older charges, named in the list of payments or not at all
    there.plan("pro", credits=100)
    parts = (RemotePayment(ref="ch_of_old", asked=2000, paid=2000, is_charge=True),)
    told(list_invoices=lambda found: [
        replace(one, payments=parts if is_listed else (), is_listed=is_listed)
        for one in found])  # fmt: skip
    sub = there.begin(there.user())
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000)]
    assert payments(there, sub) == [(2000, 2000, "succeeded")]
    (row,) = there.billing.all("select ref from provider_refs r join payments p on"
                               " r.object_id = p.id") or [{"ref": None}]  # fmt: skip
    assert row["ref"] == ("ch_of_old" if is_listed else None)
    assert there.billing.balance(sub) == 100


def test_an_invoice_whose_list_of_payments_is_empty_brought_no_money(there, told):
    # S1.50: a balance at Stripe paid it, whatever its sums say
    there.plan("pro")
    told(list_invoices=lambda found: [
        replace(one, payments=(), is_listed=True) for one in found])  # fmt: skip
    sub = there.begin(there.user())
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000)]
    assert payments(there, sub) == []
    assert there.billing.books(sub, "revenue") == 0
    assert there.billing.can(sub, "tier:pro")


def test_a_payment_of_more_than_its_part_is_looked_at_and_settles_it_all_the_same(there, told):
    # S1.50 I3: what is over is Stripe's to credit; here a person sees the difference
    there.plan("pro")
    told(list_invoices=lambda found: [
        replace(one, due=1500, paid=1500, payments=tuple(
            replace(part, asked=1500, paid=1500) for part in one.payments)) for one in found])
    sub = there.begin(there.user())
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 1500)]
    (row,) = there.billing.all("select asked_minor, captured_minor, review from payments")
    assert tuple(row.values()) == (1500, 2000, "overpaid")
    assert there.billing.can(sub, "tier:pro")


@pytest.mark.parametrize("is_outside", [True, False])
def test_what_is_unused_goes_back_through_each_payment(there, is_outside):
    # S1.21 S1.28: as much of each as is unused of the whole; what came elsewhere goes back there
    sub, open_ = unpaid(there)
    attach(there, sub, open_, 1200)
    if is_outside:
        outside(there, open_)
    else:
        attach(there, sub, open_, 800)
    there.deliver()
    sub = there.look(sub)
    left = (sub.period_end - there.env.now()) / (sub.period_end - sub.period_start)
    for _ in range(2):
        changes.cancel(there.env, sub.customer_id, sub.id, at="now", refund="unused")
    found = sorted(one["amount"] for one in there.sim.objects("refund"))
    wanted = [1200 * left] if is_outside else [800 * left, 1200 * left]
    assert len(found) == len(wanted)
    assert all(abs(one - other) < 2 for one, other in zip(found, wanted, strict=True))


def test_an_old_event_says_itself_that_an_invoice_was_paid_elsewhere(there):
    # S1.17 C26: before 2025-03-31; where Stripe has it no more, nothing else is left to ask
    _, open_ = unpaid(there)
    outside(there, open_)
    (paid,) = [one for one in there.waiting("2023-10-16") if one.type == "invoice.paid"]
    found = of_invoice(paid.event["data"]["object"])
    assert (found.is_outside, found.state, found.paid) == (True, "paid", 2000)
    assert news._claimed(found) == {}
