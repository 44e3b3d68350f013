"""Webhooks through the service's door: acknowledged before a provider is asked, asked about once
for all that wait for the same answer, and right whoever takes them up."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from provider_run import There
from purchase import PROVE, Desk, signed
from starlette.testclient import TestClient

from paydesk.flows import inbox, inbox_rows
from paydesk.http.app import create_app
from paydesk.providers.base import Providers
from paydesk.rules.money import USD
from paydesk.worker import Worker

PATH = "/v1/webhooks/stripe"
RENEWALS = 50 if PROVE else 15


class Idle:
    """In the place of the takers: only told that something is due."""

    def __init__(self) -> None:
        self.woken = 0

    def start(self) -> None:
        pass

    def wake(self, provider: str) -> None:
        self.woken += 1

    def close(self) -> None:
        pass


@contextmanager
def door(env: Any, *, takes: bool = False) -> Iterator[tuple[TestClient, Any]]:
    """The service; unless it `takes` what it acknowledged, that is left to the test."""
    app = create_app(env)
    if not takes:
        app.state.inboxes.takers = Idle()
    with TestClient(app) as client:
        yield client, app.state.inboxes.takers


def post(client: TestClient, one: Any) -> None:
    answer = client.post(PATH, content=one.body, headers=one.headers)
    assert (answer.status_code, answer.json()) == (200, {"received": True}), answer.text


@pytest.fixture
def there(billing) -> There:
    return There(billing)


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, str]]:
    """What providers were asked, in order: (method, first argument)."""
    found: list[tuple[str, str]] = []
    real = Providers.call

    def call(self, name, method, *args, **more):
        found.append((method, str(args[0]) if args else ""))
        return real(self, name, method, *args, **more)

    monkeypatch.setattr(Providers, "call", call)
    return found


def rows(desk: Any) -> list[dict[str, Any]]:
    with desk.env.db.read() as tx:
        return tx.all(
            "select event_id, type, state, tries::int, error, about, settled_by, try_at"
            " from provider_events order by received_at, event_id"
        )


def work(env: Any) -> None:
    """Take up all that is due."""
    while inbox.apply_waiting(env, path="webhook"):
        pass


def begun(there: There, *, heard: bool = True) -> Any:
    there.plan("pro", credits=100)
    sub = there.subscribe(there.user())
    there.sim.pay(sub.page_ref)
    if heard:
        there.deliver()
    return sub


def told(there: There) -> list[Any]:
    """What nobody heard of yet of the newest invoice."""
    return [one for one in there.waiting()
            if one.type in ("invoice.finalized", "invoice.paid", "invoice.payment_succeeded")]


def refund_there(desk: Desk, view: Any) -> None:
    """Somebody gives a dollar back in Stripe's dashboard."""
    (intent,) = desk.sim.objects("payment_intent")
    desk.sim.request("POST", "/v1/refunds", {"payment_intent": intent["id"], "amount": 100})


def deliver(there: There, client: TestClient, *kinds: str) -> list[Any]:
    found = [one for one in there.waiting() if not kinds or one.type in kinds]
    for one in found:
        post(client, one)
        there.heard.add(one.event_id)
    return found


# Acknowledging ---------------------------------------------------------------------------------


def test_an_acknowledgment_asks_no_provider_even_one_that_is_away(there, asked):
    # S1.16 S1.17 I28: what is stored is acknowledged, and done when the provider is back
    sub = begun(there, heard=False)
    there.sim.config(faults=[{"kind": "500", "path": "/v1/*", "times": 10_000}])
    asked.clear()
    with door(there.env) as (client, taker):
        deliver(there, client)
        assert asked == []
        assert taker.woken
        assert there.look(sub).state == "incomplete"
    there.sim.config(faults=[])
    work(there.env)
    assert there.look(sub).state == "active"
    assert there.billing.balance(sub) == 100
    assert there.parked() == []


def test_a_purchase_is_seen_as_soon_as_its_webhook_is_answered(desk: Desk, asked):
    # S2.10 S4.24 I1: what speaks for itself needs no provider, and waits for nobody
    view = desk.open()
    desk.pay(view)
    asked.clear()
    with door(desk.env) as (client, taker):
        post(client, desk.events(view, "checkout.session.completed")[0])
        assert (desk.balance(view), desk.payment(view).state) == (150, "succeeded")
        for one in desk.events(view):
            post(client, one)
    assert (asked, taker.woken) == ([], 0)
    assert {row["state"] for row in rows(desk)} == {"done"}


def test_what_the_door_leaves_is_taken_up_by_the_same_process(desk: Desk):
    # I28: there is no worker
    view = desk.open()
    desk.pay(view)
    desk.deliver(view)
    refund_there(desk, view)
    with door(desk.env, takes=True) as (client, _):
        sent = [one for one in desk.sim.deliveries() if "refund" in one.type]
        assert sent
        for one in sent:
            post(client, one)
        until = time.monotonic() + 60
        while any(row["state"] == "new" for row in rows(desk)):
            assert time.monotonic() < until
            time.sleep(0.01)
    assert {row["state"] for row in rows(desk)} == {"done"}
    assert desk.payment(view).refunded == USD("1.00")


def test_what_a_process_left_behind_is_due_for_the_next_one_at_once(there):
    # I5: whoever acknowledged it died; no lease has to end
    sub = begun(there, heard=False)
    with door(there.env) as (client, _):
        deliver(there, client)
    Worker(there.env).run_once("inbox")
    assert there.look(sub).state == "active"
    assert {row["state"] for row in rows(there)} <= {"done", "waiting"}


def test_a_claim_that_needs_the_provider_is_left_to_whoever_takes_it_up(desk: Desk, asked):
    # I35 data rule 4: another sum than was asked; nothing is believed, nothing is asked at the door
    view = desk.open()
    desk.pay(view)
    told = desk.events(view, "checkout.session.completed")[0].event
    told["data"]["object"]["amount_total"] += 1
    body = json.dumps(told).encode()
    asked.clear()
    with door(desk.env) as (client, taker):
        answer = client.post(PATH, content=body, headers=signed(body))
        assert answer.status_code == 200
        assert (asked, taker.woken, desk.balance(view)) == ([], 1, 0)
    assert [(row["state"], row["tries"]) for row in rows(desk)] == [("new", 0)]
    work(desk.env)
    assert desk.balance(view) == 150
    assert desk.payment(view).fulfillment.path == "webhook"


# Once for all ----------------------------------------------------------------------------------


def test_events_that_wait_for_one_answer_are_settled_by_it(there, asked):
    # S1.17 S1.20 I29: each row says by which event it was settled
    sub = begun(there)
    there.go_on(days=31, hours=2)
    asked.clear()
    with door(there.env) as (client, _):
        sent = deliver(there, client)
    work(there.env)
    remote = there.look(sub).provider_ref
    assert [one for one in asked if one[0] in ("fetch_subscription", "list_invoices")] == [
        ("fetch_subscription", remote), ("list_invoices", remote)]  # fmt: skip
    about = [row for row in rows(there) if row["about"] == f"subscription:{remote}"
             and row["event_id"] in {one.event_id for one in sent}]  # fmt: skip
    assert len(about) > 4 and {row["state"] for row in about} == {"done"}
    (asker,) = [row for row in about if row["settled_by"] is None]
    assert {row["settled_by"] for row in about} == {None, asker["event_id"]}
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000), (1, "paid", 2000, 2000)]


def test_an_answer_settles_nothing_that_was_stored_after_it_was_asked_for(there, monkeypatch):
    # I2: it may tell of something newer
    sub = begun(there)
    there.go_on(days=31, hours=2)
    first, second, *_ = told(there)
    real, late = Providers.call, [second]

    def call(self, name, method, *args, **more):
        if method == "fetch_subscription" and late:
            one = late.pop()
            with door(there.env) as (client, _):
                post(client, one)
        return real(self, name, method, *args, **more)

    with door(there.env) as (client, _):
        post(client, first)
    monkeypatch.setattr(Providers, "call", call)
    inbox.apply_waiting(there.env)
    states = {row["event_id"]: row["state"] for row in rows(there)}
    assert (states[first.event_id], states[second.event_id]) == ("done", "new")
    work(there.env)
    assert {row["state"] for row in rows(there) if row["about"]} == {"done"}
    assert len(there.billing.invoices(sub)) == 2


def test_one_that_waits_for_a_later_time_is_settled_with_the_next(there, monkeypatch):
    # I29: and where the next one fails as well, no try of it is used up
    sub = begun(there)
    there.go_on(days=31, hours=2)
    first, second, third, *_ = told(there)

    def ill(self, ref):
        raise ZeroDivisionError("poison")

    with door(there.env) as (client, _):
        with monkeypatch.context() as patch:
            patch.setattr(type(there.env.providers["stripe"]), "fetch_subscription", ill)
            post(client, first)
            work(there.env)
            post(client, second)
            work(there.env)
        found = {row["event_id"]: row for row in rows(there)}
        assert [(found[one.event_id]["state"], found[one.event_id]["tries"])
                for one in (first, second)] == [("waiting", 1)] * 2  # fmt: skip
        assert "ZeroDivisionError" in found[first.event_id]["error"]
        post(client, third)
    work(there.env)
    found = {row["event_id"]: row for row in rows(there)}
    assert {found[one.event_id]["state"] for one in (first, second, third)} == {"done"}
    assert {found[one.event_id]["settled_by"] for one in (first, second)} == {third.event_id}
    assert found[first.event_id]["error"] is None
    assert len(there.billing.invoices(sub)) == 2


def test_what_somebody_else_settled_meanwhile_is_not_asked_about_again(there, asked):
    # Two processes take up the same subscription's events; the slower one finds nothing to do.
    begun(there)
    there.go_on(days=31, hours=2)
    with door(there.env) as (client, _):
        deliver(there, client, "invoice.paid", "invoice.finalized")
    taken = inbox_rows.take_due(there.env)
    there.billing.clock.advance(minutes=2)
    work(there.env)
    asked.clear()
    assert inbox._apply_stored(there.env, taken, "sweep", is_taken=True) == ["done"] * len(taken)
    assert asked == []


def test_events_of_one_refund_ask_for_it_once(desk: Desk, asked):
    # S1.22: its making, its change and its end
    view = desk.open()
    desk.pay(view)
    desk.deliver(view)
    refund_there(desk, view)
    (sent,) = [one for one in desk.sim.deliveries() if one.type == "refund.created"]
    bodies = [json.dumps({**sent.event, "id": f"evt_{n}", "type": kind}).encode()
              for n, kind in enumerate(("refund.created", "refund.updated", "refund.updated"))]
    with door(desk.env) as (client, _):
        for body in bodies:
            assert client.post(PATH, content=body, headers=signed(body)).status_code == 200
    asked.clear()
    work(desk.env)
    assert [one for one, _ in asked].count("fetch_refund") == 1
    assert {row["state"] for row in rows(desk)} == {"done"}
    assert desk.payment(view).refunded == USD("1.00")


def test_a_subscription_that_cannot_be_laid_down_holds_up_no_other(there, monkeypatch):
    # I29: it waits, is parked, and stands where a person sees it; the others are done at once
    there.plan("pro", credits=100)
    subs = [there.subscribe(there.user()) for _ in range(3)]
    for sub in subs:
        there.sim.pay(sub.page_ref)
    there.deliver()
    bad = there.look(subs[1]).provider_ref
    stripe = type(there.env.providers["stripe"])
    real = stripe.fetch_subscription

    def fetch(self, ref):
        if ref == bad:
            raise ZeroDivisionError("poison")
        return real(self, ref)

    monkeypatch.setattr(stripe, "fetch_subscription", fetch)
    there.go_on(days=31, hours=2)
    with door(there.env) as (client, _):
        deliver(there, client)
    work(there.env)
    assert [len(there.billing.invoices(one)) for one in subs] == [2, 1, 2]
    for _ in range(there.env.settings.inbox_max_tries):
        there.billing.clock.advance(hours=2)
        work(there.env)
    parked = [row for row in rows(there) if row["state"] == "parked"]
    assert parked and {row["about"] for row in parked} == {f"subscription:{bad}"}
    monkeypatch.undo()
    found = inbox.replay_parked(there.env)
    assert {one.state for one, _ in found} == {"done"}
    assert len(there.billing.invoices(subs[1])) == 2


# A storm ---------------------------------------------------------------------------------------


def renewed(there: There, count: int) -> list[Any]:
    """So many subscriptions, each with one renewal that nobody heard of."""
    there.plan("pro", credits=100)
    subs = [there.subscribe(there.user()) for _ in range(count)]
    for sub in subs:
        there.sim.pay(sub.page_ref)
    there.deliver()
    settle(there)
    there.go_on(days=31, hours=2)
    return subs


def settle(there: There) -> None:
    """Let what was put off come again; what bears no id of ours counts as another's by then."""
    for _ in range(2):
        there.billing.clock.advance(minutes=15)
        work(there.env)
    assert {row["state"] for row in rows(there)} == {"done"}


def pour(there: There, client: TestClient, seed: int) -> int:
    """Every event twice, shuffled, from several senders; answers how many events there are."""
    found = there.waiting()
    there.heard |= {one.event_id for one in found}
    copies = found * 2
    random.Random(seed).shuffle(copies)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda one: post(client, one), copies))
    return len(found)


def check_renewed(there: There, subs: list[Any]) -> None:
    for sub in subs:
        assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000), (1, "paid", 2000, 2000)]
        assert there.billing.payments(sub) == ["succeeded"] * 2
        assert there.billing.books(sub, "revenue") == 4000
    settle(there)
    assert there.env.providers.health()["stripe"] == "closed"


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_a_storm_of_renewals_asks_once_for_each_subscription(there, asked, seed):
    # S1.17 I1 I29: renewals with all their events, doubled and shuffled
    subs = renewed(there, RENEWALS)
    asked.clear()
    with door(there.env) as (client, _):
        events = pour(there, client, seed)
    assert events >= 6 * RENEWALS
    assert asked == []
    work(there.env)
    refs = {there.look(one).provider_ref for one in subs}
    for method in ("fetch_subscription", "list_invoices"):
        assert Counter(ref for name, ref in asked if name == method) == dict.fromkeys(refs, 1)
    # Of each: the subscription, its invoices, the payment and the tries of the unsettled one.
    assert len(asked) <= 4 * RENEWALS, Counter(name for name, _ in asked)
    check_renewed(there, subs)


@pytest.mark.timeout(300)
def test_a_storm_beyond_what_the_provider_allows_settles_all_the_same(there, asked, seed):
    # I29 I40: asked to slow down it waits; nothing is parked, and the circuit stays closed
    subs = renewed(there, 5)
    there.sim.config(rate_limit=6)
    circuit = there.env.providers.circuit("stripe")
    before = circuit.slowed
    with door(there.env, takes=True) as (client, _):
        pour(there, client, seed)
        until = time.monotonic() + 200
        while any(row["state"] != "done" for row in rows(there) if row["about"]):
            assert time.monotonic() < until, rows(there)
            there.billing.clock.advance(seconds=10)  # What was put off is due again.
            time.sleep(0.1)
    there.sim.config(rate_limit=0)
    assert circuit.slowed > before
    check_renewed(there, subs)


def test_a_provider_that_asks_to_slow_down_uses_up_no_try(there):
    # I40: as often as it does; its circuit stays closed
    sub = begun(there, heard=False)
    there.sim.config(faults=[{"kind": "429", "path": "/v1/*", "times": 10_000}])
    with door(there.env) as (client, _):
        deliver(there, client, "customer.subscription.created", "invoice.paid")
    circuit = there.env.providers.circuit("stripe")
    before = circuit.slowed
    for _ in range(there.env.settings.inbox_max_tries + 2):
        for row in rows(there):
            inbox.replay(there.env, "stripe", "", row["event_id"])
    assert circuit.slowed >= before + there.env.settings.inbox_max_tries
    assert circuit.state == "closed"
    assert {(row["state"], row["tries"]) for row in rows(there)} == {("waiting", 0)}
    assert all("slow down" in row["error"] for row in rows(there))
    there.sim.config(faults=[])
    there.billing.clock.advance(hours=1)
    there.deliver()
    assert there.look(sub).state == "active"
    assert there.billing.balance(sub) == 100
