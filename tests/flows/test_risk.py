"""Risk: what is odd is refused or waits for a person, and lists decide."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from paydesk.errors import Conflict, RiskBlocked, TransactionLimit
from paydesk.flows import checkout, customers, events, promos, risk
from paydesk.flows.checkout import StartCheckout
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
