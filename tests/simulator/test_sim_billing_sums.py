"""Whatever is changed and whenever, sums are exact and every line can be recomputed."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest
from billing_support import DAY, START

from paydesk.simulator import periods
from paydesk.simulator.testing import sandbox_in_process

PRICES = [("usd", 999, "month"), ("usd", 4950, "month"), ("usd", 33, "month"),
          ("usd", 99_000, "year"), ("usd", 0, "month")]  # fmt: skip


def half_away(value: Fraction) -> int:
    size = (2 * abs(value) + 1) // 2
    return int(size if value >= 0 else -size)


def lived(sandbox, seed):
    """A year of one customer with random changes, each as its preview said; returns its id."""
    chance = random.Random(seed)
    request = sandbox.request
    clock = request("POST", "/v1/test_helpers/test_clocks", {"frozen_time": START})
    customer = request("POST", "/v1/customers", {
        "test_clock": clock["id"], "payment_method": "pm_card_visa",
        "invoice_settings": {"default_payment_method": "pm_card_visa"}})  # fmt: skip
    prices = [
        request("POST", "/v1/prices", {
            "currency": currency, "unit_amount": amount, "recurring": {"interval": interval},
            "product_data": {"name": f"Plan {number}"}})["id"]
        for number, (currency, amount, interval) in enumerate(PRICES)
    ]  # fmt: skip
    made = request("POST", "/v1/subscriptions", {
        "customer": customer["id"],
        "items": [{"price": chance.choice(prices[:3]), "quantity": chance.randint(1, 4)}]})
    now = START
    for _ in range(14):
        now += chance.randint(1, 40 * DAY)
        sandbox.advance_clock(clock["id"], now)
        current = sandbox.get(made["id"])
        item = {"id": current["items"]["data"][0]["id"], "price": chance.choice(prices),
                "quantity": chance.randint(1, 5)}  # fmt: skip
        behavior = chance.choice(["create_prorations", "always_invoice", "none"])
        params = {"items": [item], "proration_behavior": behavior}
        preview = request("POST", "/v1/invoices/create_preview", {
            "subscription": made["id"], "subscription_details": params})
        after = request("POST", f"/v1/subscriptions/{made['id']}", params)
        if after["latest_invoice"] != current["latest_invoice"]:
            invoice = sandbox.get(after["latest_invoice"])
            assert (preview["total"], preview["amount_due"]) == (
                invoice["total"], invoice["amount_due"]
            )
    sandbox.advance_clock(clock["id"], now + 40 * DAY)
    return customer["id"]


@pytest.mark.parametrize("seed", range(8))
def test_a_year_of_random_changes_adds_up(seed):
    with sandbox_in_process() as sandbox:
        customer = lived(sandbox, seed)
        invoices = [one for one in sandbox.objects("invoice") if one["status"] != "draft"]
        for one in invoices:
            lines = sandbox.request("GET", f"/v1/invoices/{one['id']}/lines", {"limit": 100})
            assert one["total"] == sum(line["amount"] for line in lines["data"])
            assert one["total"] + one["starting_balance"] == (
                one["amount_due"] + one["ending_balance"]
            )
            assert (one["status"], one["amount_paid"]) == ("paid", one["amount_due"])
        charged = sum(one["amount"] for one in sandbox.objects("charge"))
        balance = sandbox.get(customer)["balance"]
        assert charged + balance == sum(one["total"] for one in invoices)
        starts = told_periods(sandbox)
        for item in sandbox.objects("invoiceitem"):
            about = item["description"]
            price = sandbox.get(item["pricing"]["price_details"]["price"])
            whole = item["period"]["end"] - starts[item["period"]["end"]]
            left = item["period"]["end"] - item["period"]["start"]
            sign = -1 if about.startswith("Unused") else 1
            full = sign * price["unit_amount"] * item["quantity"]
            assert item["amount"] == half_away(Fraction(full * left, whole)), about


def told_periods(sandbox):
    """Every period that the subscription's events told of, by its end: the latest start."""
    found = {}
    for event in sandbox.events("customer.subscription.created", "customer.subscription.updated"):
        for item in event["data"]["object"]["items"]["data"]:
            end, start = item["current_period_end"], item["current_period_start"]
            found[end] = max(start, found.get(end, 0))
    return found


@pytest.mark.parametrize("interval", ["day", "week", "month", "year"])
def test_periods_tile_from_any_anchor(interval):
    chance = random.Random(interval)
    for _ in range(200):
        anchor, count = chance.randrange(0, 4_000_000_000), chance.randint(1, 13)
        places = [periods.boundary(anchor, interval, count, n) for n in range(-3, 30)]
        assert places == sorted(set(places)) and places[3] == anchor
        for before, after in itertools.pairwise(places):
            inside = chance.randrange(before, after)
            assert periods.next_boundary(anchor, interval, count, inside) == after
            assert periods.previous_boundary(anchor, interval, count, inside + 1) == before
