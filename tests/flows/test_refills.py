"""Refills: a balance that fell below is filled once, whoever looks, dies or looks again."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from purchase import Desk

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.errors import InvalidRequest, NotFound, PaydeskError, PaymentMethodNotUsable
from paydesk.flows import (
    clocks,
    credits,
    customers,
    methods,
    notifications,
    payments,
    promos,
    refill_steps,
    refills,
)
from paydesk.flows import wallets as wallet_flow
from paydesk.flows.credits import new_spend, raise_for, spend_now
from paydesk.flows.methods import AddMethod
from paydesk.flows.refills import SetRefill
from paydesk.rules.money import USD
from paydesk.worker import Worker

CARD = "pm_card_visa"
#: Saved without complaint, declined whenever it is charged.
DECLINES = "pm_card_chargeCustomerFail"
MORNING = datetime(2027, 1, 10, 9, tzinfo=UTC)
SWEEPS = ("publisher", "provider_calls", "inbox", "fulfillment", "sessions", "refills")


class Refilling(Desk):
    """A desk whose customers have refills."""

    def user(self, card: str | None = CARD):
        who = self.make.user()
        if card is not None:
            self.card(who, card)
        return who

    def card(self, who, token=CARD):
        return methods.add(
            self.env, AddMethod(customer_id=who.uuid, token=token, make_default=True)
        )

    def set(self, who, **more):
        told = {"threshold": 50, **more}
        if not {"pack", "credits", "wallet"} & told.keys():
            told["pack"] = "creator"
        return refills.set_(self.env, SetRefill(customer_id=who.uuid, **told))

    def look(self, one):
        return refills.get(self.env, None, one.id)

    def spend(self, who, amount):
        raise_for(spend_now(self.env, new_spend(who.uuid, amount, reason="render")))

    def credits(self, who):
        with self.env.db.read() as tx:
            return credits.balance_total(tx, who.uuid, self.env.now())

    def round(self, **time):
        if time:
            self.clock.advance(**time)
        self.sweep(*SWEEPS)

    def heal(self, rounds=8):
        for _ in range(rounds):
            self.clock.advance(minutes=4)
            for name in SWEEPS:
                with contextlib.suppress(PaydeskError, CrashNow):
                    Worker(self.env).run_once(name)

    def payments(self, who):
        rows = self.all(
            "select state from payments where customer_id = %(c)s order by created_at, id",
            c=who.uuid,
        )
        return [row["state"] for row in rows]

    def told(self, who):
        rows = self.all(
            "select type from events where customer_id = %(c)s and type like 'refill.%%'"
            " order by seq", c=who.uuid,
        )
        return [row["type"].removeprefix("refill.") for row in rows]


@pytest.fixture
def refilling(env, sim, make, clock):
    make.pack()
    yield Refilling(env, sim, make, clock)
    crash.disarm()


# S3.21!
def test_credits_below_the_threshold_are_filled_with_the_pack(refilling):
    who = refilling.user()
    one = refilling.set(who)
    refilling.round()
    bought = refilling.credits(who)
    assert bought >= 50
    assert refilling.payments(who) == ["succeeded"]
    assert refilling.told(who) == ["set", "succeeded"]
    refilling.round()
    assert refilling.payments(who) == ["succeeded"], "there is enough"
    refilling.spend(who, bought - 49)
    refilling.round()
    assert refilling.credits(who) == bought + 49
    assert refilling.look(one).number == 2
    payment = refilling.all("select payable, method_id, metadata from payments limit 1")[0]
    assert payment["payable"] == "refill:credits"
    assert payment["method_id"] is not None


# S3.21
def test_a_wallet_is_filled_until_it_reaches_the_threshold(refilling):
    who = refilling.user()
    one = refilling.set(who, wallet=USD("10.00"), threshold=USD("25.00"))
    refilling.round()
    with refilling.env.db.read() as tx:
        assert wallet_flow.balance(tx, who.uuid, "usd") == USD("30.00")
    assert refilling.payments(who) == ["succeeded"] * 3
    assert (one.what, refilling.look(one).number) == ("wallet:usd", 3)


def test_credits_and_each_wallet_have_a_refill_of_their_own(refilling):
    who = refilling.user()
    first = refilling.set(who)
    again = refilling.set(who, credits=80, threshold=60)
    wallet = refilling.set(who, wallet=USD("10.00"), threshold=USD("5.00"))
    assert again.id == first.id and (again.pack, again.credits, again.threshold) == (None, 80, 60)
    assert wallet.id != first.id
    found = refills.list_(refilling.env, who.uuid)
    assert {one.what for one in found} == {"credits", "wallet:usd"}
    other = refilling.make.user()
    with pytest.raises(NotFound):
        refills.off(refilling.env, other.uuid, first.id)


def test_nothing_is_asked_of_who_spends_and_nobody_is_looked_at_for_nothing(refilling):
    who = refilling.user()
    refilling.make.credits(who, 500)
    one = refilling.set(who)
    refilling.round()

    def woken():
        return refilling.all("select woken from refills where customer_id = %(c)s", c=who.uuid)

    assert woken() == [{"woken": False}]
    refilling.spend(who, 10)
    assert woken() == [{"woken": False}], "a spend touches no refill"
    refilling.sweep("publisher")
    assert woken() == [{"woken": True}]
    assert Worker(refilling.env).run_once("refills") == {"refills": 0}
    assert woken() == [{"woken": False}]
    assert refilling.look(one).number == 0


def test_what_was_not_heard_of_is_found_by_looking_now_and_then(refilling):
    who = refilling.user()
    refilling.make.credits(who, 60)
    refilling.set(who)
    refilling.round()
    refilling.spend(who, 20)
    refilling.sweep("refills")
    assert refilling.payments(who) == []
    refilling.clock.advance(hours=7)
    refilling.sweep("refills")
    assert refilling.payments(who) == ["succeeded"]


# S3.21 I8
def test_sixteen_at_once_charge_once(refilling):
    who = refilling.user()
    one = refilling.set(who)
    with ThreadPoolExecutor(16) as pool:
        tries = [
            pool.submit(refill_steps.run_one, refilling.env, who.uuid, one.id) for _ in range(16)
        ]
    for done in tries:
        with contextlib.suppress(PaydeskError):
            done.result()
    refilling.heal(rounds=3)
    assert refilling.payments(who) == ["succeeded"]
    assert len(refilling.sim.objects("payment_intent")) == 1
    assert refilling.look(one).number == 1
    assert refilling.told(who) == ["set", "succeeded"]


POINTS = ("refill_after_look", "refill_before_commit", "checkout_before_intend_commit",
          "checkout_after_intend", "before_provider_call", "after_provider_call",
          "call_before_done_commit", "fulfil_before_goods", "fulfil_after_goods",
          "call_after_done", "publish_before_commit", "publish_after_commit")  # fmt: skip


# S3.21 I1 I8
@pytest.mark.parametrize("point", POINTS)
def test_whoever_dies_while_refilling_charges_once(refilling, point):
    who = refilling.user()
    one = refilling.set(who)
    crash.arm(point)
    for name in SWEEPS:
        with contextlib.suppress(PaydeskError, CrashNow):
            Worker(refilling.env).run_once(name)
    crash.disarm()
    refilling.heal()
    assert refilling.payments(who) == ["succeeded"]
    assert refilling.told(who) == ["set", "succeeded"]
    assert refilling.look(one).number == 1 and refilling.look(one).payment_id is None


# S3.21
def test_counts_of_a_day_and_a_month_are_limits(refilling):
    refilling.clock.set(MORNING)
    who = refilling.user()
    one = refilling.set(who, threshold=10_000, day_count=2, month_count=3)
    refilling.round()
    assert len(refilling.payments(who)) == 2
    refilling.round(hours=2)
    assert len(refilling.payments(who)) == 2
    refilling.round(days=1)
    assert len(refilling.payments(who)) == 3
    refilling.round(days=1)
    assert len(refilling.payments(who)) == 3, "the month has three"
    refilling.round(days=31)
    assert len(refilling.payments(who)) == 5
    assert refilling.look(one).state == "active"


# S3.21
def test_money_of_a_day_is_a_limit(refilling):
    refilling.clock.set(MORNING)
    who = refilling.user()
    refilling.set(who, wallet=USD("10.00"), threshold=USD("500.00"), day_count=50,
                  day_amount=USD("35.00"))  # fmt: skip
    refilling.round()
    refilling.round(minutes=10)
    assert len(refilling.payments(who)) == 3
    refilling.round(days=1)
    assert len(refilling.payments(who)) == 6


# S3.21
def test_a_card_that_is_declined_is_tried_again_then_refills_pause_until_set_again(refilling):
    who = refilling.user(DECLINES)
    one = refilling.set(who)
    refilling.round()
    assert refilling.payments(who) == ["failed"]
    refilling.round(minutes=30)
    assert refilling.payments(who) == ["failed"], "not before its time"
    refilling.round(hours=1)
    refilling.round(hours=7)
    assert refilling.payments(who) == ["failed"] * 3
    found = refilling.look(one)
    assert (found.state, found.pause_reason, found.failures) == ("paused", "failures", 3)
    refilling.round(days=3)
    assert refilling.payments(who) == ["failed"] * 3
    assert refilling.told(who) == ["set", *["failed"] * 3, "paused"]
    refilling.card(who)
    refilling.round()
    assert refilling.look(one).state == "paused", "a new card alone does not undo that"
    refilling.set(who)
    refilling.round()
    assert refilling.payments(who)[-1] == "succeeded"
    assert refilling.look(one).failures == 0


# S3.21
@pytest.mark.parametrize("named", [False, True])
def test_where_the_card_is_gone_a_new_one_is_waited_for(refilling, named):
    who = refilling.user()
    card = methods.list_(refilling.env, who.uuid)[0]
    one = refilling.set(who, method=card.id if named else None)
    methods.remove(refilling.env, who.uuid, card.id)
    refilling.round()
    found = refilling.look(one)
    assert (found.state, found.pause_reason) == ("paused", "payment_method")
    assert refilling.payments(who) == []
    refilling.round(days=2)
    assert refilling.told(who) == ["set", "failed", "paused"]
    refilling.card(who, "pm_card_mastercard")
    refilling.round()
    assert refilling.payments(who) == ["succeeded"]
    assert refilling.look(one).state == "active"


def test_off_charges_nothing_more_and_set_begins_again_with_new_payments(refilling):
    who = refilling.user()
    one = refilling.set(who)
    refilling.round()
    for _ in range(2):
        assert refills.off(refilling.env, who.uuid, one.id).state == "off"
    refilling.spend(who, refilling.credits(who))
    refilling.round(days=1)
    assert len(refilling.payments(who)) == 1
    refilling.set(who)
    refilling.round()
    assert len(refilling.payments(who)) == 2
    assert refilling.told(who) == ["set", "succeeded", "off", "set", "succeeded"]


# S3.21
def test_what_cannot_be_filled_so_is_refused_when_it_is_set(refilling):
    who = refilling.user()
    for told in [
        {"pack": None}, {"credits": 80}, {"threshold": 0}, {"threshold": USD("5.00")},
        {"pack": None, "wallet": USD("10.00")}, {"day_count": 0}, {"pause_after": 11},
        {"day_amount": USD("0.50")}, {"threshold": True},
    ]:  # fmt: skip
        with pytest.raises(InvalidRequest):
            refills.set_(refilling.env, SetRefill(
                **{"customer_id": who.uuid, "pack": "creator", "threshold": 50, **told}
            ))  # fmt: skip
    with pytest.raises(NotFound):
        refilling.set(who, pack="no-such-pack")
    with pytest.raises(PaymentMethodNotUsable):
        refilling.set(refilling.user(card=None))
    assert refills.list_(refilling.env) == []


def test_a_pack_that_is_sold_no_more_pauses_after_its_tries(refilling):
    who = refilling.user()
    one = refilling.set(who, pause_after=1)
    refilling.make.pack(active=False)
    refilling.round()
    found = refilling.look(one)
    assert (found.state, found.error_code, refilling.payments(who)) == ("paused", "not_found", [])


# S3.21 I25
def test_a_clock_refills_its_customers_at_its_own_time(refilling):
    mine = clocks.create(refilling.env, name="mine")
    who = customers.ensure(refilling.env, "clocked", clock=mine.uuid)
    refilling.card(who)
    one = refilling.set(who, threshold=10, day_count=1)
    refilling.round()
    assert refilling.payments(who) == [], "the ordinary sweep passes over"
    clocks.advance(refilling.env, mine, by=timedelta(hours=1))
    assert refilling.payments(who) == ["succeeded"]
    bought = refilling.credits(who)
    clocks.advance(refilling.env, mine, by=timedelta(days=1))
    refilling.spend(who, bought)
    clocks.advance(refilling.env, mine, by=timedelta(minutes=1))
    assert len(refilling.payments(who)) == 2
    at = refilling.look(one).last_at
    assert at is not None and at > refilling.clock.now() + timedelta(hours=20)


def test_a_paused_refill_tells_its_customer(refilling):
    told = replace(refilling.env.settings, notifications_off="receipt,payment_failed")
    refilling.env = replace(refilling.env, settings=told)
    refilling.sweep("outgoing_feed")
    who = refilling.make.user(email="maya@northwind.example", metadata={"locale": "fr"})
    card = refilling.card(who)
    refilling.set(who)
    methods.remove(refilling.env, who.uuid, card.id)
    refilling.round()
    refilling.sweep("publisher", "outgoing_feed", "notifications")
    mails = [n for n in notifications.list_(refilling.env) if n.customer_id == who.uuid]
    assert [(n.kind, n.state, n.locale) for n in mails] == [("refill_paused", "kept", "fr")]
    shown = notifications.rendered(refilling.env, mails[0])
    assert "recharge" in shown.subject and "ajoutez un autre" in shown.text
    assert payments.list_(refilling.env, who.uuid) == []


def test_a_code_that_was_applied_waits_for_what_the_customer_buys_himself(refilling):
    """S3.21 S4.41: a refill costs its full price and leaves the code where it was."""
    refilling.make.promo("WELCOME10", percent_off=10)
    who = refilling.user()
    promos.apply(refilling.env, "WELCOME10", who, pack="creator")
    refilling.set(who)
    refilling.round()
    assert refilling.payments(who) == ["succeeded"]
    paid = refilling.all("select asked_minor from payments where customer_id = %(c)s", c=who.uuid)
    assert paid == [{"asked_minor": 999}]
    assert refilling.open(who).payment.amount == USD("8.99")
