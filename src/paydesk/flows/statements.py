"""Statements of banks and agents as lines: CSV, ISO 20022 camt.053 and SWIFT MT940, exact to the
cent."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from paydesk.errors import InvalidRequest
from paydesk.rules.money import currency_code, parse_minor

MOST_LINES = 20_000
MAX_AMOUNT = 2**63 - 1
#: What banks call the columns, in lower case without spaces and marks.
_COLUMNS = {
    "booked_at": ("date", "bookingdate", "bookedat", "valuedate", "datebooked", "transactiondate"),
    "amount": ("amount", "credit", "creditamount", "amountcredited", "value"),
    "currency": ("currency", "ccy"),
    "reference": ("reference", "description", "details", "remittance", "remittanceinformation",
                  "text", "purpose", "memo", "message"),
    "payer": ("payer", "name", "counterparty", "sender", "from", "debtor", "agent"),
    "ref": ("id", "transactionid", "ref", "number", "transactionnumber", "bankreference"),
}  # fmt: skip
#: Where a payer's words stand in camt.053.
_SAID = frozenset({"Ustrd", "Ref", "EndToEndId"})
#: A field of MT940, up to the next or the end of the message.
_FIELD = re.compile(r"^:(?P<tag>\d\d[A-Z]?):(?P<body>.*?)(?=^:\d\d[A-Z]?:|^-\}?|\Z)", re.M | re.S)
#: What an MT940 has, in this order.
_BEGINS, _OPENS = re.compile(r"^:20:", re.M), re.compile(r"^:60[FM]:", re.M)
#: Value date, perhaps the booking day, C or D (R before: taken back), amount, kind of movement.
_MOVE = re.compile(
    r"(?P<day>\d{6})(?:\d{4})?(?P<sign>RC|RD|C|D)[A-Z]?(?P<amount>\d{1,15},\d{0,3})[A-Z][A-Z0-9]{3}"
)
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Money that came, by one line of a statement. `ref` names it for ever: the bank's own id,
    else made of all that the line says and its place among equal ones."""

    ref: str
    booked_at: datetime
    amount_minor: int
    currency: str
    reference: str | None = None
    payer: str | None = None
    raw: dict[str, Any] = field(default_factory=dict)


def read(content: bytes, *, currency: str | None = None) -> list[Line]:
    """The lines of a statement on which money came in; those that went out are left out.

    `currency`: where the file names none. Raises InvalidRequest with the line that cannot be read.
    """
    start = content.lstrip()[:200].lower()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("A statement is UTF-8.", param="content") from None
    if "\x00" in text:
        raise InvalidRequest("A statement has no NUL.", param="content")
    if start.startswith(b"<"):
        found = _camt(text)
    else:
        found = _mt940(text) if _is_mt940(text) else _csv(text, currency)
    try:
        lines = list(_named(found))
    except csv.Error as exc:
        raise InvalidRequest(f"The statement is no CSV: {exc}.", param="content") from None
    if len(lines) > MOST_LINES:
        raise InvalidRequest(f"At most {MOST_LINES} lines at a time.", param="content")
    return lines


def _named(lines: Iterator[Line]) -> Iterator[Line]:
    """Lines without an id get one; equal ones are told apart by their place.

    Two lines of one id that say different things are refused: one of them would be lost.
    """
    seen: dict[str, int] = {}
    by_ref: dict[str, Line] = {}
    for one in lines:
        if one.amount_minor > MAX_AMOUNT:
            raise InvalidRequest("An amount is too large.", param="content")
        if one.ref:
            if by_ref.setdefault(one.ref, one) is one:
                yield one
            elif by_ref[one.ref] != one:
                raise InvalidRequest(
                    f"Two lines have the id {one.ref[:64]!r} and say different things:"
                    " leave the column of ids out.", param="content",
                )  # fmt: skip
            continue
        said = "\x1f".join(
            [one.booked_at.isoformat(), str(one.amount_minor), one.currency, one.reference or "",
             one.payer or ""]
        )  # fmt: skip
        seen[said] = seen.get(said, 0) + 1
        digest = hashlib.sha256(f"{said}\x1f{seen[said]}".encode()).hexdigest()[:32]
        yield Line(ref=f"line-{digest}", booked_at=one.booked_at, amount_minor=one.amount_minor,
                   currency=one.currency, reference=one.reference, payer=one.payer,
                   raw=one.raw)  # fmt: skip


# CSV ---------------------------------------------------------------------------------------------


def _csv(text: str, currency: str | None) -> Iterator[Line]:
    first = text.partition("\n")[0]
    separator = max(";\t,", key=first.count)
    rows = csv.DictReader(io.StringIO(text), delimiter=separator)
    columns = _columns(rows.fieldnames or [])
    for number, row in enumerate(rows, 2):
        values = {name: (row.get(column) or "").strip() for name, column in columns.items()}
        if not any(values.values()):
            continue
        try:
            code = currency_code(values.get("currency") or currency or "")
            minor = _amount(values["amount"], code)
            at = _instant(values["booked_at"])
        except InvalidRequest as exc:
            raise InvalidRequest(f"Line {number}: {exc.detail}", param="content") from None
        if minor <= 0:
            continue
        yield Line(
            ref=values.get("ref", "")[:255], booked_at=at, amount_minor=minor, currency=code,
            reference=values.get("reference", "")[:500] or None,
            payer=values.get("payer", "")[:255] or None,
            raw={k[:64]: (v or "")[:500] for k, v in row.items() if isinstance(k, str)},
        )  # fmt: skip


def _columns(names: list[str] | Any) -> dict[str, str]:
    plain = {re.sub(r"[^a-z]", "", str(n).lower()): n for n in names}
    found = {}
    for wanted, words in _COLUMNS.items():
        column = next((plain[w] for w in words if w in plain), None)
        if column is not None:
            found[wanted] = column
    missing = {"booked_at", "amount"} - found.keys()
    if missing:
        raise InvalidRequest(
            f"The first line names no column for {' and '.join(sorted(missing))}.",
            param="content",
        )
    return found


def _amount(text: str, currency: str) -> int:
    """A number with a point or a comma before its decimals, thousands set apart or not."""
    plain = text.replace("\u00a0", "").replace("\u202f", "").replace("'", "").replace(" ", "")
    comma, point = plain.rfind(","), plain.rfind(".")
    if comma > point:
        plain = plain.replace(".", "")
        # One comma with three digits after it may set thousands apart: nobody can tell.
        if plain.count(",") > 1 or len(plain) - plain.rfind(",") == 4:
            raise InvalidRequest(f"{text[:40]!r} can be read in two ways: write a point.")
        plain = plain.replace(",", ".")
    else:
        plain = plain.replace(",", "")
    if not _NUMBER.fullmatch(plain):
        raise InvalidRequest(f"{text[:40]!r} is no amount.")
    sign = -1 if plain.startswith("-") else 1
    return sign * parse_minor(plain.lstrip("+-"), currency)


def _instant(text: str) -> datetime:
    """An ISO date or time, or a day written with points or slashes, day before month."""
    for pattern in (None, "%d.%m.%Y", "%d/%m/%Y"):
        try:
            found = (
                datetime.fromisoformat(text)
                if pattern is None
                else datetime.strptime(text, pattern).replace(tzinfo=UTC)
            )
        except ValueError:
            continue
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        # Years that no bank writes, and that a time zone would carry beyond the calendar.
        if 1970 <= found.year <= 9000:
            return found.astimezone(UTC)
    raise InvalidRequest(f"{text[:40]!r} is no date: write 2026-01-31.")


# camt.053 ----------------------------------------------------------------------------------------


def _camt(text: str) -> Iterator[Line]:
    # Entities could make a small file endless; statements have none.
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise InvalidRequest("A statement has no DOCTYPE.", param="content")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as exc:
        raise InvalidRequest(f"The statement is no XML: {exc}.", param="content") from None
    for entry in root.iter():
        if _tag(entry) != "Ntry" or _text(entry, "CdtDbtInd") != "CRDT":
            continue
        amount = _child(entry, "Amt")
        if amount is None or _text(entry, "RvslInd") == "true" or not _is_booked(entry):
            continue
        code = currency_code((amount.get("Ccy") or "").lower())
        details = [d for d in entry.iter() if _tag(d) == "TxDtls"]
        if len(details) <= 1:
            yield from _entry(entry, details[0] if details else entry, amount.text or "", code)
            continue
        for place, one in enumerate(details, 1):
            part = next((a for a in one.iter() if _tag(a) in ("Amt", "TxAmt")), None)
            if part is None or not (part.text or "").strip():
                part = next((a for a in one.iter() if _tag(a) == "Amt" and a.text), None)
            if part is None:
                raise InvalidRequest("An entry of several payments names no amounts.",
                                     param="content")  # fmt: skip
            yield from _entry(
                entry, one, part.text or "", (part.get("Ccy") or code).lower(), place
            )


def _is_booked(entry: ET.Element) -> bool:
    """Announced and informational entries are no money; BOOK stands in the tag or in its Cd."""
    status = _child(entry, "Sts")
    if status is None:
        return True
    return "BOOK" in ((status.text or "").strip(), _text(status, "Cd"))


def _entry(
    entry: ET.Element, details: ET.Element, amount: str, code: str, place: int = 0
) -> Iterator[Line]:
    """A payment of an entry; `place`: which of several. Nothing where no money came."""
    booked = next((d for d in entry.iter() if _tag(d) == "BookgDt"), None)
    at = "" if booked is None else (_text(booked, "Dt") or _text(booked, "DtTm"))
    words = [e.text.strip() for e in details.iter()
             if e.text and e.text.strip() and _tag(e) in _SAID]  # fmt: skip
    debtor = next((d for d in details.iter() if _tag(d) == "Dbtr"), None)
    ref = _text(entry, "AcctSvcrRef")
    if place:
        own = _first(details, "AcctSvcrRef") or _first(details, "TxId")
        ref = own if own and own != ref else f"{ref}/{place}" if ref else ""
    else:
        ref = ref or _first(details, "AcctSvcrRef") or _first(details, "TxId") or ""
    if not at:
        raise InvalidRequest("An entry names no booking date.", param="content")
    minor = parse_minor(amount.strip(), code)
    if minor > 0:
        yield Line(
            ref=ref[:255], booked_at=_instant(at), amount_minor=minor,
            currency=currency_code(code), reference=" ".join(words)[:500] or None,
            payer=(_first(debtor, "Nm") if debtor is not None else None) or None,
        )  # fmt: skip


# MT940 -------------------------------------------------------------------------------------------


def _is_mt940(text: str) -> bool:
    begins = _BEGINS.search(text)
    return begins is not None and _OPENS.search(text, begins.end()) is not None


def _mt940(text: str) -> Iterator[Line]:
    """Each :61: is a line, the :86: after it what was said; :60: names the currency."""
    code, line, number, counted, place = "", "", 0, 1, 0
    said: list[str] = []
    for field_ in _FIELD.finditer(text):
        tag, body = field_["tag"], field_["body"].strip()
        if tag in ("61", "62F", "62M", "60F", "60M"):
            yield from _mt940_line(line, said, code, number)
            line, said = "", []
        if tag in ("60F", "60M"):
            code = currency_code(body[7:10].lower())
        elif tag == "61":
            counted, place = counted + text.count("\n", place, field_.start()), field_.start()
            line, number = body, counted
        elif tag == "86" and line:
            said = body.splitlines()
    yield from _mt940_line(line, said, code, number)


def _mt940_line(line: str, said: list[str], code: str, number: int) -> Iterator[Line]:
    """Nothing where no money came, or where what had come was taken back."""
    if not line:
        return
    match = _MOVE.match(line)
    if match is None or not code:
        raise InvalidRequest(f"Line {number}: this is no movement of MT940.", param="content")
    minor = parse_minor(match["amount"].replace(",", ".").rstrip("."), code)
    if match["sign"] != "C" or minor <= 0:
        return
    first, *more = line.splitlines()
    own, _, bank = first[match.end() :].partition("//")
    whole = "".join(said)
    # Many banks cut it into numbered parts: what was said, and who the payer is.
    parts = re.findall(r"\?(\d\d)([^?]*)", whole)
    words = "".join(text for part, text in parts if part[0] == "2" or "60" <= part <= "63")
    payer = "".join(text for part, text in parts if part in ("32", "33"))
    words = words if parts else whole
    told = " ".join(x for x in (own.strip(), *more, words.strip()) if x and x != "NONREF")
    bank = bank.strip()
    yield Line(
        ref="" if bank in ("", "NONREF") else bank[:255], booked_at=_short_day(match["day"]),
        amount_minor=minor, currency=code, reference=told[:500] or None,
        payer=payer.strip()[:255] or None,
    )  # fmt: skip


def _short_day(text: str) -> datetime:
    return _instant(f"20{text[:2]}-{text[2:4]}-{text[4:6]}")


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: ET.Element, name: str) -> ET.Element | None:
    return next((c for c in element if _tag(c) == name), None)


def _text(element: ET.Element, name: str) -> str:
    found = _child(element, name)
    return (found.text or "").strip() if found is not None else ""


def _first(element: ET.Element, name: str) -> str | None:
    found = next((e for e in element.iter() if _tag(e) == name and e.text), None)
    return found.text.strip()[:255] if found is not None and found.text else None
