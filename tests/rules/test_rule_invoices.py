"""Invoices as arithmetic: whatever the lines, discounts and rates, all of it adds up."""

from __future__ import annotations

from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules import invoices as rules
from paydesk.rules.invoices import Discount, InvoiceStateConflict, NewItem, TaxRate

KINDS = ["recurring", "one_off", "proration_charge", "adjustment"]
PRODUCTS = ["", "ebook", "saas"]


@st.composite
def lines(draw):
    found = []
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from([*KINDS, "proration_credit"]))
        most = 0 if kind == "proration_credit" else 10**9
        least = -(10**9) if kind in ("proration_credit", "adjustment") else 0
        found.append(NewItem(kind=kind, description=kind, product=draw(st.sampled_from(PRODUCTS)),
                             amount_minor=draw(st.integers(least, most))))  # fmt: skip
    return found


rate = st.builds(
    TaxRate, id=st.uuids(), name=st.just("tax"), micros=st.integers(0, 300_000),
    inclusive=st.booleans(),
)  # fmt: skip
held = st.dictionaries(st.sampled_from(PRODUCTS), st.lists(rate, max_size=3), max_size=3)
discount = st.none() | st.builds(
    Discount, description=st.just("CODE"), percent_micros=st.integers(0, 1_000_000)
) | st.builds(Discount, description=st.just("CODE"), minor=st.integers(0, 10**9))  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(lines(), discount, held, st.sampled_from(["line", "rate"]),
       st.sampled_from(["usd", "jpy", "kwd"]))  # fmt: skip
def test_lines_add_up_to_the_total_whatever_they_are(items, off, rates, rounding, currency):  # I13
    sums = rules.compute(items, off, rates, currency=currency, rounding=rounding)
    assert sum(one.amount_minor for one in sums.items) == sums.total
    exclusive = sum(one.amount_minor for one in sums.items if one.kind == "tax")
    assert sums.subtotal - sums.discount + exclusive == sums.total
    assert sums.subtotal == sum(one.amount_minor for one in items)
    taken = [one for one in sums.items if one.kind == "discount"]
    for one in taken:
        assert isinstance(one.of, int)
        assert 0 < -one.amount_minor <= sums.items[one.of].amount_minor + 1
    for one in sums.items:
        if one.kind == "tax":
            assert sum(part for _, part in one.why["lines"]) == one.why["tax_minor"]


@settings(max_examples=200, deadline=None)
@given(lines(), held, st.sampled_from(["line", "rate"]))
def test_each_tax_is_its_share_within_a_unit_a_line(items, rates, rounding):  # I13
    sums = rules.compute(items, None, rates, currency="usd", rounding=rounding)
    for product, some in rates.items():
        net = sum(one.amount_minor for one in items if one.product == product)
        inside = sum(r.micros for r in some if r.inclusive)
        for one in some:
            exact = Fraction(net * one.micros, 1_000_000 + inside)
            told = [line for line in sums.items if line.tax_rate_id == one.id]
            got = sum(line.why["tax_minor"] for line in told)
            most = Fraction(1, 2) * (len(items) if rounding == "line" else 1)
            if sum(r.id == one.id for many in rates.values() for r in many) == 1:
                assert abs(got - exact) <= most


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 10**9), st.integers(0, 10**8), st.integers(0, 10**9), st.integers(0, 10**9))
def test_payment_and_balance_share_what_is_sold_exactly(total, tax, due, came):
    due, tax = min(due, total), min(tax, total)
    came = min(came, due)
    paid, balance = rules.paid_parts(total=total, tax=tax, due=due, came=came)
    assert paid.revenue + paid.tax == came and balance.revenue + balance.tax == total - due
    if came == due:
        assert paid.tax + balance.tax == tax


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10**9), st.integers(0, 10**8), st.lists(st.integers(1, 10**8), max_size=8))
def test_credit_notes_over_the_whole_have_the_whole_tax(total, tax, parts):
    tax, credited, seen = min(tax, total), 0, 0
    for part in [*parts, total]:
        part = min(part, total - credited)
        seen += rules.credit_tax(amount=part, credited=credited, tax=tax, total=total)
        credited += part
    assert credited == total and seen == tax


def test_a_percentage_is_rounded_once_and_its_rest_falls_to_a_stated_line():
    items = [NewItem(kind="recurring", description=str(n), amount_minor=333) for n in range(3)]
    off = Discount(description="TENTH", percent_micros=100_000)
    found = rules.discounted(items, off)
    assert [one.amount_minor for one in found[3:]] == [-33, -34, -33]
    assert [one.of for one in found[3:]] == [0, 1, 2]


def test_a_fixed_discount_stops_at_what_it_takes_from():
    items = [NewItem(kind="recurring", description="Pro", amount_minor=500),
             NewItem(kind="proration_charge", description="Upgrade", amount_minor=900)]  # fmt: skip
    found = rules.discounted(items, Discount(description="BIG", minor=10_000))
    assert rules.summed(found).total == 900


def test_rounding_per_line_and_per_rate_differ_and_say_so():
    rates = {"": [TaxRate(id=UUID(int=1), name="VAT", micros=150_000)]}
    items = [NewItem(kind="one_off", description=str(n), amount_minor=103) for n in range(3)]
    by_line = rules.compute(items, None, rates, currency="usd", rounding="line")
    by_rate = rules.compute(items, None, rates, currency="usd", rounding="rate")
    assert (by_line.tax, by_rate.tax) == (45, 46)
    assert by_rate.items[-1].why["rounding"] == "rate"


def test_a_line_that_is_made_here_cannot_be_asked_for():
    for kind, amount in (("tax", 1), ("discount", -1), ("gift", 1), ("proration_credit", 1)):
        with pytest.raises(InvalidRequest):
            rules.check([NewItem(kind=kind, description="x", amount_minor=amount)], "usd")


def test_the_states_of_an_invoice():
    assert rules.move("open", "pay") == "paid" and rules.move("uncollectible", "void") == "void"
    for state, event in (("paid", "void"), ("void", "pay"), ("draft", "void")):
        with pytest.raises(InvoiceStateConflict):
            rules.move(state, event)
