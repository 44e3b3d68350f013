"""The papers of invoices, read as a bookkeeper reads them: what stands there adds up."""

from __future__ import annotations

import re
from decimal import Decimal

import pypdfium2
import pytest

from paydesk import USD
from paydesk.testing.plugin import clock, pay, paydesk_simulator

__all__ = ["clock", "pay", "paydesk_simulator"]

ROW = re.compile(r"(.+?) ([−-]?)\$([0-9,]+\.[0-9]{2})")
LINE = re.compile(r".+ ([0-9,]+) ([−-]?)\$([0-9,]+\.[0-9]{2})")
ITEMS = [("Studio, by the seat", USD("39.99"), 3), ("Onboarding", USD("1149.95")),
         ("Goodwill", USD("-10.00"))]  # fmt: skip


@pytest.fixture
def paydesk_catalog() -> bool:
    return False


@pytest.fixture
def bill(pay):
    """Makes an invoice with two taxes on top and a discount of 15 percent."""
    pay.tax_rates.add("GST", "5", country="CA")
    pay.tax_rates.add("QST", "9.975", country="CA")
    buyer = {"name": "Rosa Marchetti", "email": "rosa@atelier.example", "country": "CA",
             "address": "418 Avenue Laurier\nMontréal QC H2V 2K9"}  # fmt: skip
    return lambda: pay.invoices.create("rosa", ITEMS, percent_off=15, buyer=buyer, days=14)


def amount(sign: str, digits: str) -> Decimal:
    return Decimal(digits.replace(",", "")) * (-1 if sign else 1)


def rows_of(content: bytes) -> list[tuple[str, Decimal]]:
    """What stands below the heads of the columns, each with the amount at its end."""
    text = "\n".join(p.get_textpage().get_text_range() for p in pypdfium2.PdfDocument(content))
    below = text.replace("\r", "").partition("Unit price Amount\n")[2].split("\n")
    found = [ROW.fullmatch(line) for line in below]
    return [(one[1], amount(one[2], one[3])) for one in found if one]


def adds_up(content: bytes) -> dict[str, Decimal]:
    """The sums by their names, once all of it was reckoned anew."""
    rows = rows_of(content)
    start = [name for name, _ in rows].index("Subtotal")
    sums = dict(rows[start:])
    for name, found in rows[:start]:
        each = LINE.fullmatch(name)
        assert each and Decimal(each[1]) * amount(each[2], each[3]) == found, name
    assert len(rows[:start]) == len(ITEMS)
    assert sum(found for _, found in rows[:start]) == sums["Subtotal"]
    names = list(sums)
    total, due = names.index("Total"), names.index("Amount due")
    assert sum(sums[name] for name in names[:total]) == sums["Total"]
    assert sum(sums[name] for name in names[total:due]) == sums["Amount due"]
    return sums


# S1.50! I22
def test_a_taxed_discounted_invoice_adds_up_from_its_lines_to_what_is_due(
    pay, bill, paydesk_simulator
):
    one = bill()
    open_ = adds_up(pay.invoices.pdf(one))
    # 15 percent of what is sold, 1269.92; the taxes of 101.97, 977.46 and -10.00, each rounded.
    assert open_ == {
        "Subtotal": Decimal("1259.92"), "Discount (15% off)": Decimal("-190.49"),
        "GST 5%": Decimal("5.10") + Decimal("48.87") - Decimal("0.50"),
        "QST 9.975%": Decimal("10.17") + Decimal("97.50") - Decimal("1.00"),
        "Total": Decimal("1229.57"), "Amount due": Decimal("1229.57"),
    }  # fmt: skip
    session = pay.invoices.checkout(one)
    paydesk_simulator.pay(session.payment.provider_session)
    assert pay.verify(session.id).payment.status == "succeeded"
    paid = adds_up(pay.invoices.pdf(one))
    assert (paid["Paid"], paid["Amount due"]) == (-open_["Total"], 0)
    note = pay.credit_notes.create(one, USD("50.00"), balance=USD("30.00"), reason="duplicate")
    told = dict(rows_of(pay.credit_notes.pdf(note)))
    assert told["Total"] == Decimal("50.00") == told["Refunded"] + told["Added to your balance"]
    assert told["of which tax"] == note.tax.decimal
    second = bill()
    less = adds_up(pay.invoices.pdf(second))
    assert (less["Paid from your balance"], less["Amount due"]) == (-30, Decimal("1199.57"))
    pay.credit_notes.create(second, USD("100.00"))
    less = adds_up(pay.invoices.pdf(second))
    assert (less["Credited"], less["Amount due"]) == (-100, Decimal("1099.57"))
