"""The library's front for items, services and access, and the gate for routes."""

from __future__ import annotations

import pytest
from fastapi import Depends, FastAPI, Header
from fastapi.testclient import TestClient

from paydesk import USD, AsyncPaydesk, Paydesk, ids
from paydesk.errors import AlreadyPurchased, Conflict, InvalidRequest
from paydesk.fastapi import billing_router, requires


@pytest.fixture
def pay(env, sim):
    return Paydesk(env=env, background=False)


def paid(pay, sim, *given, **what):
    session = pay.checkout(*given, **what)
    sim.pay(session.payment.provider_session)
    return pay.verify(session)


def test_a_course_is_bought_and_opened(pay, sim):
    """S1.46 S1.47 S1.49"""
    pay.items.upsert("python", name="Python", price=USD("49.99"), grants=["course:python"],
                     rules=[{"name": "Fair", "customer": {"fair": "yes"}, "percent_off": 50}])
    assert not pay.can("maya", "course:python")
    pay.customers.upsert("ben", metadata={"fair": "yes"})
    assert pay.items.price("python", "ben").price == USD("24.99")
    session = paid(pay, sim, "maya", item="python")
    may = pay.can("maya", "course:python")
    assert may and may.reason == "granted" and may.source.startswith("pur_")
    owned = pay.purchases.list("maya").first()
    assert (owned.state, owned.item_key) == ("completed", "python")
    assert pay.purchases.get(session.payment.id) == pay.purchases.get(owned.id)
    with pytest.raises(AlreadyPurchased):
        pay.checkout("maya", item="python")
    assert [one.key for one in pay.items.list()] == ["python"]
    assert pay.items.deactivate("python").active is False and list(pay.items.list()) == []


def test_a_customer_who_is_not_known_may_nothing(pay):
    """S1.49: and is not made by being asked about."""
    may = pay.can("nobody", "course:python")
    assert (bool(may), may.reason) == (False, "not_purchased")
    assert list(pay.customers.list()) == []


def test_a_service_runs_and_gives_the_platform(pay, sim):
    """S0.29"""
    pay.items.upsert("gold", name="Gold", price=USD("20.00"), kind="service", duration_months=1)
    paid(pay, sim, "maya", service="gold")
    one = pay.services.list("maya").first()
    assert one.active and pay.services.get(one.id) == one
    assert pay.can("maya", "anything:7").expires_at == one.expires_at
    assert not pay.can("maya", "anything:7", at=one.expires_at)


def test_access_by_hand(pay):
    """S1.49"""
    given = pay.access.grant("maya", "lab:1", by="ana", days=3, key="g1")
    assert pay.access.grant("maya", "lab:1", by="ana", days=3, key="g1") == given
    assert [one.name for one in pay.access.list("maya", active=True)] == ["lab:1"]
    assert pay.access.revoke(given, by="ana").status == "revoked"
    with pytest.raises(Conflict):
        pay.access.revoke(given.id, by="ana")


def test_the_hook_prices_every_checkout_of_the_object(pay, sim):
    """S1.46"""
    pay.items.upsert("python", name="Python", price=USD("49.99"))

    @pay.price_item
    def cheap(item, quantity, customer, price):
        return USD("10.00") if customer.external_id.startswith("maya") else None

    assert pay.items.price("python", "maya").price == USD("10.00")
    assert pay.checkout("maya", item="python").total == USD("10.00")
    assert pay.checkout("ben", item="python").total == USD("49.99")
    filled = pay.checkout("maya2", wallet=USD("10.00"))
    sim.pay(filled.payment.provider_session)
    pay.verify(filled.id)
    assert pay.wallets.pay("maya2", item="python").amount == USD("10.00")


def test_a_code_for_an_item_takes_off_what_its_checkout_will(pay, sim):
    """S1.46 S4.41: the customer's own price, by rules and by the hook; kept for the checkout."""
    pay.items.upsert("python", name="Python", price=USD("50.00"), most_quantity=4,
                     rules=[{"name": "Team", "quantity_from": 2, "percent_off": 10}])  # fmt: skip
    pay.items.upsert("club", name="Club", price=USD("60.00"), kind="service", duration_months=6)
    pay.promos.upsert("TEN", percent_off=10)
    pay.price_item(lambda item, n, who, price: USD("20.00") if who.external_id == "joe" else None)
    assert pay.promos.validate("TEN", "maya", item="python", quantity=2).total == USD("81.00")
    assert pay.promos.validate("TEN", "joe", item="python").total == USD("18.00")
    assert pay.promos.apply("TEN", "maya", service="club").total == USD("54.00")
    assert pay.checkout("maya", service="club").total == USD("54.00")
    kept = pay.promos.apply("TEN", "joe", item="python")
    session = pay.checkout("joe", item="python")
    assert (session.total, session.payment.id) == (
        USD("18.00"), ids.show("payment", kept.payment_id))  # fmt: skip
    with pytest.raises(InvalidRequest):
        pay.promos.validate("TEN", "maya", item="club")
    with pytest.raises(InvalidRequest):
        pay.promos.validate("TEN", "maya", item="python", credits=20)


def user(x_user: str = Header("")) -> str:
    return x_user


@pytest.fixture
def client(pay):
    """An application whose routes are gated; one names its desk, one takes the router's."""
    app = FastAPI()
    desk = AsyncPaydesk(paydesk=pay)
    app.include_router(billing_router(desk, customer=user, worker=False), prefix="/billing")

    @app.get("/courses/{slug}")
    def course(slug: str, access=Depends(requires("course:{slug}"))):
        return {"until": access.expires_at, "because": access.source}

    @app.get("/export", dependencies=[Depends(requires("exports", pay=pay, customer=user))])
    async def export():
        return {"ok": True}

    with TestClient(app) as opened:
        yield opened


def test_a_route_is_gated_by_access(client, pay):
    """S1.49: 402 with where to buy it; the dependency hands on what it found."""
    pay.items.upsert("python", name="Python", price=USD("49.99"), grants=["course:python"])
    maya = {"x-user": "maya"}
    refused = client.get("/courses/python", headers=maya)
    assert refused.status_code == 402, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    body = refused.json()
    assert (body["code"], body["reason"], body["resource"]) == (
        "access_required", "not_purchased", "course:python")  # fmt: skip
    assert "/portal/offer?item=python&for=" in body["offer_url"]
    given = pay.access.grant("maya", "course:python", by="ana")
    assert client.get("/courses/python", headers=maya).json()["because"] == given.source_ref
    assert client.get("/courses/go", headers=maya).json()["code"] == "access_required"
    assert client.get("/courses/python", headers={"x-user": "ben"}).status_code == 402
    assert client.get("/export", headers=maya).status_code == 402
    pay.access.grant("maya", "exports", by="ana")
    assert client.get("/export", headers=maya).json() == {"ok": True}


def test_a_gate_without_a_desk_says_what_is_missing(pay):
    app = FastAPI()

    @app.get("/x", dependencies=[Depends(requires("exports"))])
    def route():
        return {}

    with pytest.raises(RuntimeError, match="billing_router"):
        TestClient(app).get("/x")


def test_what_names_no_resource_is_refused_when_the_gate_is_made():
    from paydesk.errors import InvalidRequest

    with pytest.raises(InvalidRequest):
        requires("no resource")
