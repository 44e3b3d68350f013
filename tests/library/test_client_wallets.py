"""The library's front for wallets, rates and holds, as its documentation shows it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from paydesk import HTG, USD, InsufficientCredits, InsufficientFunds, Paydesk
from paydesk.errors import ApprovalRequired, HoldClosed, InvalidRequest


class Boom(Exception):
    """What an application's own code raises."""


@pytest.fixture
def funded(pay, sim):
    """A customer with HTG 100.00 in a wallet, by a checkout that was paid."""
    session = pay.checkout("maya", amount=HTG("100"))
    assert session.total == HTG("100")
    from paydesk.flows import checkout
    from paydesk.flows.checkout import StartCheckout

    owner = pay.customers.get("maya").uuid
    view = checkout.start(pay.env, StartCheckout(customer_id=owner, wallet=HTG("100")))
    sim.pay(view.payment.session_ref)
    assert pay.verify(view.id).payment.paid
    return pay


def chat(pay, user_id, tokens):
    """The example of the documentation, with a model that says what it used."""
    with pay.hold(user_id, up_to=50, reason="chat") as hold:  # reserve now, pay for what was used
        hold.capture(tokens // 100)  # the rest is released; an exception releases all of it
    return hold


def test_a_hold_pays_for_what_was_used(pay):  # I8
    pay.credits.grant("user_1", 70)
    hold = chat(pay, "user_1", 3_700)
    assert (hold.captured, hold.status) == (37, "captured")
    assert pay.credits.balance("user_1") == 33
    with pytest.raises(InsufficientCredits):
        pay.hold("user_1", up_to=34)


def test_a_hold_is_used_part_by_part_and_the_rest_comes_back(pay):  # I8
    pay.credits.grant("maya", 50, key="gift")
    before = pay.credits.balance("maya")
    with pytest.raises(RuntimeError), pay.hold("maya", up_to=20) as hold:
        hold.capture(3, final=False).capture(4, final=False)
        assert (hold.captured, hold.left, hold.status) == (7, 13, "open")
        raise RuntimeError("the model is gone")
    assert (hold.captured, hold.left, hold.status) == (7, 0, "released")
    assert pay.credits.balance("maya") == before - 7


def test_an_exception_and_a_forgotten_capture_release_all(pay):  # I8
    pay.credits.grant("user_1", 70)
    with pytest.raises(Boom), pay.hold("user_1", up_to=50):
        raise Boom
    assert pay.credits.balance("user_1") == 70
    with pay.hold("user_1", up_to=50) as hold:
        assert pay.credits.balance("user_1") == 20
    assert (hold.status, pay.credits.balance("user_1")) == ("released", 70)
    with pytest.raises(InvalidRequest), pay.hold("user_1", up_to=50) as hold:
        hold.capture(51)
    assert pay.credits.balance("user_1") == 70


def test_a_block_that_outlives_its_hold_ends_quietly(pay, clock):  # I8
    pay.credits.grant("user_1", 70)
    with pay.hold("user_1", up_to=50, minutes=5) as hold:
        clock.advance(minutes=5)
        with pytest.raises(HoldClosed):
            hold.capture(1)
    assert (hold.status, pay.credits.balance("user_1")) == ("expired", 70)


def test_a_hold_may_be_ended_by_another_process(pay):
    pay.credits.grant("user_1", 70)
    begun = pay.hold("user_1", up_to=50, key="job-1")
    assert pay.hold("user_1", up_to=50, key="job-1").id == begun.id
    assert pay.holds.get(begun.id).state == "open"
    assert pay.holds.capture(begun.id, 20, key="end-1").captured == 20
    assert pay.holds.capture(begun.id, 20, key="end-1").captured == 20
    with pytest.raises(HoldClosed):
        pay.holds.release(begun.id)
    assert [one.captured for one in pay.holds.list("user_1")] == [20]


def test_money_is_paid_in_spent_held_and_withdrawn(funded):  # S3.15
    pay = funded
    pay.packs.upsert("local", name="Local", credits=20, price=HTG("60"))
    assert pay.wallets.balance("maya", "htg") == HTG("100")
    assert pay.wallets.pay("maya", pack="local", key="p1").paid
    with pytest.raises(InsufficientFunds) as refused:
        pay.wallets.pay("maya", pack="local")
    assert (refused.value.needed, refused.value.balance) == (6_000, 4_000)
    with pay.hold("maya", up_to=HTG("30"), reason="lesson") as hold:
        hold.capture(HTG("10"))
    assert (hold.captured, pay.wallets.balance("maya", "htg")) == (HTG("10"), HTG("30"))
    asked = pay.wallets.withdraw("maya", HTG("30"), "MonCash", by="maya")
    with pytest.raises(ApprovalRequired):
        pay.wallets.decide(asked, "approve", by="maya")
    pay.wallets.decide(asked.id, "approve", by="ann")
    assert pay.wallets.mark_paid(asked, "MC-42", by="ann").state == "paid"
    types = [line.type for line in pay.wallets.history("maya", "htg", limit=2)]
    assert types == ["WALLET_WITHDRAWAL", "HOLD_RELEASE"]
    assert pay.wallets.freeze("maya", "htg", by="ann").state == "frozen"
    assert pay.wallets.unfreeze("maya", "htg", by="ann").state == "open"
    assert pay.wallets.close("maya", "htg", by="ann").state == "closed"


def test_money_is_converted_and_moved(funded):  # S3.24 I14
    pay = funded
    pay.rates.enter("usd", "htg", "131", by="ann")
    assert pay.rates.latest("htg", "usd").rate == Decimal(131)
    quote = pay.wallets.quote(HTG("100"), "usd")
    done = pay.wallets.convert("maya", HTG("100"), "usd", quote=quote, key="c1")
    assert done.get == quote.get == USD("0.76")
    pay.customers.upsert("team", owner="maya")
    pay.wallets.transfer("maya", "team", USD("0.50"), note="half")
    assert [(w.currency, w.balance) for w in pay.wallets.list("team")] == [("usd", 50)]
    assert [rate.source for rate in pay.rates.list()] == ["manual"]


def test_a_transfer_above_the_threshold_waits_for_another_person(funded):  # S3.15
    told = {"transfer_approval_threshold": Decimal(30), "default_currency": "htg"}
    env = replace(funded.env, settings=replace(funded.env.settings, **told))
    with Paydesk(env=env, background=False) as pay:
        pay.customers.upsert("team", owner="maya")
        done = pay.wallets.transfer("maya", "team", HTG("40"), by="maya", key="t1")
        again = pay.wallets.transfer("maya", "team", HTG("40"), by="maya", key="t1")
        assert (done.state, again.withdrawal_id) == ("requested", done.withdrawal_id)
        assert [one.id for one in pay.wallets.withdrawals("maya")] == [done.withdrawal_id]
        with pytest.raises(ApprovalRequired):
            pay.wallets.decide(done.withdrawal_id, "approve", by="maya")
        moved = pay.wallets.decide(done.withdrawal_id, "approve", by="ann")
        assert moved.state == "paid" and pay.wallets.balance("team", "htg") == HTG("40")
        assert list(pay.wallets.withdrawals(state="requested", limit=5)) == []


def test_an_asynchronous_block_holds_and_captures(apay, run):  # I8
    async def work():
        await apay.credits.grant("user_1", 70)
        async with apay.hold("user_1", up_to=50, reason="chat") as hold:
            await hold.capture(37)
        assert hold.hold.captured == 37
        with pytest.raises(Boom):
            async with apay.hold("user_1", up_to=20):
                await asyncio.sleep(0)
                raise Boom
        begun = await apay.hold("user_1", up_to=3)
        await begun.release()
        assert await apay.wallets.balance("user_1", "usd") == USD("0")
        return await apay.credits.balance("user_1")

    assert run(work()) == 33
