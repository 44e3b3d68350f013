"""Risk: what is odd is refused or waits for a person, and lists decide."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest
import stripe

from paydesk.errors import Conflict, RiskBlocked, TransactionLimit
from paydesk.flows import checkout, customers, direct, events, methods, promos, risk
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.direct import NewPayment
from paydesk.flows.methods import AddMethod
from paydesk.rules.money import USD


def start(env, who, amount=USD("10.00"), **more):
    return checkout.start(env, StartCheckout(customer_id=who.uuid, amount=amount, **more))


def of_types(env, who) -> list[str]:
    with env.db.read() as tx:
        return [e.type for e in events.follow(tx, who.uuid, 0)]


def test_a_blocked_address_buys_nothing_and_leaves_its_reason(env, make, sim):
    # S4.35
    who = make.user("user_1")
    risk.put_on_list(env, "email_domain", "Bad.Example", "block", by="rosa@example.com")
    with pytest.raises(RiskBlocked):
        start(env, who, email="x@bad.example")
    assert sim.objects("checkout.session") == []
    (one,) = risk.list_(env, decision="block")
    assert one.reasons[0]["rule"] == "block_list"
    assert "risk.blocked" in of_types(env, who)
    risk.take_off_list(env, "email_domain", "bad.example")
    assert start(env, who, email="x@bad.example").status == "open"


def test_of_sixty_four_payments_at_once_each_sees_those_before_it(env, make, sim):
    # S4.35: velocity is counted under the customer's lock; 20 in an hour weigh 60
    who = make.user("user_1")
    strict = replace(env, settings=replace(env.settings, risk_block_score=60))

    def go(_: int) -> str:
        try:
            return start(strict, who).status
        except RiskBlocked:
            return "blocked"

    with ThreadPoolExecutor(16) as pool:
        told = Counter(pool.map(go, range(64)))
    assert told == {"open": 20, "blocked": 44}
    kept = Counter(one.decision for one in risk.list_(env, limit=100))
    assert kept["block"] == 44
    assert all(one.features["payments_1h"] == 20 for one in risk.list_(env, decision="block"))


def test_a_blocked_checkout_gives_its_promo_code_back(env, make, sim):
    # S4.35 I18
    who = make.user("user_1")
    make.pack(key="small")
    promos.upsert_promo(env, "ONCE", percent_off=10, cap=1)
    risk.put_on_list(env, "customer", "user_1", "block", by="rosa")
    with pytest.raises(RiskBlocked):
        checkout.start(env, StartCheckout(customer_id=who.uuid, pack="small", promo="ONCE"))
    with env.db.read() as tx:
        assert tx.value("select used from promo_counts") == 0


def test_an_allow_list_silences_the_rules(env, make, sim):
    # S4.35
    who = make.user("user_1")
    strict = replace(env, settings=replace(env.settings, risk_block_score=20))
    with pytest.raises(RiskBlocked):
        start(strict, who, email="x@mailinator.com")
    risk.put_on_list(env, "customer", "user_1", "allow", by="rosa")
    assert start(strict, who, email="x@mailinator.com").status == "open"


def test_an_address_that_is_only_named_lets_nobody_in(env, make, sim):
    # S4.35
    who = make.user("user_1", email="x@bad.example")
    risk.put_on_list(env, "email_domain", "bad.example", "block", by="rosa")
    risk.put_on_list(env, "email", "ceo@big.example", "allow", by="rosa")
    with pytest.raises(RiskBlocked):
        start(env, who, email="ceo@big.example")
    risk.put_on_list(env, "email", "x@bad.example", "allow", by="rosa")
    assert start(env, who, email="ceo@big.example").status == "open"
    risk.put_on_list(env, "customer", "user_1", "block", by="rosa")
    with pytest.raises(RiskBlocked):
        start(env, who)


def test_naming_another_address_hides_neither_the_own_one_nor_that_of_the_token(env, make, sim):
    # S4.35
    risk.put_on_list(env, "email", "x@bad.example", "block", by="rosa")
    with pytest.raises(RiskBlocked):
        start(env, make.user("user_1", email="X@bad.example"), email="a@good.example")
    unknown = make.user("user_2")
    before = risk.origin.set(risk.Origin(email="x@bad.example"))
    try:
        with pytest.raises(RiskBlocked):
            start(env, unknown, email="a@good.example")
    finally:
        risk.origin.reset(before)
    assert start(env, unknown, email="a@good.example").status == "open"


def saved_card(env, sim, who) -> str:
    """The fingerprint of a card that this customer saved."""
    sdk = stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})
    made = sdk.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    methods.add(env, AddMethod(customer_id=who.uuid, token=made.id))
    with env.db.read() as tx:
        return tx.value("select fingerprint from payment_methods where ref = %(ref)s",
                        {"ref": made.id})  # fmt: skip


def test_a_saved_card_on_the_block_list_is_not_charged(env, make, sim):
    # S4.35
    who = make.user("user_1")
    card = saved_card(env, sim, who)
    wanted = NewPayment(customer_id=who.uuid, wallet=USD("10.00"))
    assert direct.process(env, wanted).state == "succeeded"
    risk.put_on_list(env, "card", card, "block", by="rosa")
    with pytest.raises(RiskBlocked):
        direct.process(env, wanted)
    assert len(sim.objects("payment_intent")) == 1


def test_what_waits_already_is_weighed_again_with_its_card(env, make, sim):
    # S4.35
    who = make.user("user_1")
    customers.update(env, who.id, metadata={"country": "HT"})
    watchful = replace(env, settings=replace(env.settings, risk_review_score=20))
    sold = start(watchful, who, email="x@mailinator.com")
    sim.pay(sold.payment.session_ref)
    checkout.verify(env, sold.payment.session_ref)
    events.publish(env)
    while risk.watch(watchful):
        pass
    waiting = [a for a in risk.list_(env, queue=True) if a.payment_id == sold.payment.id]
    assert [{r["rule"] for r in a.reasons} for a in waiting] == [
        {"country_mismatch"}, {"disposable_email"}]  # fmt: skip
    risk.decide(env, waiting[1].id, "accepted", by="rosa")
    assert checkout.get(env, who.uuid, sold.id).payment.review == "risk"
    risk.decide(env, waiting[0].id, "accepted", by="rosa")
    assert checkout.get(env, who.uuid, sold.id).payment.review is None


def test_what_looks_odd_is_sold_and_waits_in_the_queue_for_one_decision(env, make, sim):
    # S4.35
    who = make.user("user_1")
    watchful = replace(env, settings=replace(env.settings, risk_review_score=20))
    sold = start(watchful, who, email="x@mailinator.com")
    (one,) = risk.list_(env, queue=True)
    assert (one.payment_id, one.decision) == (sold.payment.id, "review")
    assert one.score >= 20
    done = risk.decide(env, one.id, "accepted", by="rosa@example.com", note="Known to us.")
    assert (done.verdict, done.reviewed_by) == ("accepted", "rosa@example.com")
    assert risk.decide(env, one.id, "accepted", by="rosa@example.com").verdict == "accepted"
    with pytest.raises(Conflict):
        risk.decide(env, one.id, "refused", by="bo@example.com")
    assert risk.list_(env, queue=True) == []


def test_a_paid_card_of_another_country_is_flagged_once_it_is_known(env, make, sim):
    # S4.35
    who = make.user("user_1")
    customers.update(env, who.id, metadata={"country": "HT"})
    sold = start(env, who)
    watchful = replace(env, settings=replace(env.settings, risk_review_score=20))
    sim.pay(sold.payment.session_ref)
    checkout.verify(env, sold.payment.session_ref)
    events.publish(env)
    while risk.watch(watchful):
        pass
    found = [a for a in risk.list_(env) if a.payment_id == sold.payment.id]
    assert [r["rule"] for a in found for r in a.reasons] == ["country_mismatch"]
    assert checkout.get(env, who.uuid, sold.id).payment.review == "risk"
    risk.decide(env, found[0].id, "accepted", by="rosa")
    assert checkout.get(env, who.uuid, sold.id).payment.review is None


def test_a_customer_pays_no_more_a_day_than_the_limit(env, make, clock, sim):
    # S4.34 S4.35
    who = make.user("user_1")
    limited = replace(env, settings=replace(env.settings, max_daily_amount=Decimal(25)))
    start(limited, who, USD("10.00"))
    start(limited, who, USD("15.00"))
    with pytest.raises(TransactionLimit):
        start(limited, who, USD("0.50"))
    clock.advance(days=1)
    assert start(limited, who, USD("25.00")).status == "open"
