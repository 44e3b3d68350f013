"""Rates: exact, rounded down, the same both ways, and read from the published files."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules import rates
from paydesk.rules.rates import Rate

AT = datetime(2026, 1, 14, tzinfo=UTC)
#: Currencies with no, two and three digits after the point.
CODES = ["jpy", "xof", "usd", "eur", "htg", "kwd", "tnd"]
PLAIN_RATES = st.decimals("0.000001", "200000", places=6, allow_nan=False)


def rate(base: str, quote: str, value: str | Decimal, *, n: int = 1, at: datetime = AT,
         source: str = "manual") -> Rate:  # fmt: skip
    return Rate(id=UUID(int=n), base=base, quote=quote, rate=Decimal(value), source=source, at=at)


def test_a_conversion_is_exact_and_rounded_down():  # I14
    one = rate("usd", "htg", "130.95")
    assert rates.convert(10_000, "usd", "htg", one) == rates.Converted(1_309_500, 0)
    # 1.00 HTG is 0.76 US cents: nothing arrives, and none of it was needed.
    assert rates.convert(100, "htg", "usd", one) == rates.Converted(0, 100)
    # 131 is the least that gives one cent: 69 were too much.
    assert rates.convert(200, "htg", "usd", one) == rates.Converted(1, 69)


def test_digits_of_the_currencies_are_heeded():
    assert rates.convert(100, "usd", "jpy", rate("usd", "jpy", "157.5")).to_minor == 157
    assert rates.convert(100, "usd", "kwd", rate("usd", "kwd", "0.3075")).to_minor == 307
    assert rates.worth(50, "jpy", "usd", rate("usd", "jpy", "157.5")) == 32


@given(
    pair=st.tuples(st.sampled_from(CODES), st.sampled_from(CODES)).filter(lambda p: p[0] != p[1]),
    value=PLAIN_RATES, amount=st.integers(1, 10**8), inverse=st.booleans(),
)  # fmt: skip
def test_going_there_and_back_never_gains(pair, value, amount, inverse):  # I14
    one = rate(*(reversed(pair) if inverse else pair), value)
    there = rates.convert(amount, *pair, one)
    back = rates.convert(there.to_minor, pair[1], pair[0], one)
    assert back.to_minor + there.rounding_minor <= amount
    # What was needed gives as much; one unit less would not.
    needed = amount - there.rounding_minor
    assert rates.convert(needed, *pair, one).to_minor == there.to_minor
    assert not needed or rates.convert(needed - 1, *pair, one).to_minor < there.to_minor


@given(near=PLAIN_RATES, far=PLAIN_RATES, amount=st.integers(1, 10**9))
def test_a_cross_rate_is_the_same_from_both_ends(near, far, amount):  # I14
    a, b = rate("eur", "usd", near, n=1), rate("eur", "htg", far, n=2)
    found = rates.derive([a, b], "usd", "htg")
    assert found == rates.derive([b, a], "htg", "usd")
    base, quote, value = found
    assert value >= 1
    made = rate(base, quote, value)
    back = rates.convert(rates.convert(amount, "usd", "htg", made).to_minor, "htg", "usd", made)
    assert back.to_minor <= amount


def test_the_newest_rate_of_a_pair_serves_both_directions():
    old, new = rate("usd", "htg", "130", n=1), rate("htg", "usd", "0.008", n=2,
                                                    at=AT + timedelta(hours=1))
    for pair in (("usd", "htg"), ("htg", "usd")):
        assert rates.choose([old, new], *pair) == [new]


def test_a_pair_that_nobody_quotes_goes_through_the_euro_first():
    through_euro = [rate("eur", "usd", "1.1", n=1), rate("eur", "jpy", "170", n=2)]
    through_franc = [rate("chf", "usd", "1.2", n=3), rate("chf", "jpy", "180", n=4)]
    assert rates.choose([*through_franc, *through_euro], "usd", "jpy") == through_euro
    assert rates.choose(through_franc, "usd", "jpy") == through_franc
    assert rates.choose(through_euro, "usd", "htg") == []


RINGS = st.integers(3, 6).flatmap(lambda n: st.tuples(
    st.permutations(CODES[:n]),
    st.lists(st.decimals("0.001", "1000", places=3), min_size=n, max_size=n),
    st.lists(st.tuples(st.sampled_from(CODES[:n]), st.sampled_from(CODES[:n]),
                       st.decimals("0.001", "1000", places=3)), max_size=6),
    st.lists(st.sampled_from(CODES[:n]), min_size=1, max_size=8)))  # fmt: skip


@given(ring=RINGS, amount=st.integers(1, 10**9))
def test_no_way_around_gains_whatever_the_rates_say(ring, amount):  # I14
    codes, values, more, way = ring
    quoted = [*zip(codes, [*codes[1:], codes[0]], values, strict=True), *more]
    rows = [rate(a, b, v, n=n) for n, (a, b, v) in enumerate(quoted, 1) if a != b]
    left, here = amount, way[-1]
    for there in way:
        if there == here:
            continue
        found = rates.least(rows, here, there)
        assert found, "in a ring everything hangs together"
        base, quote, value = rates.derive(found, here, there)
        one = found[0] if len(found) == 1 else rate(base, quote, value)
        left, here = rates.convert(left, here, there, one).to_minor, there
    assert left <= amount


def test_what_does_not_hang_together_has_no_rate():
    rows = [rate("usd", "htg", "131", n=1), rate("eur", "jpy", "160", n=2)]
    assert rates.least(rows, "usd", "eur") == [] == rates.least(rows, "usd", "kwd")
    assert rates.least(rows, "htg", "usd") == rows[:1]


def test_derived_rates_are_never_derived_from():
    stored = rate("usd", "jpy", "150", source="cross eur 1 2")
    assert rates.choose([stored], "usd", "jpy") == []


XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01"
 xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref"><gesmes:subject>Reference rates
</gesmes:subject><Cube><Cube time='2026-01-14'><Cube currency='USD' rate='1.0897'/>
<Cube currency='JPY' rate='171.22'/><Cube currency='ZZZ' rate='1'/></Cube></Cube>
</gesmes:Envelope>"""


def test_files_of_reference_rates_are_read_as_they_are_published():
    day = date(2026, 1, 14)
    expected = [(day, "usd", Decimal("1.0897")), (day, "jpy", Decimal("171.22"))]
    assert list(rates.parse_ecb(XML)) == expected
    one_day = b"Date, USD, JPY, \n14 January 2026, 1.0897, 171.22, \n"
    assert list(rates.parse_ecb(one_day)) == expected
    history = b"Date,USD,JPY,BGN,\n2026-01-14,1.0897,171.22,N/A,\n2026-01-13,1.09,170,1.9558,\n"
    assert list(rates.parse_ecb(history))[:2] == expected
    assert len(list(rates.parse_ecb(history))) == 5


@pytest.mark.parametrize("data", [
    b"", b"<a/>", b"Day,USD\n2026-01-14,1\n", b"Date,USD\nyesterday,1\n",
    b"Date,USD\n2026-01-14,-1",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", b"<a", b"\xff\xfe", b"Date,USD\n2026-01-14,1e3\n",
    b"Date,USD\n2026-01-14,NaN\n",
])  # fmt: skip
def test_other_files_are_refused(data):
    with pytest.raises(InvalidRequest):
        list(rates.parse_ecb(data))


@pytest.mark.parametrize("value", ["0", "-1", "1,5", "1e3", "", "0.0000000000001", 1.5, True, None])
def test_what_is_no_rate_is_refused(value):
    with pytest.raises(InvalidRequest):
        rates.parse_rate(value)
    assert rates.plain(rates.parse_rate("130.950")) == "130.95"


@pytest.mark.parametrize("value", ["0.0000000009", "1000000000.1", "999999999999999999"])
def test_rates_that_nothing_has_are_refused(value):
    with pytest.raises(InvalidRequest):
        rates.parse_rate(value)
    assert rates.parse_rate("0.000000001") * rates.parse_rate("1000000000") == 1
