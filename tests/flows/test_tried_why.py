"""Why each amount is as it is: every line of a random year, reckoned again from what it tells."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from uuid import uuid4

import pytest

from paydesk import ids
from paydesk.errors import PaydeskError
from paydesk.flows import credit_notes, credits, invoices, promos, subscription_views, tax_rates
from paydesk.flows import subscription_changes as changes
from paydesk.flows.credit_notes import NewNote
from paydesk.rules.money import USD

CODES = {
    "THIRD": {"percent_off": 33, "duration": "forever"},
    "FIVER": {"amount_off": USD("5.55"), "duration": "repeating", "duration_periods": 3},
    "ONCE": {"percent_off": 15},
}
TOLD_RULES = {"quantity x unit price", "discount", "net x rate", "unused", "remaining_time",
              "new_period"}  # fmt: skip


def half_up(value: Fraction) -> int:
    whole = int((2 * abs(value) + 1) // 2)
    return whole if value >= 0 else -whole


def charge(why: dict) -> int:
    if "unit_minor" in why:
        full = why["unit_minor"] * why["quantity"]
        return half_up(full * Fraction(*why.get("part", (1, 1))))
    return half_up(Fraction(why["price_minor"] * why["left"], why["whole"]))


def credit(why: dict) -> int:
    part, paid = Fraction(why["left"], why["whole"]), why["paid_minor"]
    total = why.get("credits_total", 0)
    if total:
        unspent = Fraction(why["credits_later"] + why["credits_left"], total)
        back = int(paid * min(part, unspent))
    else:
        back = half_up(paid * part)
    return -max(0, min(back, paid - why["credited_minor"]))


def discount(why: dict) -> int:
    base = why.get("base_minor", why["of_minor"])
    if "percent_micros" in why:
        off = half_up(Fraction(base * why["percent_micros"], 1_000_000))
    else:
        off = half_up(why["minor"] * Fraction(why.get("left", 1), why.get("whole", 1)))
    off = min(off, base)
    assert off == why["discount_minor"]
    return -half_up(Fraction(off * why["of_minor"], base))


def tax(why: dict) -> int:
    exact = [Fraction(net * why["rate_micros"], 1_000_000 + inside)
             for _, net, inside in why["of"]]  # fmt: skip
    assert sum(net for _, net, _ in why["of"]) == why["base_minor"]
    whole = (sum(map(half_up, exact)) if why["rounding"] == "line" else half_up(sum(exact)))
    assert whole == why["tax_minor"] == sum(part for _, part in why["lines"])
    return 0 if why["inclusive"] else whole


AGAIN = {"recurring": charge, "proration_charge": charge, "proration_credit": credit,
         "discount": discount, "tax": tax}  # fmt: skip


def year(billing, dice: random.Random):
    """A subscriber who changes plans and seats, spends credits and is given money back."""
    for key, more in {
        "small": {"price": USD("19.99"), "product": "saas", "most_quantity": 5},
        "large": {"price": USD("50.05"), "credits": 70, "upgrade": "days", "most_quantity": 5},
        "yearly": {"price": USD("199.97"), "interval": "year", "product": "books"},
        "calm": {"price": USD("31.10"), "billing": "calendar", "credits": 100},
    }.items():
        billing.plan(key, downgrade_when=dice.choice(["now", "period_end"]), **more)
    for code, more in CODES.items():
        promos.upsert_promo(billing.env, code, **more)
    for product, rates in {"saas": ["19", "2.5"], "books": ["7"], "": ["8.875"]}.items():
        for n, percent in enumerate(rates):
            tax_rates.add(billing.env, f"Tax {n}", percent, product=product,
                          inclusive=product == "saas")  # fmt: skip
    who = billing.user()
    sub = billing.subscribe(who, dice.choice(["small", "large", "calm"]),
                            promo=dice.choice([*CODES, None]))  # fmt: skip
    for _ in range(26):
        with contextlib.suppress(PaydeskError):
            step(billing, dice, who, sub)
        billing.until(billing.env.now().replace(microsecond=0) + billing_days(dice))
    return who


def billing_days(dice: random.Random):
    return timedelta(days=dice.randint(3, 24), seconds=dice.randint(0, 80_000))


def step(billing, dice: random.Random, who, sub) -> None:
    act = dice.randint(0, 5)
    if act < 3:
        plan = dice.choice(["small", "large", "yearly", "calm"])
        changes.change(billing.env, who.uuid, sub.id, plan=plan, quantity=1)
    elif act == 3:
        changes.change(billing.env, who.uuid, sub.id, quantity=dice.randint(1, 5))
    elif act == 4 and billing.balance(who):
        credits.spend_now(billing.env, credits.new_spend(
            who.uuid, dice.randint(1, billing.balance(who)), reason="class"))  # fmt: skip
    else:
        bill = billing.look(sub).latest_invoice_id
        credit_notes.create(billing.env, NewNote(
            customer_id=who.uuid, invoice_id=bill, by="staff:ada", amount=USD("1.23"),
            request_key=uuid4(), **dice.choice([{}, {"balance": USD("1.23")}]),
        ))  # fmt: skip


# S1.29 S1.44 S1.50 S1.59 I13
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rounding", ["line", "rate"])
def test_every_line_of_a_year_can_be_reckoned_again_from_why(billing, seed, rounding):
    told = replace(billing.env.settings, tax_rounding=rounding)
    billing.env = replace(billing.env, settings=told)
    dice = random.Random(f"why {seed}")
    who = year(billing, dice)
    seen: Counter = Counter()
    rows = billing.all("select id from invoices where customer_id = %(c)s", c=who.uuid)
    for row in rows:
        bill = invoices.get(billing.env, who.uuid, row["id"])
        assert sum(one.amount.minor for one in bill.items) == bill.total.minor
        for one in bill.items:
            why = subscription_views.why(billing.env, who.uuid, ids.show("invoice_item", one.id))
            told = why.inputs
            seen[one.kind] += 1
            assert (one.kind, AGAIN[one.kind](told)) == (one.kind, one.amount.minor), told
            assert told["rule"].split(",")[0] in TOLD_RULES or "short first" in told["rule"], told
            assert why.amount == one.amount
    assert len(rows) > 7 and seen["recurring"] > 5 and seen["tax"] > 10, seen


# S1.44 I13
def test_entries_are_told_with_the_instant_at_which_they_count_and_add_up(billing):
    tax_rates.add(billing.env, "VAT", "20")
    billing.plan(price=USD("20.00"))
    sub = billing.subscribe(billing.user())
    end = billing.look(sub).period_end
    billing.until(end)
    bill = invoices.get(billing.env, sub.customer_id, billing.look(sub).latest_invoice_id)
    told = subscription_views.why(billing.env, None, bill.items[0].id)
    assert {one["at"] for one in told.entries} == {end.isoformat()}
    found = Counter({one["credit"]: one["amount"] for one in told.entries})
    assert (found["revenue"], found["tax"], found.total()) == (2000, 400, bill.total.minor)
