"""v1: items, purchases, services and access over HTTP."""

from __future__ import annotations

import pytest
from http_support import problem_of

COURSE = {"name": "Python", "amount": 4999, "grants": [{"type": "course", "id": "python"}],
          "rules": [{"name": "Students", "customer": {"segment": "student"}, "percent_off": 20}]}
MEMBERSHIP = {"name": "Premium Membership", "kind": "service", "amount_decimal": "549.99",
              "duration_months": 6}  # fmt: skip


@pytest.fixture
def shop(sim, http):
    """A desk that sells a course and a membership; the simulator is the provider."""
    assert http.put("/v1/items/python", json=COURSE).status_code == 200
    assert http.put("/v1/items/premium_membership", json=MEMBERSHIP).status_code == 200
    return sim


def paid(sim, client, **what):
    """A checkout that was opened and paid."""
    made = client.post("/v1/checkouts", json=what)
    assert made.status_code == 201, made.text
    sim.pay(made.json()["payment"]["provider_session_id"])
    done = client.post(f"/v1/checkouts/{made.json()['id']}/verify")
    assert done.json()["status"] == "complete", done.text
    return done.json()


def test_items_are_made_shown_and_withdrawn(shop, http, user):
    """S1.46: customers see what is sold, not what others pay."""
    one = http.get("/v1/items/python").json()
    assert one["id"].startswith("item_") and one["rules"] == COURSE["rules"]
    assert one["grants"] == [{"type": "course", "id": "python", "days": None}]
    listed = user.get("/v1/items").json()["data"]
    assert [item["key"] for item in listed] == ["python", "premium_membership"]
    assert all("rules" not in item for item in listed)
    assert user.get("/v1/items?kind=service").json()["data"][0]["duration_months"] == 6
    page = http.get("/v1/items?limit=1").json()
    assert page["has_more"] and len(
        http.get(f"/v1/items?starting_after={page['next_cursor']}").json()["data"]) == 1
    assert http.delete("/v1/items/python").json()["active"] is False
    problem_of(user.get("/v1/items/python"), 404, "not_found")
    problem_of(user.put("/v1/items/x", json=COURSE), 403, "not_permitted")


def test_a_code_is_validated_and_applied_for_items_and_services(shop, http, user):
    """S1.46 S4.17 S4.18: at the price that this customer's checkout asks."""
    http.post("/v1/customers", json={"external_id": "user_123", "metadata": {"segment": "student"}})
    http.put("/v1/promos/TEN", json={"percent_off": 10})
    quote = user.post("/v1/promos/validate", json={"code": "TEN", "item": "python"}).json()
    assert (quote["amount"], quote["discount"], quote["reserved_until"]) == (3599, 400, None)
    club = {"code": "TEN", "service": "premium_membership"}
    assert user.post("/v1/promos/validate", json=club).json()["amount"] == 49499
    kept = user.post("/v1/promos/apply", json={"code": "TEN", "item": "python"}).json()
    assert kept["amount"] == 3599 and kept["reserved_until"]
    assert user.post("/v1/checkouts", json={"item": "python"}).json()["amount"] == 3599
    http.put("/v1/promos/MORE", json={"bonus_credits": 10})
    refused = user.post("/v1/promos/validate", json={"code": "MORE", "item": "python"})
    assert refused.json()["reason"] == "wrong_product"
    problem_of(user.post("/v1/promos/validate", json={"code": "TEN", "item": "nothing"}), 404,
               "not_found")  # fmt: skip
    for more in ({}, {"item": "python", "credits": 20}, {"item": "premium_membership"},
                 {"item": "python", "quantity": 2}, {"service": "python"}):  # fmt: skip
        problem_of(user.post("/v1/promos/validate", json={"code": "TEN", **more}), 422,
                   "invalid_request")  # fmt: skip
    lots = user.post("/v1/promos/validate", json={"code": "TEN", "credits": 20}).json()
    assert (lots["amount"], lots["discount"]) == (1800, 200)


def test_a_price_is_asked_for_and_comes_from_the_server_alone(shop, http, user):
    """S1.46 I35: no body sets a price, a currency or a state."""
    http.post("/v1/customers", json={"external_id": "user_123", "metadata": {"segment": "student"}})
    price = user.get("/v1/items/python/price").json()
    assert (price["full"], price["amount"]) == (4999, 3999)
    assert price["pricing"] == [
        {"rule": "Students", "effect": "percent_off", "off_minor": 1000}]
    for more in ({"price": 1}, {"unit_price": 1}, {"pricing": []}, {"status": "succeeded"}):
        problem_of(user.post("/v1/checkouts", json={"item": "python", **more}), 422,
                   "invalid_request")  # fmt: skip
    problem_of(user.post("/v1/checkouts", json={"item": "python", "amount": 1}), 422,
               "invalid_request")  # fmt: skip
    made = user.post("/v1/checkouts", json={"item": "python", "metadata": {"price": "1"}}).json()
    assert (made["amount"], made["payment"]["item"]) == (3999, "python")


def test_an_item_is_bought_owned_and_not_sold_twice(shop, user):
    """S1.47 S1.48 S1.49: the payment names its purchase; access follows."""
    asked = user.get("/v1/access/check?resource=course:python").json()
    assert (asked["allowed"], asked["reason"]) == (False, "not_purchased")
    assert "/portal/offer?item=python&for=" in asked["offer_url"]
    done = paid(shop, user, item="python")
    owned = user.get(f"/v1/purchases/{done['payment']['purchase']}").json()
    assert (owned["status"], owned["item"], owned["paid"]) == ("completed", "python", 4999)
    assert owned["payment"] == done["payment"]["id"]
    assert user.get(f"/v1/purchases/{done['payment']['id']}").json() == owned
    assert user.get("/v1/purchases?status=completed&item=python").json()["data"] == [owned]
    may = user.get("/v1/access/check?resource=course:python").json()
    assert (may["allowed"], may["source"], may["expires_at"]) == (True, owned["id"], None)
    grant = user.get("/v1/access").json()["data"][0]
    assert (grant["resource"], grant["status"]) == ("course:python", "active")
    refused = problem_of(user.post("/v1/checkouts", json={"item": "python"}), 409,
                         "already_purchased")  # fmt: skip
    assert refused["purchase"] == owned["id"]


def test_a_second_checkout_of_one_item_waits_for_the_first(shop, user):
    """I21"""
    assert user.post("/v1/checkouts", json={"item": "python"}).status_code == 201
    problem_of(user.post("/v1/checkouts", json={"item": "python"}), 409, "payment_in_flight")


def test_a_service_runs_once_it_is_paid(shop, user):
    """S0.25 S0.29"""
    made = user.post("/v1/checkouts", json={"service": "premium_membership"}).json()
    one = user.get(f"/v1/services/{made['payment']['service']}").json()
    assert (one["status"], one["active"], one["fee"]) == ("pending", False, 54999)
    shop.pay(made["payment"]["provider_session_id"])
    user.post(f"/v1/checkouts/{made['id']}/verify")
    one = user.get(f"/v1/services/{made['payment']['service']}").json()
    assert (one["status"], one["active"], one["payment"]) == ("active", True, made["payment"]["id"])
    assert user.get("/v1/services?status=active").json()["data"] == [one]
    may = user.get("/v1/access/check?resource=platform").json()
    assert (may["allowed"], may["source"], may["expires_at"]) == (
        True, one["id"], one["expires_at"])


def test_a_customer_fills_a_wallet_with_an_amount(shop, user):
    """S3.15: and says the amount of nothing else."""
    done = paid(shop, user, wallet=True, amount=2500)
    assert (done["payment"]["purpose"], done["amount"]) == ("wallet", 2500)
    problem_of(user.post("/v1/checkouts", json={"amount": 2500}), 422, "invalid_request")
    problem_of(user.post("/v1/checkouts", json={"wallet": True, "pack": "x"}), 422,
               "invalid_request")  # fmt: skip


def test_access_is_given_and_taken_by_the_application(shop, http, user):
    """S1.49 I27: by hand, once a key, with who did it; users do neither."""
    told = {"customer": "user_123", "resource": "lab:gpu", "days": 7, "reason": "press"}
    first = http.post("/v1/access", json=told, headers={"Idempotency-Key": "k1"})
    assert first.status_code == 201, first.text
    again = http.post("/v1/access", json=told, headers={"Idempotency-Key": "k1"})
    assert again.json() == first.json() and again.headers["Idempotent-Replayed"] == "true"
    one = first.json()
    assert one["granted_by"] and one["reason"] == "press"
    assert user.get("/v1/access/check?resource=lab:gpu").json()["allowed"] is True
    assert user.get("/v1/access").json()["data"][0]["granted_by"] is None
    gone = http.post(f"/v1/access/{one['id']}/revoke", json={"reason": "over"}).json()
    assert (gone["status"], gone["revoked_reason"]) == ("revoked", "over")
    problem_of(http.post(f"/v1/access/{one['id']}/revoke"), 409, "conflict")
    asked = user.get("/v1/access/check?resource=lab:gpu").json()
    assert asked["reason"] == "revoked"
    before = user.get("/v1/access/check", params={"resource": "lab:gpu", "at": one["starts_at"]})
    assert before.json()["reason"] in ("granted", "revoked")
    problem_of(user.post("/v1/access", json=told), 403, "not_permitted")
    problem_of(user.post(f"/v1/access/{one['id']}/revoke"), 403, "not_permitted")


def test_what_is_no_resource_or_instant_is_refused(shop, user):
    for query in ("resource=", "resource=a%20b:c", "resource=:x", "resource=a:b&at=soon",
                  "resource=" + "x" * 400):  # fmt: skip
        problem_of(user.get(f"/v1/access/check?{query}"), 422, "invalid_request")


def test_anothers_purchases_services_and_access_are_not_there(shop, http, user):
    """I33: the same answer as for what does not exist."""
    bought = paid(shop, user, item="python")["payment"]
    ran = paid(shop, user, service="premium_membership")["payment"]
    stranger = http.as_user("user_9")
    grant = user.get("/v1/access").json()["data"][0]["id"]
    for path in (f"/v1/purchases/{bought['purchase']}", f"/v1/services/{ran['service']}",
                 f"/v1/purchases?starting_after={bought['purchase']}",
                 f"/v1/services?starting_after={ran['service']}",
                 "/v1/access?customer=user_123",
                 "/v1/access/check?resource=course:python&customer=user_123",
                 "/v1/items/python/price?customer=user_123"):  # fmt: skip
        problem_of(stranger.get(path), 404, "not_found")
    assert stranger.get(f"/v1/access?starting_after={grant}").json()["data"] == []
    assert http.get("/v1/purchases").json()["data"][0]["id"] == bought["purchase"]
