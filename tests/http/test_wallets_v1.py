"""v1 of wallets, withdrawals, rates and holds, as callers of each role meet it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from http_support import problem_of

from paydesk import ids
from paydesk.flows import customers, heads, ledger, wallets
from paydesk.flows.wallets import Arrival
from paydesk.rules.money import HTG, Money


def fill(env, customer, money: Money) -> None:
    """Money in a wallet, as if it had been paid in."""
    with env.db.transaction(customer.uuid) as tx:
        now, txn_id = heads.decide(tx, env.now(), customer.uuid), ids.new_owned(customer.uuid)
        ledger.post(tx, [
            ledger.Entry(customer_id=customer.uuid, debit="clearing", credit="deposits",
                         asset=money.currency, amount=money.minor, reason="TEST_CAPTURE",
                         txn_id=txn_id, effective_at=now)
        ])  # fmt: skip
        wallets.put_in(tx, now, [
            Arrival(customer_id=customer.uuid, money=money, source="deposits", txn_id=txn_id,
                    reason="WALLET_DEPOSIT", event=None)
        ])  # fmt: skip


@pytest.fixture
def maya(http, make):
    made = make.user("maya")
    fill(http.env, made, HTG("100"))
    return made


def htg(client, **query):
    found = client.get("/v1/wallets", params=query).json()["data"]
    return next(one for one in found if one["currency"] == "htg")


def test_a_customer_sees_his_wallets_and_their_history(http, maya):  # S3.15 S3.17
    client = http.as_user("maya")
    one = htg(client)
    assert (one["balance"], one["balance_decimal"], one["status"]) == (10_000, "100.00", "open")
    assert client.get(f"/v1/wallets/{one['id']}").json() == one
    lines = client.get(f"/v1/wallets/{one['id']}/history").json()["data"]
    assert [(x["type"], x["amount_decimal"]) for x in lines] == [("WALLET_DEPOSIT", "100.00")]
    made = client.post("/v1/wallets", json={"currency": "USD"}).json()
    assert (made["currency"], made["balance"]) == ("usd", 0)
    stranger = http.as_user("other")
    for path in ("", "/history"):
        problem_of(stranger.get(f"/v1/wallets/{one['id']}{path}"), 404, "not_found")


def test_a_wallets_statement_is_read_and_exported(http, maya):  # S3.16 S3.17
    client = http.as_user("maya")
    shown = htg(client)["id"]
    found = client.get(f"/v1/wallets/{shown}/statement", params={"last": "7d"}).json()
    assert (found["object"], found["opening_balance"], found["money_in_decimal"]) == (
        "wallet_statement", 0, "100.00",
    )  # fmt: skip
    assert found["closing_balance_decimal"] == "100.00"
    assert found["lines"] == client.get(f"/v1/wallets/{shown}/history").json()["data"]
    told = client.get(f"/v1/wallets/{shown}/statement", params={"format": "csv"})
    assert told.headers["content-type"].startswith("text/csv")
    assert told.headers["content-disposition"].startswith('attachment; filename="wallet-htg-')
    assert len(told.text.splitlines()) == 2
    wrong = client.get(
        f"/v1/wallets/{shown}/statement", params={"from": "2026-02-01", "to": "2026-01-01"}
    )
    problem_of(wrong, 422, "invalid_request")
    problem_of(http.as_user("other").get(f"/v1/wallets/{shown}/statement"), 404, "not_found")


def test_staff_freeze_a_wallet_and_nothing_leaves_it(http, maya, make):
    one = htg(http.as_user("maya"))
    admin = http.as_user("ann", "admin")
    frozen = admin.post(f"/v1/wallets/{one['id']}/freeze", json={"reason": "odd"}).json()
    assert frozen["status"] == "frozen"
    make.pack()
    refused = http.as_user("maya").post(
        "/v1/withdrawals", json={"amount": 5, "currency": "htg", "destination": "MonCash"}
    )
    problem_of(refused, 409, "wallet_frozen")
    assert admin.post(f"/v1/wallets/{one['id']}/unfreeze", json={}).json()["status"] == "open"
    problem_of(admin.post(f"/v1/wallets/{one['id']}/close", json={}), 409, "conflict")


def test_money_is_moved_once_for_one_key(http, maya, make):
    two = make.user("two")
    customers.update(http.env, two.uuid, owner=maya)
    client = http.as_user("maya")
    body = {"to": "two", "amount_decimal": "40", "currency": "htg"}
    answers = [
        client.post("/v1/wallets/transfers", json=body, headers={"Idempotency-Key": "move-1"})
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["balance"] == 6_000
    assert (answers[0].json()["status"], answers[0].json()["withdrawal"]) == ("paid", None)
    assert htg(http.as_user("two"))["balance"] == 4_000
    body["to"] = "nobody-we-know"
    problem_of(client.post("/v1/wallets/transfers", json=body), 403, "transfer_not_allowed")


@pytest.fixture
def asking(http):
    """Transfers above HTG 30.00 a day need another person."""
    before = http.app.state.env
    told = {"transfer_approval_threshold": Decimal(30), "default_currency": "htg"}
    http.app.state.env = replace(before, settings=replace(before.settings, **told))
    yield http
    http.app.state.env = before


def test_a_transfer_above_the_threshold_waits_for_another_person(asking, maya, make):  # S3.15 S3.13
    http, two = asking, make.user("two")
    customers.update(http.env, two.uuid, owner=maya)
    client, bob, ann = (http.as_user("maya"), http.as_user("bob", "admin"),
                        http.as_user("ann", "finance"))  # fmt: skip
    body = {"to": "two", "amount_decimal": "40", "currency": "htg"}
    answers = [
        client.post("/v1/wallets/transfers", json=body, headers={"Idempotency-Key": "move-1"})
        for _ in range(2)
    ]
    told = answers[0].json()
    assert [one.status_code for one in answers] == [202, 202] and answers[1].json() == told
    assert (told["status"], told["balance"], told["to"]) == ("requested", 6_000, two.id)
    assert (htg(client)["held"], http.as_user("two").get("/v1/wallets").json()["data"]) == (
        4_000, [],
    )  # fmt: skip
    path = f"/v1/withdrawals/{told['withdrawal']}"
    problem_of(client.post(f"{path}/decide", json={"decision": "approve"}), 403, "not_permitted")
    problem_of(http.as_user("two").get(path), 404, "not_found")
    problem_of(bob.post(f"{path}/paid", json={"reference": "MC-1"}), 409, "conflict")
    listed = ann.get("/v1/withdrawals", params={"status": "requested"}).json()["data"]
    assert [(one["id"], one["to"]) for one in listed] == [(told["withdrawal"], two.id)]
    done = ann.post(f"{path}/decide", json={"decision": "approve"}).json()
    assert (done["status"], done["to"], done["decided_by"]) == ("paid", two.id, "user:ann")
    assert (htg(client)["held"], htg(http.as_user("two"))["balance"]) == (0, 4_000)
    own = bob.post("/v1/wallets/transfers", json={**body, "customer": "maya"}).json()
    mine = f"/v1/withdrawals/{own['withdrawal']}"
    problem_of(bob.post(f"{mine}/decide", json={"decision": "approve"}), 409, "approval_required")
    assert client.post(f"{mine}/cancel").json()["status"] == "canceled"
    assert htg(client)["balance"] == 6_000


def test_money_of_a_hold_is_shown_with_its_decimals(http, maya):
    app = http.as_key()
    body = {"customer": "maya", "amount_decimal": "60", "currency": "htg"}
    one = app.post("/v1/holds", json=body).json()
    assert (one["asset"], one["amount"], one["left_decimal"]) == ("htg", 6_000, "60.00")
    path = f"/v1/holds/{one['id']}/capture"
    done = app.post(path, json={"amount": 2_550, "final": False}).json()
    assert (done["captured_decimal"], done["left_decimal"]) == ("25.50", "34.50")


def test_refusals_name_what_was_asked(http, maya):
    client = http.as_user("maya")
    ask = {"amount": 100, "currency": "htg", "to": "xxx"}
    for route in ("/v1/conversions", "/v1/conversions/quote"):
        assert client.post(route, json=ask).json()["param"] == "to"
    told = client.post("/v1/wallets/transfers", json={**ask, "to": "nobody"}).json()
    assert (told["code"], told["detail"]) == (
        "transfer_not_allowed", "Money cannot be moved between these customers.",
    )  # fmt: skip


def test_an_order_is_paid_from_the_wallet(http, maya, make):
    make.pack("local", price=HTG("60"), credits=100)
    client = http.as_user("maya")
    paid = client.post("/v1/wallets/pay", json={"pack": "local"},
                       headers={"Idempotency-Key": "pay-1"})  # fmt: skip
    assert paid.status_code == 201, paid.text
    assert (paid.json()["status"], paid.json()["provider"]) == ("succeeded", "wallet")
    again = client.post("/v1/wallets/pay", json={"pack": "local"},
                        headers={"Idempotency-Key": "pay-1"})  # fmt: skip
    assert again.json()["id"] == paid.json()["id"]
    refused = problem_of(
        client.post("/v1/wallets/pay", json={"pack": "local"}), 402, "insufficient_funds"
    )
    assert (refused["needed"], refused["balance"], refused["currency"]) == (6_000, 4_000, "htg")
    problem_of(client.post("/v1/wallets/pay", json={"amount": 1}), 422, "invalid_request")
    service = http.as_key().post(
        "/v1/wallets/pay", json={"customer": "maya", "amount": 500, "currency": "htg"}
    )
    assert service.status_code == 201
    assert client.get("/v1/credits/balance").json()["balance"] == 100


def test_rates_are_entered_by_staff_and_read_by_all(http):  # S3.24
    client, finance = http.as_user("maya"), http.as_user("ann", "finance")
    told = {"base": "usd", "quote": "htg", "rate": "130.95"}
    problem_of(client.post("/v1/rates", json=told), 403, "not_permitted")
    made = finance.post("/v1/rates", json=told)
    assert made.status_code == 201 and made.json()["entered_by"] == "user:ann"
    seen = client.get("/v1/rates/latest", params={"base": "htg", "quote": "usd"}).json()
    assert (seen["rate"], seen["base"], seen["entered_by"]) == ("130.95", "usd", None)
    missing = client.get("/v1/rates/latest", params={"base": "jpy", "quote": "usd"})
    refused = problem_of(missing, 422, "no_rate")
    assert (refused["base"], refused["quote"]) == ("jpy", "usd")
    today = http.env.now().date().isoformat()
    done = finance.post("/v1/rates/import", json={"data": f"Date,USD,JPY\n{today},1.1,165\n"})
    assert (done.json()["new"], done.json()["last_day"]) == (2, today)
    assert len(client.get("/v1/rates", params={"base": "eur"}).json()["data"]) == 2


def test_money_is_converted_at_a_quoted_rate(http, maya):  # I14
    client = http.as_user("maya")
    ask = {"amount_decimal": "100", "currency": "htg", "to": "usd"}
    problem_of(client.post("/v1/conversions/quote", json=ask), 422, "no_rate")
    http.as_user("ann", "admin").post(
        "/v1/rates", json={"base": "usd", "quote": "htg", "rate": "131"}
    )
    quoted = client.post("/v1/conversions/quote", json=ask).json()
    assert (quoted["to_amount_decimal"], quoted["rounding_decimal"]) == ("0.76", "0.44")
    done = client.post("/v1/conversions", json={**ask, "rate": quoted["rate"]["id"]})
    assert done.status_code == 201, done.text
    found = client.get("/v1/conversions").json()["data"]
    assert found == [done.json()]
    assert client.get(f"/v1/conversions/{done.json()['id']}").json() == done.json()
    theirs = http.as_user("other").get(f"/v1/conversions/{done.json()['id']}")
    problem_of(theirs, 404, "not_found")


def test_a_withdrawal_is_decided_by_staff_and_hides_who(http, maya):
    client, ann, bob = (http.as_user("maya"), http.as_user("ann", "finance"),
                        http.as_user("bob", "admin"))  # fmt: skip
    made = client.post(
        "/v1/withdrawals",
        json={"amount_decimal": "40", "currency": "htg", "destination": "MonCash 3700-0000"},
    )
    assert made.status_code == 201 and made.json()["status"] == "requested"
    path = f"/v1/withdrawals/{made.json()['id']}"
    problem_of(client.post(f"{path}/decide", json={"decision": "approve"}), 403, "not_permitted")
    assert ann.post(f"{path}/decide", json={"decision": "approve"}).json()["decided_by"]
    assert client.get(path).json()["decided_by"] is None
    problem_of(client.post(f"{path}/cancel"), 409, "conflict")
    paid = bob.post(f"{path}/paid", json={"reference": "MC-42"}).json()
    assert (paid["status"], paid["reference"]) == ("paid", "MC-42")
    assert [w["id"] for w in ann.get("/v1/withdrawals", params={"status": "paid"}).json()["data"]
            ] == [made.json()["id"]]  # fmt: skip
    assert http.as_user("other").get("/v1/withdrawals").json()["data"] == []
    by_staff = ann.post("/v1/withdrawals", json={})
    assert by_staff.status_code == 403
    own = bob.post("/v1/withdrawals", json={"customer": "maya", "amount": 100, "currency": "htg",
                                            "destination": "cash"})  # fmt: skip
    mine = f"/v1/withdrawals/{own.json()['id']}/decide"
    problem_of(bob.post(mine, json={"decision": "approve"}), 409, "approval_required")


def test_the_application_holds_captures_and_releases(http, make):  # I8
    user = make.user("maya")
    make.credits(user, 70)
    app, client = http.as_key(), http.as_user("maya")
    made = app.post("/v1/holds", json={"customer": "maya", "credits": 50, "reason": "chat"},
                    headers={"Idempotency-Key": "job-1"})  # fmt: skip
    assert made.status_code == 201, made.text
    assert (made.json()["asset"], made.json()["status"]) == ("credits", "open")
    assert client.get("/v1/credits/balance").json()["balance"] == 20
    path = f"/v1/holds/{made.json()['id']}"
    assert client.get(path).json()["amount"] == 50
    problem_of(client.post(f"{path}/capture", json={}), 403, "not_permitted")
    done = [app.post(f"{path}/capture", json={"amount": 37}, headers={"Idempotency-Key": "c-1"})
            for _ in range(2)]  # fmt: skip
    assert done[0].json() == done[1].json()
    assert (done[0].json()["status"], done[0].json()["captured"]) == ("captured", 37)
    assert client.get("/v1/credits/balance").json()["balance"] == 33
    problem_of(app.post(f"{path}/release"), 409, "hold_closed")
    problem_of(app.post("/v1/holds", json={"customer": "maya"}), 422, "invalid_request")
    problem_of(app.post("/v1/holds", json={"customer": "maya", "credits": 34}), 402,
               "insufficient_credits")  # fmt: skip
    other = app.post("/v1/holds", json={"customer": "maya", "credits": 5}).json()
    part = app.post(f"/v1/holds/{other['id']}/capture", json={"amount": 0, "final": False})
    problem_of(part, 422, "invalid_request")
    part = app.post(f"/v1/holds/{other['id']}/capture", json={"amount": 2, "final": False}).json()
    assert (part["status"], part["captured"], part["left"]) == ("open", 2, 3)
    assert app.post(f"/v1/holds/{other['id']}/release").json()["status"] == "released"
    listed = client.get("/v1/holds", params={"state": "closed"}).json()["data"]
    assert {one["id"] for one in listed} == {made.json()["id"], other["id"]}
    problem_of(http.as_user("other").get(path), 404, "not_found")
