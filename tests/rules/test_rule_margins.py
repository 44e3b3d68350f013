"""Margins: one for all pairs or a pair's own, taken of what is given, and never gained from."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules import margins, rates
from paydesk.rules.rates import Rate

AT = datetime(2026, 1, 14, tzinfo=UTC)


def test_a_pairs_own_margin_holds_both_ways_unless_both_are_named():
    told = margins.parse("100, usd/htg=250, EUR/USD: 0, eur/htg=50, htg/eur=75")
    assert [told.of(*pair.split("/")) for pair in (
        "usd/htg", "htg/usd", "eur/usd", "eur/htg", "htg/eur", "gbp/usd",
    )] == [250, 250, 0, 50, 75, 100]  # fmt: skip
    assert margins.parse("").of("usd", "htg") == margins.parse("0").of("usd", "htg") == 0


@pytest.mark.parametrize(
    "text", ["-1", "1.5", "5001", "usd/htg=5001", "usd/usd=1", "usd/xyz=1", "usd/htg=1,usd/htg=2",
             "1,2", "usd=3", "usd/htg", "a lot"],
)  # fmt: skip
def test_what_is_no_margin_is_refused(text):
    with pytest.raises(InvalidRequest):
        margins.parse(text)


@given(minor=st.integers(1, 10**12), bps=st.integers(0, margins.MOST),
       value=st.decimals("0.0001", "9000", places=4))  # fmt: skip
def test_what_is_given_is_margin_need_and_rounding_to_the_unit(minor, bps, value):  # I14
    one = Rate(id=UUID(int=1), base="usd", quote="htg", rate=Decimal(value), source="x", at=AT)
    done = rates.convert(minor, "usd", "htg", one, bps)
    assert done.margin_minor * margins.WHOLE >= minor * bps
    assert (done.margin_minor - 1) * margins.WHOLE < minor * bps
    assert done.rounding_minor >= 0 and done.to_minor >= 0
    rest = minor - done.margin_minor
    assert done.to_minor == rates.convert(rest, "usd", "htg", one).to_minor
    assert rates.convert(rest - done.rounding_minor, "usd", "htg", one).to_minor == done.to_minor
    back = rates.convert(done.to_minor, "htg", "usd", one, bps) if done.to_minor else None
    assert back is None or back.to_minor <= rest
