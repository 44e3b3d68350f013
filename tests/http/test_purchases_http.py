"""What can be bought over HTTP, for how much, with which code, and how it is looked up again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from http_support import OWN_KEY, Client, problem_of

from paydesk.http.app import create_app


def reason_of(answer) -> str:
    return problem_of(answer, 422, "invalid_promo_code")["reason"]


def test_credits_by_number_cost_the_set_price_each(sim, user):  # S4.22
    made = user.post("/v1/checkouts", json={"credits": 25})
    assert made.status_code == 201, made.text
    assert (made.json()["amount"], made.json()["currency"]) == (2500, "usd")
    sim.pay(made.json()["payment"]["provider_session_id"])
    assert user.post(f"/v1/checkouts/{made.json()['id']}/verify").json()["status"] == "complete"
    assert user.get("/v1/credits/balance").json()["balance"] == 25


def test_too_few_and_too_many_credits_are_refused_before_any_session(sim, user, http):
    # S4.22 S4.23
    few = user.post("/v1/checkouts", json={"credits": 9})
    assert problem_of(few, 422, "amount_too_small")["least"] == 10
    problem_of(user.post("/v1/checkouts", json={"credits": 5001}), 422, "amount_too_large")
    much = http.post("/v1/checkouts", json={"customer": "user_123", "amount": 500_001})
    assert problem_of(much, 422, "amount_too_large")["limit"] == 5000
    spent = http.post("/v1/credits/spend", json={"customer": "user_123", "credits": 5001})
    problem_of(spent, 422, "amount_too_large")
    assert sim.objects("checkout.session") == []


def test_a_checkout_is_verified_by_the_providers_session_or_by_ours(sim, user, make):  # S2.15
    make.pack()
    for name in ("id", "session"):
        made = user.post("/v1/checkouts", json={"pack": "creator"}).json()
        session = made["payment"]["provider_session_id"]
        assert made["url"].startswith(sim.url) and session in made["url"]
        sim.pay(session)
        ref = made["id"] if name == "id" else session
        done = user.post("/api/credits/verify-payment", json={"session_id": ref}).json()
        assert (done["payment_verified"], done["credits_added"]) == (True, 150)
    assert user.get("/v1/credits/balance").json()["balance"] == 300


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"first_purchase": True}, "not_first_purchase"),
        ({"customers": ["user_123"]}, "not_eligible"),
        ({"match_metadata": {"tier": "gold"}}, "not_eligible"),
        ({"min_amount": 1000}, "minimum_purchase"),
        ({"packs": ["studio"]}, "wrong_product"),
    ],
)
def test_who_may_use_a_code_is_told_by_its_terms(sim, http, make, terms, why):  # S4.41
    make.pack()
    make.pack("studio", name="Studio Pack", credits=900)
    http.post("/v1/customers", json={"external_id": "user_123", "metadata": {"tier": "gold"}})
    http.post("/v1/customers", json={"external_id": "user_456", "metadata": {"tier": "silver"}})
    user, other = http.as_user("user_123"), http.as_user("user_456")
    bought = other.post("/v1/checkouts", json={"pack": "creator"}).json()
    sim.pay(bought["payment"]["provider_session_id"])
    other.post(f"/v1/checkouts/{bought['id']}/verify")
    put = http.put("/v1/promos/ONLYSOME", json={"percent_off": 10, **terms})
    assert put.status_code == 200, put.text
    fits = {"pack": "studio"} if "packs" in terms else {"pack": "creator"}
    if "min_amount" not in terms:
        assert user.post("/v1/checkouts", json={**fits, "promo": "ONLYSOME"}).status_code == 201
    for path, body in (("/v1/promos/validate", {"code": "ONLYSOME", "pack": "creator"}),
                       ("/v1/promos/apply", {"code": "ONLYSOME", "pack": "creator"}),
                       ("/v1/checkouts", {"promo": "ONLYSOME", "pack": "creator"})):  # fmt: skip
        assert reason_of(other.post(path, json=body)) == why


def test_the_return_address_of_the_settings_stands_in_for_a_missing_one(sim, env, make):
    make.pack()
    settings = replace(env.settings, stripe_return_url="https://shop.example.com/payment/success")
    with Client(create_app(replace(env, settings=settings)), f"Bearer {OWN_KEY}") as http:
        for told, wanted in (
            ({}, "https://shop.example.com/payment/success"),
            ({"success_url": "https://shop.example.com/own"}, "https://shop.example.com/own"),
        ):
            body = {"customer": "user_123", "pack": "creator", **told}
            made = http.post("/v1/checkouts", json=body).json()
            sim.pay(made["payment"]["provider_session_id"])
            back_to = sim.get(made["payment"]["provider_session_id"])["success_url"]
            page = http.as_nobody().get("/checkout/" + back_to.split("/checkout/")[1])
            assert page.status_code == 200 and f'href="{wanted}"' in page.text
