"""Plans, tax rates and codes for plans over HTTP: v1 and the documents' own lists."""

from __future__ import annotations

import time
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest
from http_support import problem_of

PRO = {
    "name": "Pro",
    "prices": [{"amount": 1999, "currency": "usd"}, {"amount_decimal": "18.00", "currency": "EUR"}],
    "trial_days": 14,
    "grants": [{"type": "course"}],
    "description": "All courses.",
}
GOLD = {"name": "Gold", "kind": "membership", "amount": 2900, "position": 1, "credits": 300,
        "credits_rollover": "capped", "credits_cap": 900, "grants": []}  # fmt: skip


@pytest.fixture
def sold(http):
    for key, body in (
        ("pro", PRO),
        ("gold", GOLD),
        ("secret", {"name": "Friends", "amount": 0, "public": False, "position": 2}),
    ):
        assert http.put(f"/v1/plans/{key}", json=body).status_code == 200
    return http


def test_plans_are_made_shown_changed_and_withdrawn(sold, user):
    """S1.25 S1.52"""
    one = sold.get("/v1/plans/pro").json()
    assert one["id"].startswith("plan_") and (one["version"], one["family"]) == (1, "plan")
    assert one["prices"] == [
        {"amount": 1800, "amount_decimal": "18.00", "currency": "eur"},
        {"amount": 1999, "amount_decimal": "19.99", "currency": "usd"}]  # fmt: skip
    assert one["grants"] == [{"type": "course", "id": "*"}]
    assert (one["interval"], one["dunning"]["days"]) == ("month", [1, 3, 5, 7])
    assert [p["key"] for p in user.get("/v1/plans").json()["data"]] == ["pro", "gold"]
    assert [p["key"] for p in sold.get("/v1/plans").json()["data"]] == ["pro", "gold", "secret"]
    assert user.get("/v1/plans?kind=membership").json()["data"][0]["credits_cap"] == 900
    assert user.get("/v1/plans/secret").json()["prices"][0]["amount"] == 0
    page = sold.get("/v1/plans?limit=1").json()
    rest = sold.get(f"/v1/plans?starting_after={page['next_cursor']}").json()["data"]
    assert page["has_more"] and len(rest) == 2
    changed = sold.put(f"/v1/plans/{one['id']}", json={**PRO, "trial_days": 7}).json()
    assert (changed["id"], changed["version"]) == (one["id"], 2)
    kept = sold.get("/v1/plans/pro/versions").json()["data"]
    assert [(v["version"], v["trial_days"], v["plan"]) for v in kept] == [
        (2, 7, one["id"]), (1, 14, one["id"])]  # fmt: skip
    assert sold.delete("/v1/plans/pro").json()["active"] is False
    problem_of(user.get("/v1/plans/pro"), 404, "not_found")
    problem_of(user.put("/v1/plans/x", json=PRO), 403, "not_permitted")
    problem_of(user.get("/v1/plans/gold/versions"), 403, "not_permitted")


def test_what_makes_no_plan_is_refused(sold):
    for wrong in ({}, {"amount": 100, "prices": [{"amount": 100}]}, {"prices": [{}]},
                  {"amount": 100, "amount_decimal": "2.00"}, {"prices": []},
                  {"amount": 100, "dunning": {"days": [3, 1]}},
                  {"amount": 100, "interval": "decade"}, {"amount": 1},
                  {"amount": 100, "currency": "xyz"}, {"amount": -1}):  # fmt: skip
        problem_of(sold.put("/v1/plans/x", json={"name": "X", **wrong}), 422, "invalid_request")
    other = {"name": "Gold", "kind": "plan", "amount": 100}
    problem_of(sold.put("/v1/plans/gold", json=other), 409, "conflict")


# S1.25! S1.52!
@pytest.mark.parametrize(("path", "list_", "key"), [
    ("/api/subscriptions/plans", "plans", "pro"), ("/payment/memberships", "memberships", "gold"),
])  # fmt: skip
def test_the_public_lists_ask_the_database_once_until_a_plan_changes(
    sold, user, env, path, list_, key
):
    """S1.25 S1.52: the second look runs no statement about plans; a change is there with it."""
    until = time.monotonic() + 60
    while not env.cache.is_hearing:
        assert time.monotonic() < until, "nobody listens for changes"
        time.sleep(0.01)

    def shown():
        answer = user.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()[list_]

    def kept():
        """A look that asked nothing; what is told of a change may make one look ask anew."""
        until = time.monotonic() + 60
        while True:
            with asking() as asked:
                found = shown()
            if not asked:
                return found
            assert time.monotonic() < until, asked

    before = shown()
    assert kept() == before
    body = {"pro": PRO, "gold": GOLD}[key]
    for name in ("Renamed", "Renamed again"):
        assert sold.put(f"/v1/plans/{key}", json={**body, "name": name}).status_code == 200
        assert shown()[0]["name"] == name
        assert kept()[0]["name"] == name
    sold.delete(f"/v1/plans/{key}")
    assert key not in [one["key"] for one in shown()]
    assert kept() == shown()


@contextmanager
def asking():
    """Statements about plans meanwhile; requests are counted and limited besides."""
    asked, real = [], psycopg.Cursor.execute

    def execute(self, query, *args, **more):
        if "plan" in str(query):
            asked.append(str(query))
        return real(self, query, *args, **more)

    psycopg.Cursor.execute = execute
    try:
        yield asked
    finally:
        psycopg.Cursor.execute = real


# S1.25!
def test_everybody_sees_the_plans_and_a_change_at_once(sold):
    """S1.25 S1.42 S1.52: without a token; cached until a plan changes."""

    def shown():
        answer = sold.as_nobody().get("/api/subscriptions/plans")
        assert answer.status_code == 200, answer.text
        return answer.json()["plans"]

    row = shown()[0]
    assert len(shown()) == 1
    assert row["id"] == str(UUID(row["id"])) and row["key"] == "pro"
    assert (row["price"], row["currency"], row["prices"]) == (
        19.99, "USD", {"EUR": 18.0, "USD": 19.99})  # fmt: skip
    assert (row["interval"], row["intervalCount"], row["trialDays"]) == ("month", 1, 14)
    assert row["features"] == ["course"] and row["active"] is True
    sold.put("/v1/plans/team", json={"name": "Team", "amount": 4900})
    assert [one["key"] for one in shown()] == ["pro", "team"]
    sold.delete("/v1/plans/pro")
    assert [one["key"] for one in shown()] == ["team"]


def test_memberships_are_listed_for_users(sold, user):
    """S4.13"""
    rows = user.get("/payment/memberships").json()["memberships"]
    assert [(row["key"], row["monthlyCredits"], row["rollover"]) for row in rows] == [
        ("gold", 300, "capped")]  # fmt: skip
    assert rows[0]["price"] == 29.0
    problem_of(sold.as_nobody().get("/payment/memberships"), 401, "not_authenticated")


def test_codes_for_plans_are_validated(sold, user):
    """S4.17 S4.40: a free trial is for plans alone (PAY003)."""
    made = sold.put("/v1/promos/TRY", json={"free_trial_days": 14, "plans": ["pro"]}).json()
    assert (made["kind"], made["free_trial_days"], made["plans"]) == ("free_trial", 14, ["pro"])
    ask = {"code": "TRY", "plan": "pro"}
    quote = user.post("/v1/promos/validate", json=ask).json()
    assert (quote["free_trial_days"], quote["discount"], quote["amount"]) == (14, 0, 1999)
    sold.put("/v1/promos/THREE", json={"percent_off": 20, "duration": "repeating",
                                       "duration_periods": 3})  # fmt: skip
    three = user.post("/v1/promos/validate",
                      json={"code": "THREE", "plan": "pro", "currency": "eur"}).json()  # fmt: skip
    assert (three["amount"], three["duration"], three["duration_periods"]) == (
        1440, "repeating", 3)  # fmt: skip
    refused = problem_of(user.post("/v1/promos/validate", json={"code": "TRY", "credits": 20}),
                         422, "invalid_promo_code")  # fmt: skip
    assert (refused["legacy_code"], refused["reason"]) == ("PAY003", "wrong_product")
    kept = user.post("/v1/promos/apply", json=ask).json()
    assert (kept["free_trial_days"], kept["amount"]) == (14, 1999) and kept["reserved_until"]
    for wrong in ({"plan": "gold", "credits": 5}, {"plan": "pro", "quantity": 2}):
        problem_of(user.post("/v1/promos/validate", json={"code": "THREE", **wrong}), 422,
                   "invalid_request")  # fmt: skip


def test_a_price_that_cannot_be_charged_to_the_last_digit_is_refused_with_its_step(http):
    """S1.25 I12: cards charge Kuwaiti dinars in hundredths."""
    body = {"name": "Gulf", "prices": [{"amount_decimal": "9.995", "currency": "KWD"}]}
    problem = problem_of(http.put("/v1/plans/gulf", json=body), 422, "amount_not_chargeable")
    assert (problem["param"], problem["step"]) == ("price", 10)
    assert "0.010" in problem["detail"]
    problem_of(http.get("/v1/plans/gulf"), 404, "not_found")
    body["prices"] = [{"amount_decimal": "9.990", "currency": "KWD"}]
    assert http.put("/v1/plans/gulf", json=body).json()["prices"][0]["amount"] == 9990


def test_the_bookings_family_knows_free_trials_of_memberships(sold, user):
    """S4.17 S4.40"""
    sold.put("/v1/promos/TRY", json={"free_trial_days": 30})
    shown = user.post("/payment/promo-codes/validate", json={"code": "TRY"}).json()
    assert (shown["valid"], shown["type"], shown["trialDays"]) == (True, "FREE_TRIAL", 30)
    gold = user.get("/payment/memberships").json()["memberships"][0]["id"]
    asked = {"code": "TRY", "membershipId": gold}
    shown = user.post("/payment/promo-codes/validate", json=asked).json()
    assert (shown["trialDays"], shown["amount"], shown["discount"]) == (30, 29.0, 0.0)
    applied = user.post("/payment/promo-codes/apply", json=asked).json()
    assert (applied["applied"], applied["trialDays"]) == (True, 30)
    plan = {"code": "TRY", "membershipId": "pro"}
    problem_of(user.post("/payment/promo-codes/validate", json=plan), 404, "not_found")


def test_tax_rates_are_entered_listed_and_taken_back(http, user):
    made = http.post("/v1/tax-rates", json={"name": "VAT", "percent": "19", "country": "de"})
    assert made.status_code == 201, made.text
    vat = made.json()
    assert vat["id"].startswith("txr_") and (vat["country"], vat["percent"]) == ("DE", "19")
    http.post("/v1/tax-rates", json={"name": "VAT", "percent": "7", "country": "DE",
                                     "product": "books", "inclusive": True})  # fmt: skip
    page = http.get("/v1/tax-rates?limit=1&country=DE").json()
    assert page["has_more"] and page["data"] == [vat]
    rest = http.get(f"/v1/tax-rates?starting_after={vat['id']}").json()["data"]
    assert [one["product"] for one in rest] == ["books"]
    problem_of(http.post("/v1/tax-rates", json={"name": "VAT", "percent": "20", "country": "DE"}),
               409, "conflict")  # fmt: skip
    assert http.delete(f"/v1/tax-rates/{vat['id']}").json()["active"] is False
    assert len(http.get("/v1/tax-rates").json()["data"]) == 1
    problem_of(user.get("/v1/tax-rates"), 403, "not_permitted")
    for wrong in ("101", "8,5", "-1"):
        problem_of(http.post("/v1/tax-rates", json={"name": "VAT", "percent": wrong}), 422,
                   "invalid_request")  # fmt: skip
