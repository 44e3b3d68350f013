"""Whether a customer has a method is not decided before whoever may know of one has said so."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from billing import Billing
from test_batch_trouble import asked, unknown_here

from paydesk.errors import Busy, OutcomeUnknown, ProviderRefused, ProviderUnavailable
from paydesk.flows import dunning, methods
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import USD


def trial(billing: Billing, card: str | None = "pm_card_visa"):
    """A customer and a trial that ends in five seconds."""
    billing.plan("pro", trial_days=14, trial_needs_method=False)
    who = billing.user(card)
    sub = billing.subscribe(who)
    assert sub.state == "trialing"
    billing.clock.set(sub.trial_end - timedelta(seconds=5))
    return who, sub


# Cards that are being saved ----------------------------------------------------------------------


# S1.16 I26
@pytest.mark.parametrize("is_known", [True, False])
def test_a_trial_does_not_end_while_a_card_is_being_saved(billing, monkeypatch, is_known):
    """`is_known`: the provider knows the customer already, and says which methods it keeps."""
    who, sub = trial(billing, "pm_card_visa" if is_known else None)
    unknown_here(billing, [sub])

    def answer(operation):
        if operation != "list_methods":
            raise ProviderUnavailable("away")

    with monkeypatch.context() as patched:
        asked(billing, patched, answer)
        with pytest.raises((ProviderUnavailable, OutcomeUnknown)):
            billing.card(who)
        billing.renew(seconds=30)
    assert billing.look(sub).state == "trialing"
    assert billing.look(sub).due_at == billing.env.now() + dunning.ASK_AGAIN
    billing.recover(rounds=6)
    assert billing.look(sub).state == "active"
    assert billing.payments(sub) == ["succeeded"]


# S1.16 I26
def test_a_trial_does_not_end_while_the_customer_is_held_elsewhere(billing, monkeypatch):
    """The provider tells of a card, and it cannot be written down."""
    _, sub = trial(billing)
    unknown_here(billing, [sub])
    real, held = methods.sync, threading.Event()
    held.set()

    def sync(env, customer_id, name, **more):
        if held.is_set():
            raise Busy("held")
        return real(env, customer_id, name, **more)

    monkeypatch.setattr(methods, "sync", sync)
    billing.renew(seconds=30)
    assert billing.look(sub).state == "trialing"
    held.clear()
    billing.renew(minutes=16)
    assert billing.look(sub).state == "active"


# S1.16
def test_a_trial_ends_of_who_has_no_card_anywhere(billing):
    _, sub = trial(billing, None)
    billing.renew(seconds=30)
    assert (billing.look(sub).state, billing.look(sub).end_reason) == (
        "expired", "no_payment_method")  # fmt: skip


# Several providers -------------------------------------------------------------------------------


# S1.16 I26
@pytest.mark.parametrize("problem", [ProviderRefused("revoked"), ProviderUnavailable("away")],
                         ids=lambda one: type(one).__name__)  # fmt: skip
def test_a_provider_that_fails_does_not_hide_the_card_that_another_knows(
    billing, monkeypatch, problem
):
    _, sub = trial(billing)
    unknown_here(billing, [sub])
    known, real = methods.known_providers, methods.sync

    def sync(env, customer_id, name, **more):
        if name == "another":
            raise problem
        return real(env, customer_id, name, **more)

    monkeypatch.setattr(methods, "known_providers",
                        lambda env, customer_id: ["another", *known(env, customer_id)])  # fmt: skip
    monkeypatch.setattr(methods, "sync", sync)
    billing.renew(seconds=30)
    assert billing.look(sub).state == "active"


# S1.16 I26
def test_a_provider_that_is_away_is_waited_for_although_another_knows_of_no_card(
    billing, monkeypatch
):
    who, sub = trial(billing)
    methods.remove(billing.env, who.uuid, methods.list_(billing.env, who.uuid)[0].id)
    known, real = methods.known_providers, methods.sync

    def sync(env, customer_id, name, **more):
        if name == "another":
            raise ProviderUnavailable("away")
        return real(env, customer_id, name, **more)

    monkeypatch.setattr(methods, "known_providers",
                        lambda env, customer_id: ["another", *known(env, customer_id)])  # fmt: skip
    monkeypatch.setattr(methods, "sync", sync)
    billing.renew(seconds=30)
    assert billing.look(sub).state == "trialing"
    billing.until(sub.trial_end + timedelta(hours=25), timedelta(hours=1))
    assert billing.look(sub).state == "expired"


# Plans that cost nothing -------------------------------------------------------------------------


def away(billing: Billing, monkeypatch) -> list[str]:
    def answer(operation):
        if operation == "list_methods":
            raise ProviderUnavailable("away")

    return asked(billing, monkeypatch, answer)


# I26
@pytest.mark.parametrize("days", [0, 7])
def test_a_free_plan_waits_for_no_provider(billing, monkeypatch, days):
    billing.plan("free", price=USD("0.00"), credits=10, trial_days=days)
    sub = billing.subscribe(billing.user(), "free")
    before = billing.look(sub).period
    unknown_here(billing, [sub])
    told = away(billing, monkeypatch)
    billing.clock.set(sub.period_end)
    billing.renew(minutes=1)
    found = billing.look(sub)
    assert (found.state, found.period) == ("active", before + 1)
    assert billing.can(sub, "tier:free")
    assert told == []


# S1.16 I26
def test_a_free_plan_that_changes_to_one_that_costs_waits_for_the_provider(billing, monkeypatch):
    billing.plan("free", price=USD("0.00"))
    billing.plan("pro")
    sub = billing.subscribe(billing.user(), "free")
    changes.change(billing.env, sub.customer_id, sub.id, plan="pro", at="period_end")
    unknown_here(billing, [sub])
    with monkeypatch.context() as patched:
        away(billing, patched)
        billing.clock.set(sub.period_end)
        billing.renew(minutes=1)
        assert billing.look(sub).due_at == billing.env.now() + dunning.ASK_AGAIN
    billing.renew(minutes=16)
    assert billing.look(sub).state == "active"
    assert billing.payments(sub) == ["succeeded"]
