"""The provider's customer for ours: one in the long run, named in later checkouts, kept current."""

from __future__ import annotations

import pytest
from stripe import StripeClient

from paydesk import crash
from paydesk.flows import checkout, customers, provider_calls
from paydesk.providers.stripe import SIMULATOR_KEY


@pytest.fixture
def stripe(sim) -> StripeClient:
    """A look at Stripe's side, as its dashboard would give it."""
    return StripeClient(SIMULATOR_KEY, base_addresses={"api": sim.url})


def refs(desk):
    return [row["ref"] for row in desk.all("select ref from provider_customers order by ref")]


def session_of(stripe, view):
    return stripe.v1.checkout.sessions.retrieve(view.payment.session_ref)


def bought(desk, user, **more):
    view = desk.open(user, **more)
    desk.pay(view)
    desk.deliver(view)
    return view


def test_the_first_payment_makes_a_customer_whom_later_checkouts_name(desk, stripe):  # S1.11
    user = desk.make.user(email="maya@example.com")
    first = bought(desk, user, email=user.email)
    kept = session_of(stripe, first).customer
    assert kept.startswith("cus_")
    assert refs(desk) == [kept]
    second = bought(desk, user, email=user.email)
    assert session_of(stripe, second).customer == kept
    assert refs(desk) == [kept]
    assert len(stripe.v1.customers.list().data) == 1
    assert desk.balance(second) == 300


def test_any_word_of_the_payment_brings_the_customer(desk, stripe):  # S1.11
    for kind in ("charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"):
        view = desk.open()
        desk.pay(view)
        desk.deliver(view, kind)
        assert session_of(stripe, view).customer in refs(desk), kind
    view = desk.open()
    desk.pay(view)
    checkout.verify(desk.env, view.id)
    assert session_of(stripe, view).customer in refs(desk)
    assert len(refs(desk)) == 4


def test_first_checkouts_side_by_side_settle_on_one_customer(desk, stripe):  # S1.11
    """The first that paid stays; the other's customer is at Stripe and used no more."""
    user = desk.make.user()
    views = [desk.open(user), desk.open(user)]
    for view in views:
        desk.pay(view)
        desk.deliver(view)
    first, other = (session_of(stripe, view).customer for view in views)
    assert first != other
    assert refs(desk) == [first]
    for view in views:
        desk.deliver(view)
    assert refs(desk) == [first]
    assert session_of(stripe, desk.open(user)).customer == first


def test_a_customer_deleted_at_the_provider_is_made_anew(desk, stripe):  # S1.11
    user = desk.make.user(email="maya@example.com")
    bought(desk, user)
    old = refs(desk)[0]
    stripe.v1.customers.delete(old)
    view = desk.open(user, email="maya@example.com")
    assert session_of(stripe, view).customer_email == "maya@example.com"
    assert refs(desk) == []
    desk.pay(view)
    desk.deliver(view)
    assert refs(desk) == [session_of(stripe, view).customer] != [old]
    assert desk.balance(view) == 300


def test_death_between_the_two_requests_opens_one_session(desk, stripe):  # S1.11 I18 I27
    user = desk.make.user()
    bought(desk, user)
    stripe.v1.customers.delete(refs(desk)[0])
    crash.arm("after_provider_call")
    with pytest.raises(crash.CrashNow):
        desk.open(user)
    crash.disarm()
    desk.clock.advance(minutes=2)
    provider_calls.resolve_due(desk.env)
    assert len(stripe.v1.checkout.sessions.list().data) == 2
    assert refs(desk) == []


def test_another_email_or_name_is_told_to_the_provider(desk, stripe):  # S1.11
    user = desk.make.user(email="old@example.com")
    bought(desk, user)
    customers.update(desk.env, user, email="new@example.com", name="Maya Okafor")
    there = stripe.v1.customers.retrieve(refs(desk)[0])
    assert (there.email, there.name) == ("new@example.com", "Maya Okafor")
    assert there.metadata["customer_id"] == user.id
    customers.update(desk.env, user, name=None)
    assert stripe.v1.customers.retrieve(refs(desk)[0]).name is None


def test_a_provider_that_cannot_be_told_hinders_no_change(desk, stripe, monkeypatch):  # S1.11
    user = desk.make.user()
    bought(desk, user)
    asked = []

    def broken(self, *told):
        asked.append(told)
        raise ValueError("an answer that nobody foresaw")

    monkeypatch.setattr(type(desk.env.providers["stripe"]), "update_customer", broken)
    assert customers.update(desk.env, user, email="new@example.com").email == "new@example.com"
    assert len(asked) == 1
    customers.update(desk.env, user, metadata={"plan": "pro"})
    assert len(asked) == 1
