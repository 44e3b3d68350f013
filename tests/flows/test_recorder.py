"""Every statement that the hot flows send names its customer, so that it stays on one shard."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "http"))

from http_support import OWN_KEY, Client
from purchase import DECLINED
from statements import KEY, OWNED, ROOT, keyless, of_function, recording, touched

from paydesk import ids
from paydesk.flows import (
    checkout,
    credits,
    customers,
    events,
    handlers,
    inbox,
    payment_trail,
    payments,
    promos,
)
from paydesk.http import hot
from paydesk.http.app import create_app
from paydesk.worker import Worker

#: Statements that look over customers, by a part of their text, and why they may. A sweep selects
#: candidates without locks, then locks each customer's head and looks again.
ALLOWED: dict[str, str] = {
    "from batches where open and clock_id is null and expires_at <=": "sweep: credits that end",
    "from news where customer_id <> all": "publisher: who has something new",
    "from feeds where sink = %(sink)s and try_at <=": "handlers: feeds that are due",
    "from deliveries where sink = %(sink)s and state = 'waiting'": "handlers: retries that are due",
    "from fulfillments where state = 'due' and try_at <=": "sweep: goods to be handed over",
    "from provider_calls where state in ('intended', 'unknown')": "sweep: calls without an answer",
    "from attempts where ended_at is null and clock_id is null": "sweep: sessions that end",
    "from promo_uses u left join payments p": "sweep: uses of codes that nobody will pay for",
    "delete from answers where (customer_id, request_key) in": "sweep: answers kept long enough",
    "select customer_id, id from payments where true": "admin: everybody's payments",
    "from events where created_at >= %(since)s": "admin: everybody's events",
    "from setups where clock_id is null and state in": "sweep: setups that end",
    "from holds where state = 'open' and clock_id is null": "sweep: holds that end",
    "from webhook_deliveries d where d.endpoint_id = e.id": "sweep: endpoints with something due",
    "from webhook_deliveries where created_at <": "sweep: deliveries kept long enough",
    "from notifications where state = 'waiting' and try_at <=": "sweep: mails that are due",
    "not exists (select 1 from notifications n": "sweep: credits that will end soon",
    "from refills where woken and state = 'active'": "sweep: refills that were woken or are due",
    "from payments p left join reminders r": "sweep: payments to be reminded of",
    "from invoices i left join reminders r": "sweep: open invoices to be reminded of",
    "from subscriptions t join plan_versions v": "sweep: renewals and cards to be told of",
    "with part as materialized (select customer_id, id from subscriptions":
        "sweep: all, after the settings of notices changed",
    "from subscriptions where look_at <=": "sweep: what providers run, to be looked at there",
    "from invoices where number is null": "sweep: invoices without a number",
    "from credit_notes where number is null": "sweep: credit notes without a number",
    "from customer_services where state = 'active' and clock_id is null": "sweep: ended services",
    "from access_grants where clock_id is null and ended_at is null": "sweep: access that ends",
    "from refunds where state = 'pending' and clock_id is null": "sweep: refunds to ask about",
    "from disputes where state = 'needs_response'": "sweep: disputes to be answered soon",
    "not exists (select from reconciliation_refs r": "reconciliation: what the provider named not",
    "from subscriptions where clock_id is null": "sweep: subscriptions that are due",
    "from invoices where try_at <=": "sweep: invoices to be charged again",
    "least((select min(created_at) from payments)": "figures: where the days begin",
}
#: Reads for the figures of a day that has ended: a story told before midnight has one.
BY_DAY = {"paydesk.flows.rollups._compute_day"}
#: Modules that must have been heard, or the story has lost its point.
FLOWS = {"checkout", "credit_grants", "credit_moves", "credit_views", "credits", "customers",
         "events", "handlers", "heads", "payments", "promos", "provider_calls"}  # fmt: skip


def test_the_recorder_tells_statements_with_a_customer_from_those_without():
    good = [
        "select 1 from heads where customer_id = %(c)s",
        "select 1 from payments p where p.id = %(i)s and p.customer_id = any(%(all)s)",
        "select 1 from unnest(%(c)s::uuid[]) as k(c) cross join lateral"
        " (select id from payments where customer_id = k.c limit 1) p",
        "select 1 from accounts a join heads h using (customer_id) where customer_id = %(c)s",
        "select 1 from heads h join news n on n.customer_id = h.customer_id"
        " where n.customer_id = %(c)s",
        "update heads h set seq = b.n from unnest(%(c)s::uuid[], %(n)s::int[]) as b(c, n)"
        " where h.customer_id = b.c",
        "insert into news (customer_id) values (%(c)s) on conflict do nothing",
        "with moved as (update heads set seq = seq + 1 where customer_id = %(c)s"
        " returning customer_id) select * from moved",
        "delete from news where customer_id = any(%(c)s)",
    ]
    bad = {
        "select 1 from payments where id = %(i)s": {"payments"},
        "select 1 from payments where customer_id = %(c)s or id = %(i)s": {"payments"},
        "select 1 from payments where customer_id <> all(%(c)s)": {"payments"},
        "select 1 from payments where %(c)s is null or customer_id = %(c)s": {"payments"},
        "select 1 from heads h join news n using (customer_id)": {"heads", "news"},
        "select 1 from provider_refs r join payments p on p.customer_id = r.customer_id"
        " where r.ref = %(r)s": {"payments"},
        "update batches set remaining = 0 where id = %(i)s": {"batches"},
        "delete from news": {"news"},
        "insert into news select * from heads where customer_id = %(c)s": {"news"},
        "select (select count(*) from events) as n": {"events"},
    }
    assert {text: keyless(text) for text in good} == {text: set() for text in good}
    assert {text: keyless(text) for text in bad} == bad


@pytest.fixture
def story(desk):
    """What all flows need to be there, made before anything is recorded."""
    desk.make.promo("WELCOME10", percent_off=10, cap=100, per_customer=3)
    handlers.register(desk.env, "handlers")
    buyer, friend = desk.make.user("buyer"), desk.make.user("friend")
    customers.update(desk.env, friend, owner=buyer)
    return SimpleNamespace(buyer=buyer, friend=friend)


def play_purchase(desk, story):
    """Checkout, webhook, verify and success page, a decline, an expiry, a promo code."""
    env, buyer = desk.env, story.buyer
    promos.quote(env, "WELCOME10", buyer.uuid, pack="creator")
    paid = desk.open(buyer, pack="creator", promo="WELCOME10",
                     request_key=ids.request_key("app", "one"))  # fmt: skip
    desk.pay(paid)
    desk.deliver(paid)
    desk.deliver(paid)
    polled = desk.open(buyer)
    desk.pay(polled)
    checkout.verify(env, polled.payment.session_ref)
    checkout.get(env, buyer.uuid, polled.id)
    checkout.count_verification(env, buyer.uuid, polled.id, 3)
    refused = desk.open(buyer)
    desk.pay(refused, card=DECLINED)
    desk.deliver(refused)
    checkout.expire_now(env, buyer.uuid, refused.id)
    left = desk.open(buyer, pack="creator", promo="WELCOME10")
    inbox.replay(env, "stripe", "", desk.events(paid)[0].event_id)
    story.paid, story.left = paid, left


def play_credits(desk, story):
    env, buyer, friend = desk.env, story.buyer.uuid, story.friend.uuid
    credits.grant_now(env, buyer, 40, kind="promotional", request_key=ids.request_key("a", "g"),
                      expires_at=env.now() + timedelta(minutes=5))  # fmt: skip
    key = ids.request_key("app", "spend")
    spent = credits.spend_now(env, credits.new_spend(buyer, 25, "export", request_key=key))
    credits.spend_now(env, credits.new_spend(buyer, 25, "export", request_key=key))
    credits.spend_many_now(env, [credits.new_spend(one, 1, "bulk") for one in (buyer, friend)])
    credits.refund_spend_now(env, buyer, spent.transfer_id, 10)
    credits.transfer_now(env, buyer, friend, 7, request_key=ids.request_key("app", "move"))
    with env.db.read() as tx:
        credits.balance(tx, buyer, env.now())
        credits.balance_total(tx, buyer, env.now())
        credits.history(tx, buyer, limit=20)
        credits.batches(tx, buyer)
    hot.read_balances(env, [buyer, friend])
    desk.clock.advance(minutes=10)
    hot.read_balances(env, [buyer, friend])
    credits.expire_due(env)


def play_reading(desk, story):
    env, buyer = desk.env, story.buyer.uuid
    found = payments.get(env, buyer, story.paid.payment.session_ref)
    payments.get(env, None, found.handle)
    page = payments.list_(env, buyer, limit=2)
    payments.list_(env, buyer, limit=2, after=page[-1].id)
    payments.list_(env, buyer, limit=2, before=page[-1].id)
    payments.list_(env, limit=2)
    payments.history(env, buyer)
    payments.stats(env, buyer)
    with env.db.read() as tx:
        payment_trail.timeline(tx, found)
        payment_trail.attempts(tx, buyer, found.id)
        events.follow(tx, buyer, 0)
        events.last_seq(tx, buyer)
    events.list_events(env, buyer)
    events.list_events(env, limit=1)
    customers.get(env, story.buyer.external_id)
    customers.update(env, story.buyer.uuid, name="Ada Example")


def play_http(desk, story):
    """The same by the addresses that applications use, old and new, with keys and repeats."""
    with Client(create_app(desk.env), f"Bearer {OWN_KEY}") as server:
        user = server.as_user("buyer")
        order = {"pack": "creator", "customer": "buyer"}
        spend = {"customer": "buyer", "credits": 2}
        for name in ("one", "one", "two"):
            keyed = {"Idempotency-Key": f'"{name}"'}
            made = server.post("/v1/checkouts", json=order, headers=keyed).json()
            spent = server.post("/v1/credits/spend", json=spend, headers=keyed).json()
        for path in (
            f"/v1/checkouts/{made['id']}", f"/v1/payments/{made['payment']['id']}",
            "/v1/payments?customer=buyer", "/v1/credits/history?customer=buyer",
            "/v1/events?customer=buyer", "/v1/credits/balance?customer=buyer&expand=batches",
            "/v1/customers/buyer",
        ):  # fmt: skip
            assert server.get(path).status_code == 200, path
        for path in ("/api/credits/payment-history", "/api/credits/payment-stats",
                     "/payment/credits/balance", "/payment/credits/history"):  # fmt: skip
            assert user.get(path).status_code == 200, path
        refund = {"customer": "buyer", "spend": spent["id"]}
        for path, body in (
            ("/v1/credits/refund", refund),
            ("/v1/credits/grant", {"customer": "buyer", "credits": 5, "kind": "promotional"}),
            ("/v1/credits/transfer", {"customer": "buyer", "to": "friend", "credits": 1}),
            ("/v1/credits/spend/bulk", {"items": [spend, {**spend, "key": "k"}]}),
        ):  # fmt: skip
            assert server.post(path, json=body).is_success, server.post(path, json=body).text


def play_sweeps(desk, story):
    events.publish(desk.env)
    handlers.drain(desk.env, "handlers", lambda event: None)
    desk.clock.advance(minutes=40)
    for _ in range(3):
        Worker(desk.env).run_once()
        desk.clock.advance(minutes=3)


def test_every_statement_of_the_hot_flows_names_its_customer(desk, story):
    # scale rule 6: one customer is one shard
    with recording() as recorder:
        for play in (play_purchase, play_credits, play_reading, play_http, play_sweeps):
            play(desk, story)
    sent = {text: sender for text, sender in recorder.sent.items() if touched(text)}
    assert len(sent) > 60
    senders = {sender.split(".")[2] for sender in sent.values() if ".flows." in sender}
    assert senders >= FLOWS
    wrong = {
        f"{sender}: {text}": keyless(text)
        for text, sender in sent.items()
        if keyless(text) and not any(part in text for part in ALLOWED) and sender not in BY_DAY
    }
    assert not wrong, "\n".join(f"{tables} {where}" for where, tables in wrong.items())
    unused = [part for part in ALLOWED if not any(part in text for text in sent)]
    assert not unused, f"allowed, and sent by nobody: {unused}"


#: What functions look up beside a customer's own rows, by an index of its own.
ACROSS = {
    "select x.customer_id from payment_methods x where x.fingerprint = p_card limit 500":
        "risk: how many customers saved one card",
}  # fmt: skip
FUNCTIONS = sorted((ROOT / "src/paydesk/db/functions").glob("*.sql"))


@pytest.mark.parametrize("path", FUNCTIONS, ids=lambda path: path.stem)
def test_every_statement_in_a_function_names_its_customer(path):
    """scale rule 6; or a row's place (ctid), which a keyed read of the same call has found."""
    statements = of_function(path.read_text(encoding="utf-8"))
    for known in ACROSS:
        statements = [text.replace(known, "select null") for text in statements]
    wrong = {text: found for text in statements
             if (found := keyless(text, frozenset({KEY, "ctid"})))}  # fmt: skip
    assert not wrong
    named = set().union(*map(touched, statements))
    assert named or path.stem == "owned_id_v1"


def test_owned_tables_are_those_with_a_customer(db):
    """What the recorder looks at is what the schema says."""
    sql = (
        "select table_name as name from information_schema.columns"
        " where table_schema = 'public' and column_name = %(key)s"
    )
    with db.read() as tx:
        rows = tx.all(sql, {"key": KEY})
    assert {row["name"] for row in rows} >= OWNED
