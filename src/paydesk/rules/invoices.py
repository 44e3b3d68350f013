"""Invoices as arithmetic: discount lines, tax lines and sums that are exact to the minor unit.

Amounts are whole minor units of one currency. A discount and a tax are rounded half up once, and
what each line bears of them is the difference of the rounded running sums: so the parts always add
up to the whole, and what rounding leaves over falls to the line that carries the sum over the half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from typing import Any
from uuid import UUID

from paydesk.errors import Conflict, InvalidRequest
from paydesk.rules.money import divide_half_up, exponent

#: Lines that a discount takes from; prorated lines come with theirs.
DISCOUNTED = frozenset({"recurring", "one_off"})
#: Lines that are made here, not asked for.
MADE = frozenset({"discount", "tax"})
KINDS = frozenset(
    {"recurring", "proration_credit", "proration_charge", "one_off", "adjustment"} | MADE
)
MILLION = 1_000_000
#: The most lines of one invoice.
MAX_ITEMS = 500

#: state -> event -> state. What is paid or void stays so; credit notes give of it.
TRANSITIONS: dict[str, dict[str, str]] = {
    "draft": {"finalize": "open", "settle": "paid"},
    "open": {"pay": "paid", "void": "void", "give_up": "uncollectible"},
    "uncollectible": {"pay": "paid", "void": "void"},
    "paid": {},
    "void": {},
}
#: States in which money may still come.
PAYABLE = frozenset({"open", "uncollectible"})


class InvoiceStateConflict(Conflict):
    """The invoice's state allows no such step."""

    code = "invoice_state"
    title = "The invoice's state does not allow this"


def move(state: str, event: str) -> str:
    """The state after an event. Raises InvoiceStateConflict."""
    after = TRANSITIONS[state].get(event)
    if after is None:
        word = {"give_up": "written off", "pay": "paid"}.get(event, f"{event}ed")
        raise InvoiceStateConflict(f"An invoice that is {state} cannot be {word}.")
    return after


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """A line to write. `of`: the line that it takes back, discounts or taxes, as the index in the
    same list or the id of one that is written. `why`: inputs and rule, for whoever asks."""

    kind: str
    description: str
    amount_minor: int
    quantity: int = 1
    unit_minor: int | None = None
    period: tuple[datetime, datetime] | None = None
    plan: tuple[UUID, int] | None = None
    of: int | UUID | None = None
    product: str = ""
    why: Mapping[str, Any] = field(default_factory=dict)
    tax_rate_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """What is taken off: a share in millionths, or minor units, never more than the lines have."""

    description: str
    percent_micros: int | None = None
    minor: int | None = None
    why: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxRate:
    """A rate in millionths. `inclusive`: the price has the tax in it."""

    id: UUID
    name: str
    micros: int
    inclusive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """All lines and what they come to: total = subtotal - discount + the tax that is not in the
    price, which is the sum of the lines' amounts. `tax` has what prices include, too."""

    items: tuple[NewItem, ...]
    subtotal: int
    discount: int
    tax: int
    total: int


def compute(
    items: Sequence[NewItem], discount: Discount | None,
    rates: Mapping[Any, Sequence[TaxRate]], *, currency: str, rounding: str = "line",
) -> Sums:  # fmt: skip
    """Lines with their discount and taxes, and their sums. `rates`: by the lines' product.

    Raises InvalidRequest for kinds that are made here, too many lines, or an unknown currency.
    """
    check(items, currency)
    return summed(taxed(discounted(items, discount), rates, rounding=rounding))


def check(items: Sequence[NewItem], currency: str) -> None:
    """Raises InvalidRequest for lines that cannot be written."""
    exponent(currency)
    if len(items) > MAX_ITEMS:
        raise InvalidRequest(f"An invoice has at most {MAX_ITEMS} lines.", param="items")
    for index, one in enumerate(items):
        if one.kind not in KINDS - MADE and not _is_carried(items, index):
            raise InvalidRequest(f"{one.kind!r} is no kind of line to ask for.", param="items")
        if one.kind == "proration_credit" and one.amount_minor > 0:
            raise InvalidRequest("A credit takes from the total.", param="items")
        if one.quantity <= 0:
            raise InvalidRequest("A line's quantity is above zero.", param="items")


def _is_carried(items: Sequence[NewItem], index: int) -> bool:
    """Whether it is the discount that comes with a subscription's charge of the same list."""
    one = items[index]
    if one.kind != "discount" or not isinstance(one.of, int) or not 0 <= one.of < index:
        return False
    charge = items[one.of]
    return charge.kind in ("recurring", "proration_charge") and (
        0 <= -one.amount_minor <= charge.amount_minor
    )


def discounted(items: Sequence[NewItem], discount: Discount | None) -> list[NewItem]:
    """The lines and, for each that the discount takes from, a line that takes it off.

    A percentage is taken of the lines' sum and rounded half up once; a fixed amount stops at that
    sum. Each line bears its share of it.
    """
    found = list(items)
    if discount is None:
        return found
    weights = [(i, one.amount_minor) for i, one in enumerate(items)
               if one.kind in DISCOUNTED and one.amount_minor > 0]  # fmt: skip
    base = sum(w for _, w in weights)
    if discount.percent_micros is not None:
        off = divide_half_up(base * discount.percent_micros, MILLION)
    else:
        off = discount.minor or 0
    off = min(off, base)
    if off <= 0:
        return found
    parts = running([Fraction(off * w, base) for _, w in weights])
    for (i, weight), part in zip(weights, parts, strict=True):
        if part:
            why = {**discount.why, **_told(discount), "of_minor": weight, "discount_minor": off,
                   "base_minor": base}  # fmt: skip
            found.append(
                NewItem(kind="discount", description=discount.description, amount_minor=-part,
                        of=i, product=items[i].product, period=items[i].period, why=why)
            )  # fmt: skip
    return found


def _told(discount: Discount) -> dict[str, Any]:
    """By which rule a discount was taken, and how much it is."""
    if discount.percent_micros is not None:
        told = {"percent_micros": discount.percent_micros}
    else:
        told = {"minor": discount.minor or 0}
    return {"rule": "discount", "rounding": "half_up", **told}


def taxed(
    items: Sequence[NewItem], rates: Mapping[Any, Sequence[TaxRate]], *,
    rounding: str = "line", keys: Sequence[UUID] | None = None,
) -> list[NewItem]:  # fmt: skip
    """The lines and one tax line for each rate that holds for any of them.

    A line is taxed as it is after its discounts; `keys` are the ids of lines that are written
    already, by which those discounts name theirs. A tax that prices include is taken out of the
    line's amount first; its own line then is 0 and says the sum in `why`. `rounding`: "line"
    rounds each line's tax half up, "rate" the sum of a rate's taxes once. `why` has of each line
    that it taxes, in `lines`, (index, tax), and in `of` (index, amount after discounts, millionths
    of all rates that this amount includes): its tax is amount x rate / (1000000 + those).
    """
    nets = _nets(items, keys)
    exact: dict[UUID, list[tuple[int, Fraction]]] = {}
    within: dict[int, int] = {}
    known: dict[UUID, TaxRate] = {}
    for i, net in nets.items():
        held = _held(items[i], rates)
        inside = within[i] = sum(rate.micros for rate in held if rate.inclusive)
        for rate in held:
            known[rate.id] = rate
            # Of the net price, which is the line's without the taxes that it includes.
            tax = Fraction(net * rate.micros, MILLION + inside)
            exact.setdefault(rate.id, []).append((i, tax))
    found = list(items)
    for rate_id, parts in exact.items():
        rate = known[rate_id]
        if rounding == "line":
            taxes = [half_up(tax) for _, tax in parts]
        else:
            taxes = running([tax for _, tax in parts])
        total = sum(taxes)
        why = {
            "rule": "net x rate", "rate_micros": rate.micros, "inclusive": rate.inclusive,
            "rounding": rounding, "tax_minor": total,
            "base_minor": sum(nets[i] for i, _ in parts),
            "lines": [[i, tax] for (i, _), tax in zip(parts, taxes, strict=True)],
            "of": [[i, nets[i], within[i]] for i, _ in parts],
        }  # fmt: skip
        found.append(
            NewItem(kind="tax", description=rate.name, tax_rate_id=rate.id, why=why,
                    amount_minor=0 if rate.inclusive else total)
        )  # fmt: skip
    return found


def _held(one: NewItem, rates: Mapping[Any, Sequence[TaxRate]]) -> Sequence[TaxRate]:
    """The rates that hold for a line."""
    if one.kind == "proration_credit" and one.of in rates:
        return rates[one.of]
    return rates.get(one.product, ())


def _nets(items: Sequence[NewItem], keys: Sequence[UUID] | None) -> dict[int, int]:
    """What each line comes to with its discounts, by index; lines that are made have none."""
    index = {key: i for i, key in enumerate(keys or ())}
    nets = {i: one.amount_minor for i, one in enumerate(items) if one.kind not in MADE}
    for one in items:
        if one.kind == "discount":
            of = one.of if isinstance(one.of, int) else index.get(one.of) if one.of else None
            assert of is not None and of in nets, "a discount names its line"
            nets[of] += one.amount_minor
    return nets


def summed(items: Sequence[NewItem]) -> Sums:
    """What lines come to. Their amounts add up to the total, in whatever currency."""
    discount = -sum(one.amount_minor for one in items if one.kind == "discount")
    return Sums(
        items=tuple(items),
        subtotal=sum(one.amount_minor for one in items if one.kind not in MADE),
        discount=discount,
        tax=sum(one.why["tax_minor"] for one in items if one.kind == "tax"),
        total=sum(one.amount_minor for one in items),
    )


def half_up(value: Fraction) -> int:
    """To the nearest whole, halves away from zero."""
    return divide_half_up(value.numerator, value.denominator)


def running(parts: Sequence[Fraction]) -> list[int]:
    """Whole parts that add up to the rounded sum: differences of the rounded running sums."""
    found, before, total = [], 0, Fraction(0)
    for part in parts:
        total += part
        after = half_up(total)
        found.append(after - before)
        before = after
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How an amount falls to revenue and to tax."""

    revenue: int
    tax: int


def tax_of(amount: int, *, tax: int, total: int) -> int:
    """The tax in a part of a total, half up; in the whole it is the whole tax."""
    if not total:
        return 0
    return half_up(Fraction(tax * amount, total))


def paid_parts(*, total: int, tax: int, due: int, came: int) -> tuple[Split, Split]:
    """(what a payment of `came` brings, what the customer's balance brought) of an invoice.

    `due` is what the balance left over. Where less than it came, less is revenue and tax.
    """
    tax_due = tax_of(due, tax=tax, total=total)
    tax_came = tax_of(came, tax=tax, total=total)
    balance, tax_balance = total - due, tax - tax_due
    return (
        Split(revenue=came - tax_came, tax=tax_came),
        Split(revenue=balance - tax_balance, tax=tax_balance),
    )


def credit_tax(*, amount: int, credited: int, tax: int, total: int) -> int:
    """The tax in a credit note of `amount` after others of `credited`: cumulative, so that notes
    over the whole total have the whole tax."""
    return tax_of(credited + amount, tax=tax, total=total) - tax_of(credited, tax=tax, total=total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A credit note's amount in its three parts."""

    refund: int = 0
    balance: int = 0
    written_off: int = 0

    @property
    def amount(self) -> int:
        return self.refund + self.balance + self.written_off


def note(
    amount: int, *, refund: int | None, balance: int | None, left: int, due: int,
    refundable: int, is_paid: bool,
) -> Note:  # fmt: skip
    """How a credit note of `amount`, at most `left`, is given. Of an open invoice: it asks for
    less than `due`, then the balance gets back what it paid. Of a paid one: to the payer
    (`refund`, as far as `refundable`) and to the balance; where neither is said, the payer comes
    first. Raises InvalidRequest where it does not fit."""
    if amount <= 0:
        raise InvalidRequest("amount must be above zero.", param="amount")
    if amount > left:
        raise InvalidRequest(f"Only {left} of this invoice is not given back yet.", param="amount")
    if not is_paid:
        if refund or balance:
            raise InvalidRequest("Nothing was paid that could be given back.", param="refund")
        off = min(amount, due)
        return Note(written_off=off, balance=amount - off)
    if refund is None:
        refund = min(refundable, amount) if balance is None else amount - balance
    if balance is None:
        balance = amount - refund
    if refund < 0 or balance < 0 or refund + balance != amount:
        raise InvalidRequest("refund and balance make up the amount.", param="refund")
    if refund > refundable:
        raise InvalidRequest(f"Only {refundable} can be refunded.", param="refund")
    return Note(refund=refund, balance=balance)


def shifted(items: Sequence[NewItem], by: int) -> list[NewItem]:
    """Lines whose indexes count from `by` on."""
    return [replace(one, of=one.of + by) if isinstance(one.of, int) else one for one in items]
