"""v1: clocks: made, advanced in the background, deleted; customers who stand on them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from http_support import OWN_KEY, Client, problem_of

from paydesk.flows import plans
from paydesk.http import fields
from paydesk.http.app import create_app
from paydesk.rules.money import USD
from paydesk.worker import Worker

DAY = timedelta(days=1)


@pytest.fixture
def made(http):
    """A clock, made over HTTP."""
    return http.post("/v1/clocks", json={"name": "nightly"}).json()


def test_an_advance_is_worked_off_in_the_background(http, env, made, make, clock):
    answer = http.post("/v1/customers", json={"external_id": "c1", "clock": made["id"]})
    assert (answer.status_code, answer.json()["clock"]) == (201, made["id"])
    assert http.post("/v1/customers",
                     json={"external_id": "c1", "clock": made["id"]}).status_code == 200
    assert http.post("/v1/customers", json={"external_id": "c2"}).json()["clock"] is None
    for name in ("c1", "c2"):
        http.post("/v1/credits/grant", json={
            "customer": name, "credits": 9, "expires_at": fields.instant(clock.now() + 30 * DAY)})
    path = f"/v1/clocks/{made['id']}"
    far = clock.now() + 800 * DAY
    begun = http.post(f"{path}/advance", json={"to": fields.instant(far)})
    assert (begun.status_code, begun.json()["status"]) == (202, "advancing")
    assert begun.json()["now"] == made["now"]
    assert problem_of(http.post(f"{path}/advance", json={"by": "1d"}), 409, "conflict")
    Worker(env).run_once("clocks")
    assert http.get(path).json() == {
        **made, "status": "ready", "now": fields.instant(far), "customers": 1}  # fmt: skip
    balances = [http.get("/v1/credits/balance", params={"customer": c}).json()["balance"]
                for c in ("c1", "c2")]  # fmt: skip
    assert balances == [0, 9]
    spend = http.post("/v1/credits/spend", json={"customer": "c1", "credits": 1})
    assert spend.json()["code"] == "insufficient_credits"


def test_a_clock_never_goes_back_and_lengths_are_read_strictly(http, env, made, clock):
    path = f"/v1/clocks/{made['id']}/advance"
    http.post(path, json={"by": "1d12h"})
    Worker(env).run_once("clocks")
    assert http.get(f"/v1/clocks/{made['id']}").json()["now"] == fields.instant(
        clock.now() + timedelta(hours=36))  # fmt: skip
    for body in ({"to": made["now"]}, {}, {"by": "1d", "to": "2030-01-01T00:00:00Z"},
                 {"by": "12h1d"}, {"by": "a day"}, {"by": "-1d"}, {"by": "999999999w"}):
        assert problem_of(http.post(path, json=body), 422, "invalid_request"), body


def test_clocks_are_listed_and_deleted(http, env, made):
    second = http.post("/v1/clocks", json={}).json()
    page = http.get("/v1/clocks").json()
    assert [one["id"] for one in page["data"]] == [second["id"], made["id"]]
    gone = http.delete(f"/v1/clocks/{made['id']}")
    assert gone.json()["status"] == "deleted"
    assert [one["id"] for one in http.get("/v1/clocks").json()["data"]] == [second["id"]]
    assert problem_of(http.post(f"/v1/clocks/{made['id']}/advance", json={"by": "1d"}), 409,
                      "conflict")  # fmt: skip
    assert problem_of(
        http.post("/v1/customers", json={"external_id": "late", "clock": made["id"]}), 404,
        "not_found",
    )
    assert problem_of(http.get("/v1/clocks/clock_none"), 404, "not_found")


def test_a_view_of_a_clocked_customer_shows_his_time(http, env, made, clock):
    http.post("/v1/customers", json={"external_id": "c1", "clock": made["id"]})
    http.post("/v1/access", json={"customer": "c1", "resource": "course:go", "days": 10})
    hold_of = {"customer": "c1", "credits": 5, "minutes": 30}
    http.post("/v1/credits/grant", json={"customer": "c1", "credits": 9})
    hold = http.post("/v1/holds", json=hold_of).json()
    clock.advance(days=20)
    asked = {"customer": "c1", "resource": "course:go"}
    found = http.get("/v1/access/check", params=asked).json()
    assert (found["allowed"], found["at"]) == (True, made["now"])
    assert http.get(f"/v1/holds/{hold['id']}").json()["status"] == "open"
    http.post(f"/v1/clocks/{made['id']}/advance", json={"by": "11d"})
    Worker(env).run_once("clocks")
    assert http.get("/v1/access/check", params=asked).json()["allowed"] is False
    assert http.get(f"/v1/holds/{hold['id']}").json()["status"] == "expired"


def test_with_a_live_key_clocks_are_neither_made_nor_moved_nor_deleted(http, env, made):
    live = replace(env, settings=replace(env.settings, stripe_secret_key="sk_live_x"))
    path = f"/v1/clocks/{made['id']}"
    with Client(create_app(live), f"Bearer {OWN_KEY}") as client:
        for answer in (
            client.post("/v1/clocks", json={"name": "none"}),
            client.post(f"{path}/advance", json={"by": "1d"}),
            client.delete(path),
        ):
            assert problem_of(answer, 403, "not_permitted")
    assert http.get(path).json() == made
    assert [one["id"] for one in http.get("/v1/clocks").json()["data"]] == [made["id"]]


# S1.56
def test_what_stripe_runs_follows_a_clock_that_is_advanced_over_http(http, env, made, sim):
    http.post("/v1/customers", json={"external_id": "c1", "clock": made["id"]})
    plans.upsert(env, "pro", name="Pro", price=USD("20.00"))
    begun = http.post("/v1/subscriptions", json={
        "customer": "c1", "plan": "pro", "runner": "provider",
        "success_url": "https://app.example.com/ok"})  # fmt: skip
    assert begun.status_code == 201, begun.text
    (page,) = sim.objects("checkout.session")
    sim.pay(page["id"])
    http.post(f"/v1/clocks/{made['id']}/advance", json={"by": "63d"})
    Worker(env).run_once("clocks")
    assert http.get(f"/v1/clocks/{made['id']}").json()["status"] == "ready"
    paid = http.get("/v1/payments", params={"customer": "c1"}).json()["data"]
    assert [one["status"] for one in paid] == ["succeeded"] * 3
    sub = http.get(f"/v1/subscriptions/{begun.json()['id']}").json()
    assert sub["status"] == "active"
