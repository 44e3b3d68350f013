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
    # S1.12 S1.16 S1.29
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
    later = told(paydesk, "subscriptions", "change", made["id"], "--plan", "team",
                 "--at", "period_end", "--yes")[0]  # fmt: skip
    assert (later["plan"], later["next"]) == ("pro", "team x 1")
    back = told(paydesk, "subscriptions", "drop-change", made["id"])[0]
    assert (back["plan"], back["next"]) == ("pro", None)


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


# S1.44
def test_a_beginning_is_previewed_and_expected_from_the_shell(paydesk, sub, make):
    who = make.user()
    seen = told(paydesk, "subscriptions", "preview", who.id, "team", "--seats", "3")[0]
    assert (seen["way"], seen["due_now"]) == ("checkout", 15_000)
    assert [line["description"] for line in seen["lines"]] == ["Team"]
    code, _, err = paydesk("subscriptions", "start", who.id, "team", "--expect", seen["token"])
    assert code == 1 and "preview it anew" in err
    made = told(paydesk, "subscriptions", "start", who.id, "team", "--seats", "3",
                "--expect", seen["token"])[0]  # fmt: skip
    assert (made["status"], made["seats"]) == ("incomplete", 3) and made["url"]


# S1.28 S1.29
def test_one_is_paused_resumed_and_kept_from_the_shell(paydesk, sub):
    assert told(paydesk, "subscriptions", "pause", sub)[0]["status"] == "paused"
    assert told(paydesk, "subscriptions", "resume", sub)[0]["status"] == "active"
    assert told(paydesk, "subscriptions", "cancel", sub)[0]["cancel_at"]
    assert told(paydesk, "subscriptions", "reactivate", sub)[0]["cancel_at"] is None


@pytest.mark.parametrize("what", ["payments", "subscriptions", "invoices", "disputes", "refills"])
def test_lists_of_a_customer_are_asked_for_in_one_way(paydesk, sub, make, what):
    who = make.user()
    assert told(paydesk, what, "list", "--customer", who.id) == []
    for nobody in ("nobody", "cus_2YDNYPSF3RHQJRM9C5ASCNTFDA"):
        assert paydesk(what, "list", "--customer", nobody)[0] == 1


@pytest.mark.parametrize("what", ["invoices", "refills"])
def test_the_word_that_a_list_had_before_still_holds(paydesk, sub, make, what):
    who = make.user()
    assert told(paydesk, what, "list", "--user", who.external_id) == []
    assert "--user" not in paydesk(what, "list", "--help")[1]
