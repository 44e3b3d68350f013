"""The billing router inside an application: the documented sample, bad input, webhooks, live."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi import Depends, FastAPI, Header, Query
from fastapi.testclient import TestClient

from paydesk import USD, AsyncPaydesk, Paydesk
from paydesk.fastapi import billing_router


def user(x_user: str = Header("")) -> str:
    return x_user


def live_user(user: str = Query("")) -> str:
    return user


ME = {"x-user": "maya"}


@pytest.fixture
def client(env, sim, monkeypatch):
    """An application over the test's own environment, which outlives it."""
    pay = AsyncPaydesk(paydesk=Paydesk(env=env))
    pay.paydesk.packs.upsert("creator", name="Creator Pack", credits=150, price=USD("9.99"))
    app = FastAPI()
    app.state.pay = pay
    router = billing_router(pay, customer=user, live_customer=live_user)
    app.include_router(router, prefix="/billing")
    paid = app.state.paid = []

    @pay.on("payment.succeeded")
    async def fulfil(event):
        await asyncio.sleep(0)
        paid.append(event.payment.metadata["order_id"])

    @app.post("/orders/{order_id}/pay")
    async def start(order_id: str, who: str = Depends(user)):
        session = await pay.checkout(customer=who, amount=USD("25.00"),
                                     metadata={"order_id": order_id})  # fmt: skip
        return {"url": session.url, "session": session.payment.provider_session}

    with TestClient(app) as opened:
        yield opened


def buy(client, **body):
    return client.post("/billing/checkout", json={"pack": "creator", **body}, headers=ME)


def test_a_customer_buys_a_pack_and_the_webhook_credits_it(client, sim):
    """S4.19 S4.24: the webhook comes in through the application's own path."""
    answer = buy(client, success_url="https://app.example.com/thanks")
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["amount_decimal"], told["payment_status"]) == ("9.99", "pending")
    session = client.app.state.pay.paydesk.payments.get(answer.json()["id"]).provider_session
    sim.pay(session)
    for delivery in [*sim.deliveries(), *sim.deliveries()]:
        got = client.post("/billing/webhooks/stripe", content=delivery.body,
                          headers=delivery.headers)  # fmt: skip
        assert got.json() == {"received": True}
    found = client.get("/billing/balance", headers=ME).json()
    assert (found["balance"], found["by_kind"]) == (150, {"purchased": 150})
    done = client.post(f"/billing/checkout/{answer.json()['id']}/verify", headers=ME).json()
    assert done["payment_status"] == "succeeded"


def test_the_applications_order_is_marked_as_paid_once(client, sim, wait_until):
    """The documented sample, with an async handler."""
    answer = client.post("/orders/1042/pay", headers=ME).json()
    sim.pay(answer["session"])
    client.app.state.pay.paydesk.verify(answer["session"])
    wait_until(lambda: client.app.state.paid == ["1042"])


def test_another_customers_checkout_is_not_there(client):
    """I33"""
    mine = buy(client).json()["id"]
    client.app.state.pay.paydesk.customers.upsert("eve")
    answers = [
        client.post(f"/billing/checkout/{one}/verify", headers={"x-user": "eve"})
        for one in (mine, "cs_" + "0" * 26)
    ]
    assert [a.status_code for a in answers] == [404, 404]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"pack": "creator", "amount": 1}, 422),
        ({"pack": "creator", "credits": 10}, 422),
        ({"credits": 10.0}, 422),
        ({"credits": "10"}, 422),
        ({"credits": True}, 422),
        ({"credits": 10**30}, 422),
        ({"pack": "nobody"}, 404),
        ({"pack": "creator", "promo": "NONE"}, 422),
        ({"pack": "creator", "email": "no address"}, 422),
        ({"pack": "nul\0"}, 422),
        ({}, 422),
        ([], 422),
    ],
)
def test_bad_input_is_a_problem_with_a_stable_code(client, body, status):
    """I35 I38: the price never comes from the client."""
    answer = client.post("/billing/checkout", json=body, headers=ME)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] and answer.json()["request_id"].startswith("req_")


@pytest.mark.parametrize("raw", [b"{", b"\xff", b"[" * 9999, b'{"pack": NaN}', b""])
def test_a_body_that_cannot_be_read_is_a_problem(client, raw):
    """I38"""
    answer = client.post("/billing/checkout", content=raw,
                         headers={**ME, "content-type": "application/json"})  # fmt: skip
    assert 400 <= answer.status_code < 500 and answer.json()["code"]


def test_a_webhook_without_a_valid_signature_changes_nothing(client):
    """I31"""
    for headers in ({}, {"stripe-signature": "t=1,v1=00"}, {"stripe-signature": "\xe9"}):
        encoded = {k: v.encode("latin-1") for k, v in headers.items()}
        answer = client.post("/billing/webhooks/stripe", content=b"{}", headers=encoded)
        assert answer.status_code == 400 and answer.json()["legacy_code"] == "PAY005"
    assert client.post("/billing/webhooks/nobody", content=b"{}").status_code == 404
    large = client.post("/billing/webhooks/stripe", content=b"x" * 300_000)
    assert large.status_code == 413


def test_the_same_idempotency_key_is_the_same_checkout(client):
    """I27"""
    headers = {**ME, "idempotency-key": '"order-7"'}
    first, again = (
        client.post("/billing/checkout", json={"pack": "creator"}, headers=headers).json()
        for _ in range(2)
    )
    assert first == again
    other = client.post("/billing/checkout", json={"credits": 20}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_the_balance_is_pushed(client):
    """S4.5"""
    pay = client.app.state.pay.paydesk
    with client.websocket_connect("/billing/live?user=maya") as socket:
        assert json.loads(socket.receive_text())["balance"] == 0
        pay.credits.grant("maya", 30)
        assert json.loads(socket.receive_text())["balance"] == 30
        pay.spend("maya", 12)
        assert json.loads(socket.receive_text())["balance"] == 18
