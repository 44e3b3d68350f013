"""Recurring revenue as arithmetic: months, discounts, and what a change is called."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from paydesk.rules import invoices, recurring
from paydesk.rules.invoices import NewItem

AMOUNTS = st.integers(0, 10**12)
A_YEAR = {"year": 1, "month": 12, "week": 52, "day": 365}


@given(AMOUNTS, st.sampled_from(sorted(A_YEAR)), st.integers(1, 1000))
def test_a_month_is_the_twelfth_of_a_year_rounded_half_up_once(amount, unit, count):  # S4.39
    exact = Fraction(amount * A_YEAR[unit], 12 * count)
    assert recurring.monthly(amount, unit, count) == (2 * exact + 1) // 2


def test_intervals_come_to_a_month():
    assert recurring.monthly(24000, "year") == 2000
    assert recurring.monthly(2500, "month") == 2500
    assert recurring.monthly(6000, "month", 3) == 2000
    assert recurring.monthly(300, "week") == 1300
    assert recurring.monthly(100, "day") == 3042  # 3041 2/3
    assert recurring.monthly(1, "year", 2) == 0
    assert recurring.monthly(6, "year") == 1  # A half is rounded up.


@given(AMOUNTS, st.one_of(
    st.fixed_dictionaries({"percent": st.integers(1, 100)}),
    st.fixed_dictionaries({"minor": st.integers(1, 10**9)}),
))  # fmt: skip
def test_a_lasting_discount_is_taken_off_as_an_invoice_does(amount, off):  # I13
    of = invoices.Discount(
        description="SPRING", minor=off.get("minor"),
        percent_micros=off["percent"] * 10_000 if "percent" in off else None, why={},
    )
    item = NewItem(kind="recurring", description="Pro", amount_minor=amount)
    lines = invoices.discounted([item], of)
    kept = {**off, "left": None, "duration": "forever"}
    assert recurring.net(amount, kept) == sum(one.amount_minor for one in lines)


def test_a_code_counts_while_it_lasts_and_one_for_the_first_period_never():
    forever = {"percent": 50, "left": None, "duration": "forever"}
    assert recurring.net(2000, forever) == 1000
    last = {"percent": 50, "left": 0, "duration": "repeating", "runs": True}
    assert recurring.net(2000, last) == 1000
    assert recurring.net(2000, {**last, "runs": False}) == 2000
    once = {"percent": 50, "left": 0, "duration": "once", "runs": True}
    assert recurring.net(2000, once) == 2000
    assert recurring.net(2000, {"left": 0, "bonus": 50, "duration": "once"}) == 2000
    assert recurring.net(2000, None) == 2000
    assert recurring.net(2000, {"minor": 3000, "left": None}) == 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_named_changes_of_any_history_add_up_and_alternate(sums):
    total, had, here, customers = 0, False, 0, 0
    for after in sums:
        name = recurring.movement(here, after, had)
        assert (name is None) == (here == after)
        total += after - here
        customers += {"new": 1, "reactivation": 1, "churned": -1}.get(name or "", 0)
        assert (name in ("expansion", "new", "reactivation")) == (after > here)
        assert name != "new" or not had
        here, had = after, had or after > 0
        assert (total, customers) == (here, int(here > 0))
