"""Subscriptions on the command line: listed, shown, changed, canceled, renewed."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def sub(env, sim, make, paydesk):
    from paydesk import ids
    from paydesk.flows import methods, plans, subscriptions
    from paydesk.flows.methods import AddMethod
    from paydesk.flows.subscriptions import NewSubscription
    from paydesk.rules.money import USD

    plans.upsert(env, "pro", name="Pro", price=USD("20.00"), family="app")
    plans.upsert(env, "team", name="Team", price=USD("50.00"), family="app", most_quantity=9)
    who = make.user()
    methods.add(env, AddMethod(customer_id=who.uuid, token="pm_card_visa"))
    made = subscriptions.start(env, NewSubscription(customer_id=who.uuid, plan="pro"))
    return ids.show("subscription", made.id)


def told(run, *arguments: str):
    code, out, err = run(*arguments)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


# S1.28 S1.29
def test_a_subscription_is_changed_and_canceled_from_the_shell(paydesk, sub):
    assert told(paydesk, "subscriptions", "list", "--status", "active")[0]["id"] == sub
    changed = told(paydesk, "subscriptions", "change", sub, "--plan", "team", "--yes")[0]
    assert changed["plan"] == "team"
    ended = told(paydesk, "subscriptions", "cancel", sub, "--at", "now", "--reason", "too_dear")
    assert (ended[0]["status"], ended[0]["end_reason"]) == ("canceled", "too_dear")
    assert told(paydesk, "subscriptions", "show", sub)[0]["status"] == "canceled"
    assert paydesk("subscriptions", "renew")[1].strip() == "0 done"


def test_one_that_stripe_runs_is_begun_and_looked_at_from_the_shell(paydesk, sub, sim, make):
    # S1.12 S1.16
    who = make.user()
    made = told(paydesk, "subscriptions", "start", who.id, "pro", "--runner", "provider",
                "--key", "one")[0]  # fmt: skip
    assert (made["status"], made["runner"]) == ("incomplete", "provider")
    again = told(paydesk, "subscriptions", "start", who.id, "pro", "--runner", "provider",
                 "--key", "one")[0]  # fmt: skip
    assert (again["id"], again["url"]) == (made["id"], made["url"])
    sim.pay(sim.objects("checkout.session")[-1]["id"])
    assert told(paydesk, "subscriptions", "show", made["id"])[0]["status"] == "incomplete"
    assert told(paydesk, "subscriptions", "look", made["id"])[0]["status"] == "active"


# S1.44
def test_a_change_that_waits_for_the_bank_is_taken_back_from_the_shell(paydesk, sub, env):
    from paydesk import ids
    from paydesk.flows import methods
    from paydesk.flows.methods import AddMethod

    whose = ids.customer_of(ids.parse("subscription", sub))
    methods.add(env, AddMethod(customer_id=whose, token="pm_card_authenticationRequired",
                               make_default=True))  # fmt: skip
    code, out, err = paydesk("subscriptions", "change", sub, "--plan", "team", "--yes")
    assert code == 0 and "The bank asks the customer first" in err
    waits = json.loads(out)
    assert (waits["plan"], waits["next"]) == ("pro", "team x 1")
    assert "/3d_secure/" in waits["action_url"]
    back = told(paydesk, "subscriptions", "drop-change", sub)[0]
    assert (back["plan"], back["next"], back["action_url"]) == ("pro", None, None)
