"""What is unused of a period that a provider billed: how much goes back, and what goes with it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from uuid import uuid4

import pytest
from provider_run import There
from test_provider_billing_payments import attach, pay_back, unpaid

from paydesk.errors import NotRefundable
from paydesk.flows import credit_notes, credits, invoices, refunds
from paydesk.flows import subscription_changes as changes
from paydesk.flows.credit_notes import NewNote
from paydesk.rules.money import USD, Money


@pytest.fixture
def there(billing) -> There:
    return There(billing)


def left_of(there, sub) -> float:
    """The part of the running period that is left."""
    return (sub.period_end - there.env.now()) / (sub.period_end - sub.period_start)


def give_up(there, sub) -> list[int]:
    """Cancel now; what goes back, the least first."""
    changes.cancel(there.env, sub.customer_id, sub.id, at="now", refund="unused")
    return sorted(one["amount"] for one in there.sim.objects("refund"))


def with_fee(there, **fee):
    """A renewal that bills 200.00 more, for something that is no plan."""
    who = there.user()
    sub = there.begin(who)
    there.sim.request("POST", "/v1/invoiceitems", {
        "customer": there.ref(who), "amount": 20000, "currency": "usd", **fee})  # fmt: skip
    there.months()
    return there.look(sub)


# S1.21 S1.28
def test_of_several_lines_only_the_plans_is_unused(there):
    there.plan("pro")
    sub = with_fee(there, description="Fitting")
    assert there.billing.invoices(sub)[-1] == (1, "paid", 22000, 22000)
    (back,) = give_up(there, sub)
    assert abs(back - 2000 * left_of(there, sub)) < 2


# S1.21 S1.28
def test_the_taxes_on_top_go_back_with_the_line_that_they_are_on(there):
    there.plan("pro")
    call = there.env.providers.call

    def taxed(name, method, *args, **more):
        found = call(name, method, *args, **more)
        return found if method != "list_invoices" else [replace(
            one, subtotal=1600, tax=400, taxes=((400, False, "25"),),
            lines=tuple(replace(line, amount_minor=1600) for line in one.lines),
        ) for one in found]  # fmt: skip

    there.env.providers.call = taxed
    sub = there.begin(there.user())
    there.go_on(days=10)
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000)]
    (back,) = give_up(there, sub)
    assert abs(back - 2000 * left_of(there, sub)) < 2


# S1.28 I13
def test_what_is_unused_goes_back_as_far_as_cards_carry_it(there):
    """24.390 KWD; of 18.699 that are unused cards take back 18.69."""
    there.plan("pro", price=Money(24390, "kwd", minor=True))
    sub = there.begin(there.user())
    there.go_on(days=7)
    sub = there.look(sub)
    (back,) = give_up(there, sub)
    assert back % 10 == 0
    assert 0 <= 24390 * left_of(there, sub) - back < 11
    assert there.look(sub).state == "canceled"


# S1.28 S4.25 I6
@pytest.mark.parametrize("policy", ["debt", "clamp", "block"])
@pytest.mark.parametrize("each", [100, 0])
def test_no_credits_of_months_gone_by_are_asked_for_the_months_to_come(there, policy, each):
    """Of 1,200 credits seven months were given; what is spent of them is not asked again."""
    billing = there.billing
    billing.env = replace(
        billing.env, settings=replace(billing.env.settings, clawback_policy=policy)
    )
    there.plan("pro", price=USD("120.00"), interval="year", credits=100)
    who = there.user()
    sub = there.begin(who)
    for _ in range(6):
        if each:
            credits.spend_now(billing.env, credits.new_spend(who.uuid, each, reason="work"))
        billing.until(there.look(sub).due_at)
    there.sim.advance_clock(there.clock_id, int(there.env.now().timestamp()))
    there.deliver()
    assert billing.balance(who) == 100, "what is not spent ends with its month"
    for _ in range(2):
        assert give_up(there, there.look(sub)) == [6000]
    found = billing.all("select taken, owed, forgiven from clawbacks where goods = 'credits'")
    assert [tuple(row.values()) for row in found] == [(100, 0, 0)]
    assert billing.balance(who) == 0
    assert there.look(sub).state == "canceled"


def refused(env, tx, now, want):
    raise NotRefundable("Not now.")


# S1.21 S1.28 I3
@pytest.mark.parametrize("is_paid_back", [True, False])
def test_a_part_that_was_refused_goes_back_with_a_repeat(there, monkeypatch, is_paid_back):
    """Whatever went back of the other part, before or with the cancellation."""
    sub, open_ = unpaid(there, credits=100)
    for amount in (1200, 800):
        attach(there, sub, open_, amount)
        there.deliver()
    sub = there.look(sub)
    ask = refunds._ask

    def of_one(env, tx, now, want):
        return (refused if want.amount.minor < 800 else ask)(env, tx, now, want)

    left = left_of(there, sub)
    with monkeypatch.context() as patch:
        patch.setattr(refunds, "_ask", of_one)
        with pytest.raises(NotRefundable):
            give_up(there, sub)
    if is_paid_back:
        rest = 1200 - there.sim.objects("refund")[0]["amount"]
        pay_back(there, sub, 1200, rest)
    found = give_up(there, sub)
    assert any(abs(one - 800 * left) < 2 for one in found)
    assert there.look(sub).state == "canceled"
    assert give_up(there, sub) == found


# S1.21 S1.28
def test_a_part_that_went_back_by_hand_meanwhile_is_not_asked_for_again(there, monkeypatch):
    there.plan("pro")
    sub = there.begin(there.user())
    there.go_on(days=10)
    with monkeypatch.context() as patch:
        patch.setattr(refunds, "_ask", refused)
        with pytest.raises(NotRefundable):
            give_up(there, sub)
    pay_back(there, sub, 2000)
    assert give_up(there, sub) == [2000]


# S1.21 S1.28
@pytest.mark.parametrize("captured", [12000, 10000])
def test_what_went_back_of_any_part_before_is_not_unused_too(there, captured):
    """Of 20.00 and a fee of 200.00, fifteen were given back by hand: five are left."""
    there.plan("pro")
    who = there.user()
    sub = there.begin(who)
    method = SimpleNamespace(ref=there.remote(sub)["default_payment_method"])
    there.billing.reissue(method, "chargeCustomerFail")
    there.sim.request("POST", "/v1/invoiceitems", {
        "customer": there.ref(who), "amount": 20000, "currency": "usd"})  # fmt: skip
    there.months()
    (open_,) = [one for one in there.sim.objects("invoice") if one["status"] == "open"]
    for amount in (12000, 10000):
        attach(there, sub, open_, amount)
        there.deliver()
    pay_back(there, sub, captured, 1500)
    assert sum(give_up(there, sub)) == 2000


def note_of(there, sub, kind: str, amount: int, **more):
    """A credit note of so much of a line of the newest invoice."""
    bill = invoices.get(there.env, sub.customer_id, there.look(sub).latest_invoice_id)
    [line] = [one for one in bill.items if one.kind == kind]
    return credit_notes.create(there.env, NewNote(
        customer_id=sub.customer_id, invoice_id=bill.id, items=[(line.id, amount)], by="desk",
        request_key=uuid4(), **more,
    ))  # fmt: skip


# S1.21 S1.28
@pytest.mark.parametrize(("kind", "amount", "plan"), [
    ("one_off", 20000, 2000), ("one_off", 15000, 2000), ("recurring", 1500, 500),
    ("one_off", 21500, 500),
])  # fmt: skip
def test_a_note_about_a_line_leaves_the_others_as_they_are(there, kind, amount, plan):
    there.plan("pro")
    sub = with_fee(there, description="Fitting")
    note = note_of(there, sub, kind, amount)
    assert note.refunded.minor == amount
    back = give_up(there, sub)
    back.remove(amount)
    assert abs(sum(back) - min(plan, 2000 * left_of(there, sub))) < 2
