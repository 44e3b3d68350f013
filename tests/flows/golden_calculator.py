"""Reckons the golden year again with a calendar, a tariff and decimals, and nothing of Paydesk.

    >>> half_up(Decimal("3.0") * Decimal("0.09975"), 2)
    Decimal('0.30')

Prices are of one seat and month before taxes: Studio 40.00 (44.00 for whoever comes to it from
3 February on) with 300 credits, Agency 90.00 with 1000. GST is 5 % and QST 9.975 % of each line,
each rounded half up to the cent. A period runs from the 31st, or the month's last day, at 10:00 in
Toronto to the next; what it opens stays open for seven days more. A part of a period is its
seconds left of its seconds; money of a plan with credits comes back rounded down.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal, getcontext
from fractions import Fraction
from zoneinfo import ZoneInfo

getcontext().prec = 40
TORONTO = ZoneInfo("America/Toronto")
CENT, ONE = Decimal("0.01"), Decimal(1)
GST, QST = Decimal("0.05"), Decimal("0.09975")


def half_up(amount: Decimal, digits: int = 2) -> Decimal:
    return amount.quantize(ONE.scaleb(-digits), ROUND_HALF_UP)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=TORONTO)


def month_after(at: datetime, day: int) -> datetime:
    """The same hour of the wall clock a month later, on `day` or the month's last one."""
    year, month = (at.year + at.month // 12, at.month % 12 + 1)
    return at.replace(year=year, month=month, day=min(day, monthrange(year, month)[1]))


def seconds(begin: datetime, end: datetime) -> int:
    return int(end.timestamp()) - int(begin.timestamp())


def part_left(begin: datetime, end: datetime, at: datetime) -> Fraction:
    return Fraction(seconds(at, end), seconds(begin, end))


def of(amount: Decimal, part: Fraction) -> Decimal:
    return amount * part.numerator / part.denominator


@dataclass
class Scene:
    """What the book must have: (line, amount) of a new invoice, and how everything stands."""

    lines: list[tuple[str, Decimal]]
    stands: str


@dataclass
class Calculator:
    """How the customer stands, step by step; `scenes` by their local instant."""

    day: int = 31
    begin: datetime | None = None
    end: datetime | None = None
    open_until: datetime | None = None
    revenue: Decimal = Decimal("0.00")
    tax: Decimal = Decimal("0.00")
    balance: Decimal = Decimal("0.00")
    credits: int = 0
    total: Decimal = Decimal("0.00")
    taxes: Decimal = Decimal("0.00")
    scenes: dict[str, Scene] = field(default_factory=dict)

    def note(self, at: str, lines: list[tuple[str, Decimal]] | None = None) -> None:
        opened = (f"open until {self.open_until:%d %b %H:%M}" if self.open_until
                  else "nothing open")  # fmt: skip
        stands = (f"= balance {self.balance}, deposits 0.00, revenue {self.revenue},"
                  f" tax {self.tax}, refunds 0.00, credits {self.credits}, {opened}")  # fmt: skip
        self.scenes[at] = Scene(lines or [], stands)

    def bill(self, lines: list[tuple[str, Decimal]]) -> list[tuple[str, Decimal]]:
        """An invoice of these lines: a discount takes from the line before it, taxes go on top."""
        taxed = [amount for _, amount in lines]
        if len(taxed) == 2 and lines[1][0] == "SPRING":
            taxed = [taxed[0] + taxed[1]]
        gst = sum((half_up(one * GST) for one in taxed), Decimal("0.00"))
        qst = sum((half_up(one * QST) for one in taxed), Decimal("0.00"))
        self.taxes = gst + qst
        self.total = sum(taxed) + self.taxes
        return [*lines, ("GST", gst), ("QST", qst)]

    def earn(self) -> None:
        self.revenue += self.total - self.taxes
        self.tax += self.taxes

    def period(self, at: datetime) -> None:
        """The next one begins."""
        self.begin, self.end = at, month_after(at, self.day)

    def opened(self) -> None:
        self.open_until = (self.end.astimezone(UTC) + timedelta(days=7)).astimezone(TORONTO)

    def renew(self, at: str, name: str, price: str, credits: int, off: str | None = None,
              seats: int = 1) -> None:  # fmt: skip
        """A period that is paid at once; what is left of the credits before it has ended."""
        self.period(local(at))
        lines = [(name, Decimal(price) * seats)]
        if off:
            lines.append(("SPRING", -half_up(lines[0][1] * Decimal(off))))
        found = self.bill(lines)
        paid = min(self.balance, self.total)
        if paid:
            self.balance -= paid
            found += [("paid by the balance", paid), ("due", self.total - paid)]
        self.earn()
        self.opened()
        self.credits = credits * seats
        self.note(at, found)

    def change(self, at: str, old: tuple[str, str], new: tuple[str, str], *, given: int,
               unspent: int, fresh: int) -> None:  # fmt: skip
        """Within a period: the lesser of time left and credits unspent comes back."""
        left = part_left(self.begin, self.end, local(at))
        part = min(left, Fraction(unspent, given))
        back = of(Decimal(old[1]), part).quantize(CENT, ROUND_DOWN)
        charge = half_up(of(Decimal(new[1]), left))
        taken = int(of(Decimal(given), part).quantize(ONE, ROUND_UP))
        got = int(of(Decimal(fresh), left).quantize(ONE, ROUND_DOWN))
        lines = self.bill([(f"Unused time on {old[0]}", -back),
                           (f"Remaining time on {new[0]}", charge)])  # fmt: skip
        self.earn()
        self.credits += got - taken
        self.note(at, lines)

    def give_back(self, amount: Decimal) -> Decimal:
        """A part of the last invoice, with its share of the tax; answers that share."""
        share = half_up(amount * self.taxes / self.total)
        self.revenue -= amount - share
        self.tax -= share
        return share


def year() -> dict[str, Scene]:
    """The scenes of the golden year."""
    c = Calculator()
    trial = local("2028-01-17 10:00") + timedelta(days=14)
    c.end = trial
    c.opened()
    c.note("2028-01-17 10:00")
    c.note("2028-01-28 10:00")
    c.renew("2028-01-31 10:00", "Studio", "40.00", 300, off="0.25")
    c.note("2028-02-03 09:00")
    c.credits -= 120
    c.note("2028-02-10 12:00")
    c.renew("2028-02-29 10:00", "Studio", "40.00", 300, off="0.25")
    c.renew("2028-03-31 10:00", "Studio", "40.00", 300)
    c.credits -= 30
    c.note("2028-04-10 12:00")
    # 402 of 720 hours are left: 67 parts of 120.
    c.change("2028-04-13 16:00", ("Studio", "40.00"), ("Agency", "90.00"), given=300,
             unspent=270, fresh=1000)  # fmt: skip
    c.renew("2028-04-30 10:00", "Agency", "90.00", 1000)
    c.credits -= 640
    c.note("2028-05-12 12:00")
    c.note("2028-05-20 12:00")
    # The charge fails: nothing is earned or given, and what was open stays open for its days.
    c.period(local("2028-05-31 10:00"))
    lines, c.credits = c.bill([("Agency", Decimal("90.00"))]), 0
    c.note("2028-05-31 10:00", lines)
    for at in ("2028-06-01 10:00", "2028-06-03 10:00", "2028-06-04 18:00"):
        c.note(at)
    c.earn()
    c.opened()
    c.credits = 1000
    c.note("2028-06-04 18:01")
    c.credits -= 800
    c.note("2028-06-12 12:00")
    # A third of the time is left, but a fifth of the credits.
    c.change("2028-06-20 10:00", ("Agency", "90.00"), ("3 × Agency", "270.00"), given=1000,
             unspent=200, fresh=3000)  # fmt: skip
    c.renew("2028-06-30 10:00", "Agency", "90.00", 1000, seats=3)
    c.note("2028-07-10 09:00")
    c.renew("2028-07-31 10:00", "Studio", "44.00", 300)
    # 15.00 of 50.59 go back, 10.00 to the card; with those go 59 of 300 credits.
    c.credits -= int(half_up(Decimal(300) * 10 / c.total, 0))
    c.give_back(Decimal("15.00"))
    c.balance += 5
    c.note("2028-08-10 11:00")
    c.renew("2028-08-31 10:00", "Studio", "44.00", 300)
    until, c.open_until = c.end, None
    c.note("2028-09-12 10:00")
    # Time stands still, also that of the credits.
    c.note("2028-09-30 10:00")
    c.end = (local("2028-10-05 10:00").astimezone(UTC) + timedelta(
        seconds=seconds(local("2028-09-12 10:00"), until))).astimezone(TORONTO)  # fmt: skip
    c.day = c.end.day
    c.opened()
    c.note("2028-10-05 10:00")
    for at in ("2028-10-23 10:00", "2028-11-23 10:00", "2028-12-23 10:00"):
        assert local(at) == c.end
        c.renew(at, "Studio", "44.00", 300)
        if at.startswith("2028-11"):
            c.note("2028-12-01 09:00")
            c.note("2028-12-05 09:00")
    # 366 of 744 hours are left, 61 parts of 124: of the price, and of the tax on it.
    left = part_left(c.begin, c.end, local("2029-01-08 04:00"))
    price = of(Decimal("44.00"), left).quantize(CENT, ROUND_DOWN)
    back = price + half_up(c.taxes * price / Decimal("44.00"))
    c.credits -= int(half_up(Decimal(300) * back / c.total, 0))
    c.give_back(back)
    c.open_until = None
    c.note("2029-01-08 04:00")
    c.credits = 0
    c.note("2029-02-17 10:00")
    return c.scenes
