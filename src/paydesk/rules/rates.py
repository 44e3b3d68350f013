"""Exchange rates: which stored rate serves a pair, exact conversion, files of reference rates.

A rate says how many units of `quote` one unit of `base` is worth, read in both directions. Money
is converted by the way that brings the least, and rounded down, so going around never gains.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

from paydesk.errors import InvalidRequest
from paydesk.rules.margins import margin_of
from paydesk.rules.money import EXPONENTS, MAX_MINOR, exponent

#: Digits after the point that a stored rate has.
DIGITS = 12
#: The smallest and the largest rate. Nothing that is traded comes near.
LEAST_RATE, MOST_RATE = Decimal("0.000000001"), Decimal(10**9)
#: The largest derived rate: so many digits are stored.
MOST_DERIVED = Decimal(10**18) - 1
#: Derived rates carry this word in `source`, before the currency they go through.
CROSS = "cross"
#: Currencies that a cross rate goes through, best first; then any other, by its code.
VIA = ("eur", "usd")
#: The largest file of rates: all days since 1999 fit in many times over.
MAX_FILE_BYTES = 32_000_000

_RATE = re.compile(r"[0-9]{1,18}(\.[0-9]{1,12})?")
_MONTHS = (
    "january february march april may june july august september october november december"
).split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A stored rate: one unit of `base` is worth `rate` units of `quote` since `at`."""

    id: UUID
    base: str
    quote: str
    rate: Decimal
    source: str
    at: datetime
    entered_by: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """`to_minor` arrives. Of the money that was given, `margin_minor` was kept, and
    `rounding_minor` was not needed for what arrives."""

    to_minor: int
    rounding_minor: int
    margin_minor: int = 0


def parse_rate(value: Any, param: str = "rate") -> Decimal:
    """A rate above zero from a decimal text, a whole number or a Decimal, never from a float."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise InvalidRequest("A rate is a decimal text such as '130.95'.", param=param)
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if not _RATE.fullmatch(text):
        raise InvalidRequest(
            f"{text[:40]!r} is no rate: a decimal with at most {DIGITS} digits after the point.",
            param=param,
        )
    found = Decimal(text)
    if not LEAST_RATE <= found <= MOST_RATE:
        raise InvalidRequest(
            f"A rate is above zero, from {LEAST_RATE:f} to {MOST_RATE:f}.", param=param
        )
    return found


def choose(rows: Iterable[Rate], one: str, other: str) -> list[Rate]:
    """The stored rates that serve a pair: the newest of the pair itself, in either direction; else
    two, of `one` and of `other` with a third currency; else more, along the tree of all that hang
    together. Empty where there are none."""
    newest = _newest(rows)
    if direct := newest.get(frozenset((one, other))):
        return [direct]
    third = {c for key in newest if one in key for c in key} - {one, other}
    for via in sorted(third, key=_preference):
        far = newest.get(frozenset((via, other)))
        if far is not None:
            return [newest[frozenset((via, one))], far]
    return _along_tree(newest, one, other)


def least(rows: Iterable[Rate], source: str, target: str) -> list[Rate]:
    """The way by which money is converted: the pair's own newest rate, or that along the tree of
    all currencies, whichever brings less; empty where there is neither.

    Rates of different sources never agree exactly. In the tree each currency has one worth, and
    nobody gets more than by it: whoever goes around, however far, has no more than before.
    """
    newest = _newest(rows)
    direct = newest.get(frozenset((source, target)))
    ways = [[direct]] if direct else []
    if along := _along_tree(newest, source, target):
        ways.append(along)
    return min(ways, key=lambda way: _brings(way, source), default=[])


def derive(way: Sequence[Rate], one: str, other: str) -> tuple[str, str, Decimal]:
    """(base, quote, rate) of a pair along several rates, from `one` to `other`.

    The pair is turned so that the rate is one or more, which keeps the most digits, and is
    rounded once, half up. Whichever of the two is asked for first, the answer is the same.
    """
    worth = _brings(way, one)
    if worth < 1 or (worth == 1 and other < one):
        one, other, worth = other, one, Fraction(worth.denominator, worth.numerator)
    return one, other, _quotient(worth.numerator, worth.denominator)


def _newest(rows: Iterable[Rate]) -> dict[frozenset[str], Rate]:
    """The newest rate of each pair that was not derived."""
    newest: dict[frozenset[str], Rate] = {}
    for row in rows:
        if row.source.startswith(CROSS):
            continue
        key = frozenset((row.base, row.quote))
        if key not in newest or _age(row) > _age(newest[key]):
            newest[key] = row
    return newest


def _along_tree(newest: Mapping[frozenset[str], Rate], one: str, other: str) -> list[Rate]:
    """The rates between two currencies in the one tree of everything that hangs together."""
    near: dict[str, set[str]] = {}
    for first, second in map(tuple, newest):
        near.setdefault(first, set()).add(second)
        near.setdefault(second, set()).add(first)
    lines = _branches(near, one, other)
    if lines is None:
        return []
    up, down = lines
    while len(up) > 1 and len(down) > 1 and up[-2] == down[-2]:  # The stem that both share.
        up.pop()
        down.pop()
    steps = [*up, *down[-2::-1]]
    return [newest[frozenset(pair)] for pair in pairwise(steps)]


def _branches(
    near: Mapping[str, set[str]], one: str, other: str
) -> tuple[list[str], list[str]] | None:
    """From each of two currencies down to the root of their tree, None where they have none."""
    parent: dict[str, str | None] = {}
    for root in sorted(near, key=_preference):
        if root in parent:
            continue
        parent[root] = None
        queue = deque([root])
        while queue:
            here = queue.popleft()
            for there in sorted(near[here] - parent.keys(), key=_preference):
                parent[there] = here
                queue.append(there)

    def line(currency: str) -> list[str]:
        found = [currency]
        while (below := parent[found[-1]]) is not None:
            found.append(below)
        return found

    if one not in parent or other not in parent:
        return None
    up, down = line(one), line(other)
    return (up, down) if up[-1] == down[-1] else None


def _brings(way: Sequence[Rate], one: str) -> Fraction:
    """What one unit of a currency becomes along a way."""
    worth, here = Fraction(1), one
    for rate in way:
        worth *= Fraction(*_ratio(rate, here))
        here = rate.quote if here == rate.base else rate.base
    return worth


def convert(minor: int, source: str, target: str, rate: Rate, margin_bps: int = 0) -> Converted:
    """What `minor` units of `source` become in `target`, rounded down, at a rate of that pair.

    The margin is taken first, of what is given.
    """
    numerator, denominator = _scale(source, target, rate)
    margin = margin_of(minor, margin_bps)
    to_minor = (minor - margin) * numerator // denominator
    if to_minor > MAX_MINOR:
        raise InvalidRequest("The amount would become too large.", param="amount")
    needed = -(-to_minor * denominator // numerator)
    return Converted(to_minor, minor - margin - needed, margin)


def worth(minor: int, source: str, target: str, rate: Rate) -> int:
    """What an amount is worth in another currency, rounded half up: for figures, not for money."""
    numerator, denominator = _scale(source, target, rate)
    return (2 * minor * numerator + denominator) // (2 * denominator)


def _scale(source: str, target: str, rate: Rate) -> tuple[int, int]:
    """Minor units of `target` for one of `source`, as an exact fraction."""
    assert {source, target} == {rate.base, rate.quote}, "a rate of another pair"
    numerator, denominator = rate.rate.as_integer_ratio()
    if source != rate.base:
        numerator, denominator = denominator, numerator
    return numerator * 10 ** exponent(target), denominator * 10 ** exponent(source)


def _ratio(rate: Rate, currency: str) -> tuple[int, int]:
    """What one unit of `currency` is worth in the rate's other one."""
    numerator, denominator = rate.rate.as_integer_ratio()
    return (numerator, denominator) if rate.base == currency else (denominator, numerator)


def _quotient(numerator: int, denominator: int) -> Decimal:
    scaled = (2 * numerator * 10**DIGITS + denominator) // (2 * denominator)
    return Decimal(scaled).scaleb(-DIGITS)


def _age(row: Rate) -> tuple[Any, ...]:
    return row.at, row.created_at or row.at, row.id


def _preference(currency: str) -> tuple[int, str]:
    return (VIA.index(currency) if currency in VIA else len(VIA)), currency


# Files ------------------------------------------------------------------------------------------


def parse_ecb(data: bytes) -> Iterator[tuple[date, str, Decimal]]:
    """(day, currency, what one euro is worth in it) from a file of euro reference rates, as the
    European Central Bank publishes them: XML or CSV, one day or the whole history.

    Currencies that we do not know are left out. Raises InvalidRequest for anything else.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InvalidRequest(f"A file of rates has at most {MAX_FILE_BYTES} bytes.", param="file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("A file of rates is text in UTF-8.", param="file") from None
    return _from_xml(text) if text.lstrip().startswith("<") else _from_csv(text)


def _from_xml(text: str) -> Iterator[tuple[date, str, Decimal]]:
    if "<!" in text.replace("<!--", ""):
        raise InvalidRequest("The file declares a document type; rates need none.", param="file")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as exc:
        raise InvalidRequest(f"The file is no XML: {exc}", param="file") from None
    seen = False
    for day in root.iter():
        if "time" not in day.attrib:
            continue
        at = _day(day.attrib["time"])
        for one in day:
            if "currency" in one.attrib and "rate" in one.attrib:
                seen = True
                yield from _known(at, one.attrib["currency"], one.attrib["rate"])
    if not seen:
        raise InvalidRequest("The file names no rates.", param="file")


def _from_csv(text: str) -> Iterator[tuple[date, str, Decimal]]:
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    try:
        head = [cell.strip() for cell in next(rows, [])]
        if not head or head[0].lower() != "date" or len(head) < 2:
            raise InvalidRequest("The first line must be Date and currencies.", param="file")
        for row in rows:
            if not row or not row[0].strip():
                continue
            at = _day(row[0].strip())
            for currency, rate in zip(head[1:], row[1:], strict=False):
                if currency and rate.strip() not in ("", "N/A"):
                    yield from _known(at, currency, rate.strip())
    except csv.Error as exc:
        raise InvalidRequest(f"The file is no CSV: {exc}", param="file") from None


def _known(at: date, currency: str, rate: str) -> Sequence[tuple[date, str, Decimal]]:
    code = currency.strip().lower()
    return [(at, code, parse_rate(rate))] if code in EXPONENTS and code != "eur" else []


def _day(text: str) -> date:
    """`2026-01-14`, or `14 January 2026` as the file of a single day has it."""
    try:
        words = text.split()
        if len(words) == 3:
            return date(int(words[2]), _MONTHS.index(words[1].lower()) + 1, int(words[0]))
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"{text[:40]!r} is no day.", param="file") from None


def plain(rate: Decimal) -> str:
    """A rate as people write it, without zeros at its end."""
    try:
        text = format(rate.quantize(Decimal(1).scaleb(-DIGITS), ROUND_HALF_UP), "f")
    except InvalidOperation:
        text = format(rate, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
