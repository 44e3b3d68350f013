"""What else comes to an inbox: events that are old, of unknown shapes, customers and accounts, from
several endpoints; and those that fail for ever, which hold up no other and wait for a person."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from provider_run import There
from purchase import SECRET, Desk, signed

from paydesk import ids, providers
from paydesk.flows import inbox
from paydesk.http import metrics
from paydesk.providers.base import Providers


@pytest.fixture
def there(billing) -> There:
    return There(billing)


def rows(desk: Any) -> list[dict[str, Any]]:
    with desk.env.db.read() as tx:
        return tx.all(
            "select event_id, account, type, state, tries::int, deliveries, error, customer_id"
            " from provider_events order by received_at, event_id"
        )


def begun(there: There) -> Any:
    there.plan("pro", credits=100)
    return there.begin(there.user())


def receive(desk: Any, told: dict[str, Any], secret: str = SECRET) -> Any:
    body = json.dumps(told).encode()
    (answer,) = inbox.receive(desk.env, "stripe", body, signed(body, secret=secret))
    return answer


def waited(desk: Any, clock: Any, rounds: int = 9) -> None:
    for _ in range(rounds):
        clock.advance(hours=2)
        while inbox.apply_waiting(desk.env):
            pass


# Old, new, unknown -------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [("id",), ("id", "object"), ("id", "object", "customer")])
@pytest.mark.parametrize("kind", ["customer.subscription.updated", "invoice.paid"])
def test_a_version_whose_shape_nobody_knows_is_asked_about(there, kind, kept):
    # C26 I30: an object that says little but its name
    sub = begun(there)
    there.go_on(days=31, hours=2)
    one = [one for one in there.waiting() if one.type == kind][-1]
    inner = {name: one.event["data"]["object"][name] for name in kept}
    inner["new_word"] = {"amount": "a lot"}
    answer = receive(there, {**one.event, "api_version": "2031-01-01.unknown",
                             "data": {"object": inner}})  # fmt: skip
    # Whose an invoice is that names nobody, is not known until the others came.
    is_nobodys = kind == "invoice.paid" and "customer" not in kept
    assert answer.state == ("waiting" if is_nobodys else "done")
    if is_nobodys:
        there.deliver()
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000), (1, "paid", 2000, 2000)]
    waited(there, there.billing.clock, 1)
    assert {row["state"] for row in rows(there)} == {"done"}


def test_an_old_event_of_a_life_that_is_over_brings_nothing_back(there):
    # I3 I32: months later somebody sends the first events again, under new ids too
    sub = begun(there)
    there.months(2)
    there.sim.request("DELETE", f"/v1/subscriptions/{there.look(sub).provider_ref}")
    there.deliver()
    assert there.look(sub).state == "canceled"
    before = there.rows(sub)
    for one in there.sim.deliveries("customer.subscription.created",
                                    "customer.subscription.updated", "invoice.paid"):  # fmt: skip
        inbox.receive(there.env, "stripe", one.body, one.headers)
        receive(there, {**one.event, "id": f"{one.event_id}_again"})
    assert there.rows(sub) == before
    assert not there.billing.can(sub, "tier:pro")


# Whose -------------------------------------------------------------------------------------------


def test_a_customer_of_another_program_is_asked_about_by_nobody(there, monkeypatch):
    # I29 I32: waited for as long as it could be ours, then done
    begun(there)
    stranger = there.sim.request("POST", "/v1/customers", {"email": "else@harbor.example"})["id"]
    method = there.sim.request(
        "POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": stranger}
    )["id"]
    there.sim.request("POST", "/v1/subscriptions", {
        "customer": stranger, "items": [{"price": there.price_there()}],
        "default_payment_method": method})  # fmt: skip
    called = []
    monkeypatch.setattr(Providers, "call", lambda self, *more: called.append(more))
    there.deliver()
    states = [row["state"] for row in rows(there)]
    assert states.count("waiting") >= 4
    waited(there, there.billing.clock, 1)
    assert {row["state"] for row in rows(there)} == {"done"}
    assert called == []


def test_an_id_of_ours_that_nobody_has_waits_is_parked_and_seen(there):
    # I29 I32: another desk's, made by the same program on the same account
    sub = begun(there)
    there.go_on(days=31, hours=2)
    one = [one for one in there.waiting() if one.type == "customer.subscription.updated"][-1]
    told = json.loads(json.dumps(one.event))
    told["id"] = "evt_elsewhere"
    customer = ids.new_customer()
    inner = told["data"]["object"]
    inner |= {"id": "sub_elsewhere", "customer": "cus_elsewhere", "metadata": {
        "subscription_id": ids.show("subscription", ids.new_owned(customer)),
        "customer_id": ids.show("customer", customer)}}  # fmt: skip
    assert receive(there, told).state == "waiting"
    there.deliver()
    waited(there, there.billing.clock)
    (parked,) = [row for row in rows(there) if row["state"] != "done"]
    assert (parked["event_id"], parked["state"]) == ("evt_elsewhere", "parked")
    assert parked["error"]
    assert len(there.billing.invoices(sub)) == 2


def test_a_customer_who_is_deleted_there_has_no_subscription_any_more(there):
    # S1.21: what Stripe ends with him ends here, and nothing waits for him
    sub = begun(there)
    there.sim.request("DELETE", f"/v1/customers/{there.ref(sub.customer_id)}")
    there.deliver()
    assert there.look(sub).state == "canceled"
    waited(there, there.billing.clock)
    assert {row["state"] for row in rows(there)} == {"done"}


# Endpoints and accounts --------------------------------------------------------------------------


def test_two_endpoints_with_secrets_of_their_own_tell_of_one_event_once(desk: Desk):
    # C13: the same event, signed twice
    told = replace(desk.env.settings, stripe_webhook_secret=f"{SECRET},whsec_of_the_other")
    offered = providers.load(told)
    both = Desk(replace(desk.env, settings=told, providers=offered), desk.sim, desk.make,
                desk.clock)  # fmt: skip
    view = both.open()
    both.pay(view)
    one = both.events(view, "checkout.session.completed")[0].event
    assert receive(both, one).state == "done"
    again = receive(both, one, secret="whsec_of_the_other")
    assert (again.state, again.is_duplicate) == ("done", True)
    assert [(row["event_id"], row["deliveries"]) for row in rows(both)] == [(one["id"], 2)]
    assert both.balance(view) == 150
    offered.close()


def test_the_same_id_of_two_accounts_is_two_events(desk: Desk):
    # I32: another account's neither hides ours nor counts as ours
    view = desk.open()
    desk.pay(view)
    one = desk.events(view, "checkout.session.completed")[0].event
    assert receive(desk, {**one, "account": "acct_other"}).state == "parked"
    assert desk.balance(view) == 0
    assert receive(desk, one).state == "done"
    assert sorted((row["account"], row["state"]) for row in rows(desk)) == [
        ("", "done"), ("acct_other", "parked")]  # fmt: skip
    assert desk.balance(view) == 150


# Poison ------------------------------------------------------------------------------------------


def fail(env: Any, count: int, state: str = "waiting") -> None:
    """So many events that nobody can read, due before everything else."""
    with env.db.transaction() as tx:
        tx.run(
            "insert into provider_events (provider, account, event_id, type, body, state, try_at,"
            " received_at, error)"
            " select 'gone', '', 'evt_gone_' || n, 'odd', '{}', %(state)s,"
            "  %(now)s - interval '1 hour', %(now)s - interval '1 hour', 'It cannot be read.'"
            " from generate_series(1, %(count)s) as n",
            {"now": env.now(), "count": count, "state": state},
        )


def test_more_of_them_than_a_round_takes_hold_up_no_other(desk: Desk):
    # I29
    view = desk.open()
    desk.pay(view)
    fail(desk.env, 3 * inbox.GROUP)
    told = desk.events(view, "checkout.session.completed")[0].event
    told["data"]["object"]["amount_total"] += 1  # The provider has to be asked.
    body = json.dumps(told).encode()
    inbox.receive_many(desk.env, "stripe", [(body, signed(body))], lambda: None)
    while inbox.apply_waiting(desk.env):
        pass
    assert desk.balance(view) == 150
    waited(desk, desk.clock, desk.env.settings.inbox_max_tries)
    found = [row for row in rows(desk) if row["type"] == "odd"]
    assert {(row["state"], row["tries"]) for row in found} == {
        ("parked", desk.env.settings.inbox_max_tries)}  # fmt: skip


def test_replaying_all_that_are_parked_tells_what_became_of_each(desk: Desk):
    view = desk.open()
    desk.pay(view)
    desk.deliver(view, "checkout.session.completed")
    fail(desk.env, 2, "parked")
    with desk.env.db.transaction() as tx:
        tx.run("update provider_events set state = 'parked' where provider = 'stripe'")
    found = {one.event_id: (one.state, why) for one, why in inbox.replay_parked(desk.env)}
    assert len(found) == 3
    assert [state for state, _ in found.values()].count("done") == 1
    for name in ("evt_gone_1", "evt_gone_2"):
        state, why = found[name]
        assert state != "done" and "No provider is called 'gone'" in why


def test_how_often_a_provider_asked_to_slow_down_is_a_metric(desk: Desk, monkeypatch):
    # S1.60
    view = desk.open()
    desk.pay(view)
    told = desk.events(view, "checkout.session.completed")[0].event
    told["data"]["object"]["amount_total"] += 1
    desk.sim.fault("429", "/v1/checkout/sessions/*")
    assert receive(desk, told).state == "waiting"
    monkeypatch.setattr(metrics, "_looked_at", float("-inf"))
    assert 'paydesk_provider_slowed{provider="stripe"} 1.0' in metrics.render(desk.env).decode()
    assert [row["tries"] for row in rows(desk)] == [0]
