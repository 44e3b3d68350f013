"""`pay.analytics`: tables of figures that are exact and say what they count."""

from __future__ import annotations

import asyncio
import csv
import io
from decimal import Decimal

import pytest

from paydesk import AsyncPaydesk, Paydesk
from paydesk.errors import InvalidRequest, Misconfigured


@pytest.fixture
def pay(refunding):
    refunding.bought()
    refunding.refund(refunding.bought(), force=True)
    with Paydesk(env=refunding.env, background=False) as made:
        yield made


# S4.39!
def test_revenue_by_day_is_the_books(pay):  # S4.39
    frame = pay.analytics.revenue(last="7d", by="day", currency="usd")
    assert len(frame) == 1
    row = frame[0]
    assert (row["gross"], row["refunds"]) == (1998, 999)
    assert row["net"] == 1998 - 999 - row["fees"]
    assert row["success_rate"] == Decimal("1.0000")
    exact = pay.analytics.revenue(last="7d", money="decimal")
    assert exact[0]["gross"] == Decimal("19.98") and exact.total["gross_usd"] == Decimal("19.98")
    assert "gross - refunds - disputes - fees." in frame.explain()
    assert "gross" in repr(frame) and frame._repr_html_().startswith("<table>")


def test_packs_name_what_sold_best(pay):
    [row] = pay.analytics.packs(last="7d")
    assert (row["product"], row["sold"], row["captured"], row["given_back"]) == (
        "creator", 2, 1998, 999)  # fmt: skip


def test_csv_has_exact_decimals(pay, tmp_path):
    text = pay.analytics.payments(last="7d", by="method").to_csv(tmp_path / "payments.csv")
    assert (tmp_path / "payments.csv").read_bytes().decode() == text
    [row] = list(csv.DictReader(io.StringIO(text, newline="")))
    assert (row["captured"], row["currency"], row["success_rate"]) == ("19.98", "usd", "1.0000")


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_data_frames_are_made_where_their_library_is(pay, name):
    try:
        __import__(name)
    except ImportError:
        with pytest.raises(Misconfigured, match=name):
            getattr(pay.analytics.revenue(), f"to_{name}")()
        return
    made = getattr(pay.analytics.revenue(last="7d"), f"to_{name}")()
    assert list(made["gross"]) == [1998]


def test_a_wrong_question_is_refused(pay):
    for told in ({"by": "moon"}, {"last": "soon"}, {"tz": "Mars"}, {"money": "float"}):
        with pytest.raises(InvalidRequest):
            pay.analytics.payments(**told)


def test_the_asynchronous_desk_has_the_same_figures(pay):
    async def ask():
        return await AsyncPaydesk(env=pay.env, background=False).analytics.credits(last="7d")

    frame = asyncio.run(ask())
    assert (frame.total["bought"], frame.total["outstanding"]) == (300, 150)
    assert frame.rows == pay.analytics.credits(last="7d").rows
