"""Refunds over HTTP: who may ask, look, decide and see."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from decimal import Decimal

import jwt
import purse
import pytest
from http_support import Client

from paydesk.errors import Conflict
from paydesk.flows import checkout, inbox, staff
from paydesk.flows.checkout import StartCheckout
from paydesk.http.app import create_app
from paydesk.rules.money import USD


@pytest.fixture
def shop(env, sim, make):
    """Opens clients of a desk with some settings; buys packs there."""
    make.pack()

    class Shop:
        def __init__(self):
            self.stack = contextlib.ExitStack()

        def client(self, **settings):
            told = replace(env, settings=replace(env.settings, **settings))
            return self.stack.enter_context(Client(create_app(told)))

        def bought(self, external_id="maya"):
            user = make.user(external_id)
            view = checkout.start(env, StartCheckout(customer_id=user.uuid, pack="creator"))
            sim.pay(view.payment.session_ref)
            for one in sim.deliveries(about=view.payment.session_ref):
                inbox.receive(env, "stripe", one.body, one.headers)
            return view.payment.handle

    made = Shop()
    with made.stack:
        yield made


def test_staff_refund_in_parts_and_everybody_reads_alike(shop):
    # S1.51 S0.22
    client, pay = shop.client(), shop.bought()
    finance, maya = client.as_user("rosa", role="finance"), client.as_user("maya")
    seen = finance.get(f"/v1/payments/{pay}/refunds/preview?amount=499").json()
    assert (seen["credits_taken_back"], seen["refundable"], seen["obstacle"]) == (75, 999, None)
    made = finance.post(f"/v1/payments/{pay}/refunds", json={
        "amount": 499, "reason": "requested_by_customer", "note": "by phone"})  # fmt: skip
    assert made.status_code == 201 and made.headers["location"].endswith(made.json()["id"])
    body = made.json()
    assert (body["status"], body["credits_taken_back"], body["payment_refundable"]) == (
        "succeeded", 75, 500)
    assert body["requested_by"] and body["note"] == "by phone"
    rest = finance.post("/v1/refunds", json={"payment": pay}).json()
    assert (rest["amount"], rest["payment_status"]) == (500, "refunded")
    paid = finance.get(f"/v1/payments/{pay}").json()
    assert (paid["status"], paid["refunded"], paid["refundable"]) == ("refunded", 999, 0)
    assert paid["refund_reason"] == "requested_by_customer" and paid["refunded_at"]
    assert {"refund.created", "refund.succeeded"} <= {s["type"] for s in paid["timeline"]}
    mine = maya.get(paid["refunds"]).json()["data"]
    assert [one["amount"] for one in mine] == [500, 499]
    assert "requested_by" not in mine[0] and "note" not in mine[0]
    again = client.as_user("omar").get(f"/v1/refunds/{body['id']}")
    assert again.status_code == 404
    assert client.as_user("omar").get("/v1/refunds").json()["data"] == []
    assert len(finance.get("/v1/refunds?limit=1").json()["data"]) == 1


def test_customers_refund_nothing_and_support_only_asks(shop):
    # S3.20 I33
    client, pay = shop.client(), shop.bought()
    assert client.as_user("maya").post("/v1/refunds", json={"payment": pay}).status_code == 403
    support = client.as_user("sam", role="support")
    asked = support.post("/v1/refunds", json={"payment": pay, "amount": 100})
    assert asked.json()["status"] == "requested"
    ref = asked.json()["id"]
    assert support.post(f"/v1/refunds/{ref}/approve", json={}).status_code == 403
    finance = client.as_user("rosa", role="finance")
    done = finance.post(f"/v1/refunds/{ref}/approve", json={"note": "fine"}).json()
    assert (done["status"], done["decision_note"]) == ("succeeded", "fine")


def test_nobody_approves_his_own(shop):
    # S3.20
    client, pay = shop.client(refund_approval_threshold=Decimal("5")), shop.bought()
    finance = client.as_user("rosa", role="finance")
    ref = finance.post("/v1/refunds", json={"payment": pay}).json()["id"]
    own = finance.post(f"/v1/refunds/{ref}/approve", json={})
    assert (own.status_code, own.json()["code"]) == (409, "approval_required")
    waiting = finance.get("/v1/refunds?status=requested").json()["data"]
    assert [one["id"] for one in waiting] == [ref]
    other = client.as_user("omar", role="finance")
    assert other.post(f"/v1/refunds/{ref}/reject", json={}).json()["status"] == "rejected"
    again = finance.post("/v1/refunds", json={"payment": pay}).json()["id"]
    assert other.post(f"/v1/refunds/{again}/cancel").status_code == 403
    assert finance.post(f"/v1/refunds/{again}/cancel").json()["status"] == "canceled"


def test_the_same_key_refunds_once(shop):
    # I6
    client, pay = shop.client().as_key(), shop.bought()
    told = {"json": {"payment": pay, "amount": 100}, "headers": {"Idempotency-Key": "r-1"}}
    first, again = client.post("/v1/refunds", **told), client.post("/v1/refunds", **told)
    assert first.json()["id"] == again.json()["id"]
    other = client.post("/v1/refunds", json={"payment": pay, "amount": 200},
                        headers={"Idempotency-Key": "r-1"})  # fmt: skip
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"
    assert client.get(f"/v1/payments/{pay}").json()["refunded"] == 100


def test_refusals_say_why(shop, clock):
    # S1.51
    client, pay = shop.client(), shop.bought()
    finance = client.as_user("rosa", role="finance")
    much = finance.post("/v1/refunds", json={"payment": pay, "amount": 1000})
    assert (much.status_code, much.json()["code"], much.json()["refundable"]) == (
        409, "not_refundable", 999)
    wrong = finance.post("/v1/refunds", json={"payment": pay, "amount": 1, "currency": "eur"})
    assert wrong.status_code == 422
    clock.advance(days=31)
    late = finance.post("/v1/refunds", json={"payment": pay})
    assert (late.status_code, late.json()["code"]) == (409, "refund_window_closed")
    forced = finance.post("/v1/refunds", json={"payment": pay, "force": True})
    assert forced.status_code == 403
    admin = client.as_user("root", role="admin")
    done = admin.post("/v1/refunds", json={"payment": pay, "force": True})
    assert done.json()["forced"] is True


def asked(client, pay, **who):
    made = client.post(f"/v1/payments/{pay}/refunds", json={"amount": 600}, **who)
    assert made.json()["status"] == "requested", made.text
    return made.json()["id"]


@pytest.fixture
def people(shop, env):
    """A desk where more than 5.00 needs two persons, and what opens it for each of them."""

    class People:
        client = shop.client(refund_approval_threshold=Decimal("5"))

        def bearer(self, token):
            return {"headers": {"Authorization": f"Bearer {token}"}}

        def session(self, email, role="admin"):
            with contextlib.suppress(Conflict):
                staff.add(env, email, "Somebody", role, "battery-horse-staple")
            return self.bearer(staff.sign_in(env, email, "battery-horse-staple")[1])

        def key(self, by, role="finance", **more):
            made = self.client.post("/v1/keys", json={"name": "k", "role": role, **more}, **by)
            assert made.status_code == 201, made.text
            return self.bearer(made.json()["secret"])

        def decides(self, ref, who, action="approve"):
            done = self.client.post(f"/v1/refunds/{ref}/{action}", json={}, **who)
            return done.json().get("code") or done.json()["status"]

    return People()


def test_a_key_and_a_session_of_one_person_are_two_eyes_only(people, shop):  # S3.20
    pay, client = shop.bought(), people.client
    rosa, omar = people.session("rosa@example.com"), people.session("omar@example.com")
    server = people.key(rosa, role="admin")  # Nobody's: it counts as Rosa, who made it.
    ref = asked(client, pay, **rosa)
    assert people.decides(ref, server) == "approval_required"
    assert people.decides(ref, omar, "reject") == "rejected"
    ref = asked(client, pay, **server)
    assert people.decides(ref, rosa) == "approval_required"
    assert people.decides(ref, people.key(server)) == "approval_required"
    assert people.decides(ref, people.key(server, role="admin"), "reject") == "approval_required"
    assert people.decides(ref, omar) == "succeeded"


# S1.28 S3.20 I34
def test_what_a_cancellation_gives_back_above_the_limit_needs_two_persons(people, shop, make):
    client = people.client
    rosa, omar = people.session("rosa@example.com"), people.session("omar@example.com")
    make.user("lena")
    plan = {"name": "Pro", "amount": 2000, "currency": "usd", "family": "app"}
    assert client.put("/v1/plans/pro", json=plan, **rosa).status_code == 200
    card = {"customer": "lena", "token": "pm_card_visa"}
    assert client.post("/v1/payment_methods", json=card, **rosa).status_code == 201
    sub = client.post("/v1/subscriptions", json={"customer": "lena", "plan": "pro"}, **rosa).json()
    path, body = f"/v1/subscriptions/{sub['id']}/cancel", {"at": "now", "refund": "unused"}
    help_desk = people.session("ana@example.com", "support")
    assert client.post(path, json=body, **help_desk).status_code == 403
    ended = client.post(path, json=body, **rosa)
    assert (ended.status_code, ended.json()["status"]) == (200, "canceled"), ended.text
    (ref,) = client.get("/v1/refunds?customer=lena", **rosa).json()["data"]
    assert (ref["status"], ref["amount"]) == ("requested", 2000)
    (note,) = client.get("/v1/credit-notes?customer=lena", **rosa).json()["data"]
    assert (note["status"], note["amount"]) == ("issued", 2000)
    assert people.decides(ref["id"], rosa) == "approval_required", "she asked for it"
    assert people.decides(ref["id"], people.key(rosa, role="admin")) == "approval_required"
    assert people.decides(ref["id"], omar) == "succeeded"
    again = client.post(path, json=body, **rosa)
    assert (again.status_code, again.json()["status"]) == (200, "canceled")
    assert len(client.get("/v1/refunds?customer=lena", **rosa).json()["data"]) == 1


def test_a_key_has_an_owner_who_is_asked_for(people, shop):  # S3.20
    pay, client = shop.bought(), people.client
    rosa, omar = people.session("rosa@example.com"), people.session("omar@example.com")
    nora = people.session("nora@example.com", "finance")
    noras = people.key(rosa, owner="Nora@example.com")
    omars = people.key(rosa, owner="omar@example.com")
    unknown = client.post(
        "/v1/keys", json={"name": "k", "role": "finance", "owner": "no@example.com"}, **rosa
    )
    assert (unknown.status_code, unknown.json()["param"]) == (422, "owner")
    ref = asked(client, pay, **nora)
    assert people.decides(ref, noras) == "approval_required"
    assert people.decides(ref, omars, "reject") == "rejected"
    ref = asked(client, pay, **rosa)
    assert people.decides(ref, noras) == "approval_required"  # Rosa has seen its secret.
    assert people.decides(ref, nora, "reject") == "rejected"
    ref = asked(client, pay, **noras)
    assert people.decides(ref, omar) == "succeeded"


def test_whoever_rolls_a_key_has_seen_it(people, shop):  # S3.20
    pay, client = shop.bought(), people.client
    rosa, omar = people.session("rosa@example.com"), people.session("omar@example.com")
    made = client.post("/v1/keys", json={"name": "k", "role": "finance"}, **rosa).json()
    assert (made["owner"], made["seen_by"]) == (None, ["rosa@example.com"])
    rolled = client.post(f"/v1/keys/{made['id']}/roll", json={}, **omar).json()
    assert rolled["seen_by"] == ["rosa@example.com", "omar@example.com"]
    ref = asked(client, pay, **omar)
    assert people.decides(ref, people.bearer(rolled["secret"])) == "approval_required"


def test_a_token_with_the_staff_members_address_is_the_same_person(people, shop, env):  # S3.20
    pay, client = shop.bought(), people.client
    rosa = people.session("rosa@example.com")
    ref = asked(client, pay, **rosa)
    token = env.settings.jwt_secret and jwt.encode(
        {"sub": "u_77", "email": "Rosa@Example.com", "role": "finance", "exp": 4_000_000_000},
        env.settings.jwt_secret, algorithm="HS256",
    )  # fmt: skip
    assert people.decides(ref, people.bearer(token)) == "approval_required"


def test_a_tokens_user_is_one_person_under_every_address(people, shop, env):  # S3.20
    def bearer(**claims):
        told = {"role": "finance", "exp": 4_000_000_000, **claims}
        return people.bearer(jwt.encode(told, env.settings.jwt_secret, algorithm="HS256"))

    pay, client = shop.bought(), people.client
    ref = asked(client, pay, **bearer(sub="u_77", email="old@example.com"))
    renamed = bearer(sub="u_77", email="new@example.com")
    assert people.decides(ref, renamed) == "approval_required"
    assert people.decides(ref, bearer(sub="u_78"), "reject") == "rejected"
    ref = asked(client, pay, **people.session("rosa@example.com"))
    assert people.decides(ref, bearer(sub="Rosa@example.com")) == "approval_required"


def test_withdrawals_are_decided_by_another_person_too(people, env, make):  # S3.20
    user = make.user("maya")
    purse.fill(env, user, USD("2000.00"))
    admin, omar = people.session("rosa@example.com"), people.session("omar@example.com")
    key = people.key(admin, role="admin")
    made = people.client.post("/v1/withdrawals", json={
        "customer": "maya", "amount": 150000, "currency": "usd", "destination": "IBAN 1"}, **key)
    assert made.json()["status"] == "requested", made.text
    path = f"/v1/withdrawals/{made.json()['id']}/decide"
    own = people.client.post(path, json={"decision": "approve"}, **admin)
    assert own.json()["code"] == "approval_required"
    other = people.client.post(path, json={"decision": "approve"}, **omar)
    assert other.json()["status"] == "approved"
