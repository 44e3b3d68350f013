"""Changes and first charges that a bank asks its holder about: finished on the bank's page, failed
there, left alone, or taken back; and what is left where the process dies in between."""

from __future__ import annotations

import pytest
from test_subscription_changes import ASKS_THE_BANK, half_way

from paydesk import crash, ids
from paydesk.crash import CrashNow
from paydesk.errors import OutcomeUnknown, PaymentInFlight
from paydesk.flows import direct, payments, subscription_pending, subscriptions
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import USD

BACK = "https://app.example/plan"


@pytest.fixture
def asked(billing):
    """A change to `team` for 15.00 that the bank wants confirmed: (customer, as it answered)."""
    who, sub = half_way(billing, credits=100)
    billing.plan("team", upgrade="seconds", downgrade="seconds", most_quantity=10,
                 price=USD("50.00"), credits=200)  # fmt: skip
    billing.card(who, ASKS_THE_BANK)
    return who, changes.change(billing.env, who.uuid, sub.id, plan="team", return_url=BACK)


def stands(billing, sub):
    """(plan, what waits, payments, the newest invoice's state)."""
    one = billing.look(sub)
    return one.plan_key, one.next, billing.payments(sub)[-1], billing.invoices(sub)[-1][1]


def nothing_changed(billing, who, sub) -> None:
    assert stands(billing, sub)[0::3] == ("pro", "void")
    one = billing.look(sub)
    assert (one.next, one.payment, one.action_url) == (None, None, None)
    assert billing.balance(who) == 100, "credits that were taken for it are back"
    assert billing.books(who, "revenue") == 2000
    assert billing.sim.get(intent_of(billing, sub))["status"] == "canceled"


def intent_of(billing, sub) -> str:
    return billing.all(
        "select provider_payment_ref as ref from payments where customer_id = %(c)s"
        " order by created_at desc, id desc limit 1", c=sub.customer_id,
    )[0]["ref"]  # fmt: skip


# S1.29 S1.44
def test_a_change_tells_the_payment_that_it_waits_for_and_where_to_confirm_it(billing, asked):
    who, sub = asked
    assert (sub.plan_key, sub.state, sub.next["plan"]) == ("pro", "active", "team")
    assert sub.payment.state == "requires_action"
    assert sub.url == sub.action_url == sub.payment.action_url
    assert "/3d_secure/" in sub.action_url
    assert billing.sim.get(sub.payment.payment_ref)["next_action"]["redirect_to_url"][
        "return_url"] == BACK  # fmt: skip
    (listed,) = subscriptions.list_(billing.env, who.uuid)
    assert listed.payment.id == subscriptions.current(billing.env, who.uuid).payment.id
    assert listed.payment.id == sub.payment.id


# S1.29 S1.44
def test_the_new_plan_runs_once_the_bank_is_content(billing, asked):
    who, sub = asked
    billing.sim.authenticate(sub.payment.payment_ref)
    direct.confirm(billing.env, who.uuid, sub.payment.id)
    assert stands(billing, sub) == ("team", None, "succeeded", "paid")
    after = billing.look(sub)
    assert (after.payment, after.url) == (None, None)
    assert billing.books(who, "revenue") == 2000 + sub.payment.amount.minor


# S1.29 S1.44
def test_where_the_holder_is_not_recognized_nothing_changes_and_another_try_may(billing, asked):
    who, sub = asked
    billing.sim.authenticate(sub.payment.payment_ref, succeed=False)
    direct.confirm(billing.env, who.uuid, sub.payment.id)
    assert stands(billing, sub)[:3] == ("pro", None, "failed")
    billing.recover(rounds=14)
    nothing_changed(billing, who, sub)
    again = changes.change(billing.env, who.uuid, sub.id, plan="team")
    assert again.payment.state == "requires_action"
    assert again.payment.id != sub.payment.id


def test_a_page_that_nobody_finishes_ends_by_itself(billing, asked):  # I18
    who, sub = asked
    billing.clock.advance(hours=2)
    billing.recover(rounds=3)
    nothing_changed(billing, who, sub)


# S1.44
@pytest.mark.parametrize("way", ["drop", "plan", "seats", "both"])
def test_a_change_that_waits_for_the_bank_is_taken_back(billing, asked, way):
    who, sub = asked
    told = {"plan": {"plan": "pro"}, "seats": {"quantity": 1},
            "both": {"plan": "pro", "quantity": 1}}  # fmt: skip
    for _ in range(1 if way != "drop" else 2):
        if way == "drop":
            after = subscription_pending.drop(billing.env, who.uuid, sub.id)
        else:
            after = changes.change(billing.env, who.uuid, sub.id, **told[way])
    assert (after.plan_key, after.next) == ("pro", None)
    nothing_changed(billing, who, sub)
    billing.sim.authenticate(intent_of(billing, sub))
    billing.recover(rounds=3)
    nothing_changed(billing, who, sub)
    dear = changes.change(billing.env, who.uuid, sub.id, quantity=2)
    assert dear.next["quantity"] == 2, "something else may be chosen"


# S1.44
def test_while_one_waits_no_other_change_is_begun(billing, asked):
    who, sub = asked
    with pytest.raises(PaymentInFlight) as refused:
        changes.change(billing.env, who.uuid, sub.id, quantity=3)
    assert refused.value.invoice == ids.show("invoice", sub.latest_invoice_id)
    assert billing.look(sub).payment.id == sub.payment.id


# S1.44 I28
def test_money_that_came_first_keeps_the_change(billing, asked):
    """The holder confirmed it in the very moment in which it was taken back."""
    who, sub = asked
    billing.sim.authenticate(sub.payment.payment_ref)
    after = subscription_pending.drop(billing.env, who.uuid, sub.id)
    assert (after.plan_key, after.next) == ("team", None)
    assert stands(billing, sub) == ("team", None, "succeeded", "paid")
    assert billing.books(who, "balance") == 0
    again = subscription_pending.drop(billing.env, who.uuid, sub.id)
    assert again.plan_key == "team"


def test_money_on_its_way_cannot_be_stopped(billing, asked, monkeypatch):
    who, sub = asked
    real = type(billing.env.providers).call

    def call(self, name, op, *args, **more):
        if op == "void":
            from paydesk.errors import ProviderRefused

            raise ProviderRefused("It is being processed.")
        return real(self, name, op, *args, **more)

    monkeypatch.setattr(type(billing.env.providers), "call", call)
    with pytest.raises(PaymentInFlight):
        subscription_pending.drop(billing.env, who.uuid, sub.id)
    assert stands(billing, sub)[0] == "pro"
    assert billing.look(sub).next["plan"] == "team"


# I26 I28
@pytest.mark.parametrize("point", ["drop_before_commit", "drop_after_commit",
                                   "apply_after_fetch", "apply_before_commit",
                                   "apply_after_commit"])  # fmt: skip
def test_a_death_while_it_is_taken_back_is_made_up_for_by_the_sweeps(billing, asked, point):
    who, sub = asked
    crash.arm(point)
    with pytest.raises(CrashNow):
        subscription_pending.drop(billing.env, who.uuid, sub.id)
    rounds = 14 if point == "drop_before_commit" else 5
    billing.recover(rounds=rounds)
    if point == "drop_before_commit":
        billing.clock.advance(hours=1)
        billing.recover(rounds=3)
    nothing_changed(billing, who, sub)


@pytest.mark.parametrize("ends", ["paid", "left"])
@pytest.mark.parametrize("point", [
    "change_before_commit", "change_after_commit", "before_provider_call", "after_provider_call",
    "call_before_done_commit", "call_after_done",
])  # fmt: skip
def test_a_death_while_the_bank_is_asked_leaves_one_charge_or_none(billing, point, ends):
    # I26 I28
    who, sub = half_way(billing, credits=100)
    billing.card(who, ASKS_THE_BANK)
    key = ids.request_key("app", "change")
    crash.arm(point)
    with pytest.raises(CrashNow):
        changes.change(billing.env, who.uuid, sub.id, plan="team", request_key=key)
    if ends == "left":
        billing.recover(rounds=14)
        billing.clock.advance(hours=1)
        billing.recover(rounds=3)
        assert (billing.look(sub).plan_key, billing.look(sub).next) == ("pro", None)
        assert billing.balance(who) == 100
        states = {one["status"] for one in billing.sim.objects("payment_intent")}
        assert states <= {"succeeded", "canceled"}
        assert billing.books(who, "revenue") == 2000
        return
    billing.recover(rounds=1, minutes=3)
    after = changes.change(billing.env, who.uuid, sub.id, plan="team", request_key=key)
    assert after.payment.state == "requires_action"
    billing.sim.authenticate(after.payment.payment_ref)
    direct.confirm(billing.env, who.uuid, after.payment.id)
    assert stands(billing, sub) == ("team", None, "succeeded", "paid")
    assert len(billing.sim.objects("payment_intent")) == 2


def test_a_scheduled_change_is_taken_back_too(billing):
    who, sub = half_way(billing)
    changes.change(billing.env, who.uuid, sub.id, plan="team", at="period_end")
    after = subscription_pending.drop(billing.env, who.uuid, sub.id)
    assert after.next is None
    told = billing.events(sub)
    assert told[-1] == "updated"
    assert subscription_pending.drop(billing.env, who.uuid, sub.id).version == after.version
    assert billing.events(sub) == told, "nothing waits any more"


def test_one_that_had_waited_before_waits_again(billing, asked):
    who, sub = asked
    subscription_pending.drop(billing.env, who.uuid, sub.id)
    changes.change(billing.env, who.uuid, sub.id, quantity=4, at="period_end")
    changes.change(billing.env, who.uuid, sub.id, plan="team")
    after = subscription_pending.drop(billing.env, who.uuid, sub.id)
    assert after.next["quantity"] == 4


def test_a_provider_that_is_away_leaves_it_to_the_sweep(billing, asked):
    who, sub = asked
    billing.sim.fault("500", path="*", times=9)
    with pytest.raises(OutcomeUnknown):
        subscription_pending.drop(billing.env, who.uuid, sub.id)
    billing.sim.config(faults=[])
    billing.recover(rounds=5)
    nothing_changed(billing, who, sub)


# S1.28
def test_canceling_at_once_ends_the_payment_that_a_change_waits_for(billing, asked):
    who, sub = asked
    done = changes.cancel(billing.env, who.uuid, sub.id, at="now")
    assert (done.state, done.plan_key, done.next) == ("canceled", "pro", None)
    assert billing.sim.get(intent_of(billing, sub))["status"] == "canceled"
    assert billing.invoices(sub)[-1][1] == "void"


# S1.27
def test_a_first_charge_that_the_bank_asks_about_tells_where(billing):
    billing.plan()
    who = billing.user(ASKS_THE_BANK)
    sub = subscriptions.start(billing.env, subscriptions.NewSubscription(
        customer_id=who.uuid, plan="pro", success_url=BACK))  # fmt: skip
    assert (sub.state, sub.payment.state) == ("incomplete", "requires_action")
    assert "/3d_secure/" in sub.url
    billing.sim.authenticate(sub.payment.payment_ref)
    direct.confirm(billing.env, who.uuid, sub.payment.id)
    after = billing.look(sub)
    assert (after.state, after.url, after.payment) == ("active", None, None)
    assert payments.get(billing.env, who.uuid, sub.payment.id).paid


def test_what_the_provider_runs_has_no_change_that_waits_here(billing):
    billing.plan()
    sub = billing.subscribe(billing.user(), runner="provider", success_url=BACK)
    after = subscription_pending.drop(billing.env, sub.customer_id, sub.id)
    assert (after.state, after.plan_key, after.next) == ("incomplete", "pro", None)
