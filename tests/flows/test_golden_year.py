"""Thirteen months of a customer's life, compared line by line with `golden/year.txt`.

That file is for people: whoever changes what the desk does to a customer sees it there, to the
cent. `PAYDESK_GOLDEN=write` writes it anew; what is written is read before it is committed. So
that nobody has to trust what was recorded, a calculator that knows nothing of Paydesk reckons the
same life from the prices, the calendar and the tariff below, and compares its figures with it.
"""

from __future__ import annotations

import difflib
import os
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from golden_book import Book
from golden_calculator import year

from paydesk import Money
from paydesk.flows import doctor
from paydesk.testing.desk_clock import DeskClock
from paydesk.testing.plugin import pay, paydesk_simulator

__all__ = ["pay", "paydesk_simulator"]

GOLDEN = Path(__file__).parent / "golden" / "year.txt"
ZONE = ZoneInfo("America/Toronto")
RULE = "=" * 74 + "\n"
START = datetime(2028, 1, 17, 10, tzinfo=ZONE)
WHO = "mireille"
LINE = re.compile(r" {8}(\S.*?) +(-?[0-9]+\.[0-9]{2})")


@pytest.fixture
def clock() -> DeskClock:
    return DeskClock(START.astimezone(UTC))


@pytest.fixture
def paydesk_catalog() -> bool:
    """The desk is empty: the life says what is on sale."""
    return False


def cad(text: str) -> Money:
    return Money(text, "cad")


def sell(pay, studio: str = "40.00") -> None:
    """What is on sale: two plans of one family, two taxes on top, a code for two periods."""
    shared = {"family": "app", "most_quantity": 10, "grace_days": 7}
    pay.plans.upsert("studio", name="Studio", price=cad(studio), credits=300, trial_days=14,
                     grants=["app"], **shared)  # fmt: skip
    pay.plans.upsert("agency", name="Agency", price=cad("90.00"), credits=1000,
                     grants=["app", "teams"], **shared)  # fmt: skip


def live(pay, clock, simulator) -> Book:
    """The life itself; each scene is one instant of it."""
    book = Book(pay, clock, WHO, ZONE)
    pay.tax_rates.add("GST", "5", country="CA")
    pay.tax_rates.add("QST", "9.975", country="CA")
    pay.promos.upsert("SPRING", percent_off=25, duration="repeating", duration_periods=2)
    sell(pay)
    book.follow()
    pay.customers.upsert(WHO, name="Mireille Tremblay", email="mireille@example.com",
                         metadata={"country": "CA"})  # fmt: skip

    def current():
        return pay.subscriptions.current(WHO)

    def card(token: str, answers_as: str | None = None):
        method = pay.methods.add(WHO, token, default=True)
        if answers_as:
            def change(tx):
                tx.put({**tx.get(method.provider_method), "_card": answers_as})

            simulator.sim.store.call(change)

    def spend(credits: int):
        return lambda: pay.spend(WHO, credits, reason="work")

    book.scene("2028-01-17 10:00", "subscribes to Studio with the code SPRING, saves a card: trial",
               lambda: pay.subscribe(WHO, "studio", promo="SPRING", zone=ZONE.key,
                                     currency="cad").complete())  # fmt: skip
    book.scene("2028-01-28 10:00", "is told that the trial ends in three days")
    book.scene("2028-01-31 10:00", "the trial ends: the first period, a quarter off")
    book.scene("2028-02-03 09:00", "Studio becomes dearer; who subscribed keeps the price",
               lambda: sell(pay, "44.00"))  # fmt: skip
    book.scene("2028-02-10 12:00", "uses 120 credits", spend(120))
    book.scene("2028-02-29 10:00", "renewal on the last day of a leap February, a quarter off")
    book.scene("2028-03-31 10:00", "renewal in full, on the 31st again, after the clocks changed")
    book.scene("2028-04-10 12:00", "uses 30 credits", spend(30))

    def upgrade():
        seen = pay.subscriptions.preview(current(), plan="agency")
        pay.subscriptions.change(current(), plan="agency", expect=seen)

    book.scene("2028-04-13 16:00", "upgrades to Agency, at once", upgrade)
    book.scene("2028-04-30 10:00", "renewal of Agency, on the last day of a short month")
    book.scene("2028-05-12 12:00", "uses 640 credits", spend(640))
    book.scene("2028-05-20 12:00", "the card has no more money",
               lambda: card("pm_card_visa", "visa_chargeDeclinedInsufficientFunds"))  # fmt: skip
    book.scene("2028-05-31 10:00", "renewal fails: past due, with the days of grace")
    book.scene("2028-06-01 10:00", "second try, a day after")
    book.scene("2028-06-03 10:00", "third try, three days after")
    book.scene("2028-06-04 18:00", "a new card", lambda: card("pm_card_mastercard"))
    book.scene("2028-06-04 18:01", "which is charged at once: recovered")
    book.scene("2028-06-12 12:00", "uses 800 credits", spend(800))
    book.scene("2028-06-20 10:00", "three seats instead of one: unspent credits limit what is back",
               lambda: pay.subscriptions.change(current(), quantity=3))  # fmt: skip
    book.scene("2028-06-30 10:00", "renewal of three seats")
    book.scene("2028-07-10 09:00", "downgrades to one seat of Studio, for the period's end",
               lambda: pay.subscriptions.change(current(), plan="studio", quantity=1))  # fmt: skip
    book.scene("2028-07-31 10:00", "renewal as Studio, at its price of today")

    def credit():
        pay.credit_notes.create(current().invoice, cad("15.00"), balance=cad("5.00"),
                                reason="duplicate")  # fmt: skip

    book.scene("2028-08-10 11:00", "15.00 back: 10.00 to the card, 5.00 to the balance", credit)
    book.scene("2028-08-31 10:00", "renewal, of which the balance pays 5.00")
    book.scene("2028-09-12 10:00", "pauses, with 18 days left",
               lambda: pay.subscriptions.pause(current()))  # fmt: skip
    book.scene("2028-09-30 10:00", "nothing is billed")
    book.scene("2028-10-05 10:00", "resumes: the 18 days begin now",
               lambda: pay.subscriptions.resume(current()))  # fmt: skip
    book.scene("2028-10-23 10:00", "renewal; periods count from this day now")
    book.scene("2028-11-23 10:00", "renewal at the same hour, after the clocks changed back")
    book.scene("2028-12-01 09:00", "cancels at the period's end",
               lambda: pay.subscriptions.cancel(current(), reason="too dear"))  # fmt: skip
    book.scene("2028-12-05 09:00", "thinks better of it",
               lambda: pay.subscriptions.reactivate(current()))  # fmt: skip
    book.scene("2028-12-23 10:00", "renewal")
    book.scene("2029-01-08 04:00", "cancels at once, what is unused comes back",
               lambda: pay.subscriptions.cancel(current(), at="now", refund="unused",
                                                reason="moves away"))  # fmt: skip
    book.scene("2029-02-17 10:00", "nothing more happens")
    return book


# I13 I22 I24 I26 S1.12 S1.29 S1.58
@pytest.mark.timeout(180)
def test_thirteen_months_are_as_the_golden_book_has_them(pay, clock, paydesk_simulator):
    book = live(pay, clock, paydesk_simulator)
    assert [one for one in doctor.check(pay.env.db) if not one.ok] == []
    told = "\n".join(book.lines)
    head, line, golden = GOLDEN.read_text().partition(RULE)
    if os.environ.get("PAYDESK_GOLDEN") == "write":
        GOLDEN.write_text(head + line + told)
        golden = told
    difference = list(difflib.unified_diff(golden.splitlines(), told.splitlines(),
                                           "golden/year.txt", "this run", lineterm=""))  # fmt: skip
    assert not difference, "\n".join(difference)


# I13 I22 I24
def test_the_golden_book_is_what_a_calculator_says():
    """Every line of every invoice, and how everything stands after every scene."""
    found = dict(scenes_of(GOLDEN.read_text()))
    expected = year()
    assert list(found) == list(expected)
    for at, scene in expected.items():
        lines, stands = found[at]
        assert lines == scene.lines, at
        assert stands == scene.stands, at


def scenes_of(text: str):
    """(instant, (lines of a new invoice, how it stands)) of each scene of the book."""
    for block in text.partition(RULE)[2].strip().split("\n\n"):
        head, *rest = block.splitlines()
        lines = []
        for line in rest:
            known = LINE.fullmatch(line)
            if known and known[1] not in ("tax", "refunded", "balance"):  # of a credit note
                lines.append((known[1], Decimal(known[2])))
        yield head[:16], (lines, rest[-1].strip())


def test_the_golden_book_adds_up():
    """Each invoice to its total, and the accounts from scene to scene by their entries."""
    stands = dict.fromkeys(("balance", "deposits", "revenue", "tax", "refunds"), Decimal(0))
    invoices = 0
    for block in GOLDEN.read_text().partition(RULE)[2].strip().split("\n\n"):
        for part in re.split(r"(?m)^ {4}(?=INV-)", block)[1:]:
            head, *rest = part.splitlines()
            lines = []
            for line in rest:
                known = LINE.fullmatch(line)
                if known is None or known[1] == "paid by the balance":
                    break
                lines.append(Decimal(known[2]))
            if lines:
                invoices += 1
                assert sum(lines) == Decimal(head.split()[-1]), head
        for debit, credit, amount in re.findall(
            r"entry +(\w+) -> (\w+) +\w+ +([0-9.]+)", block
        ):
            for name, sign in ((debit, -1), (credit, 1)):
                if name in stands:
                    stands[name] += sign * Decimal(amount)
        told = dict(re.findall(r"(\w+) (-?[0-9]+\.[0-9]{2})(?:,|$)", block.splitlines()[-1]))
        assert {name: Decimal(told[name]) for name in stands} == stands, block
    assert invoices == 13
