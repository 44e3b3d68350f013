"""What changed a wallet: line by line, newest first, and as a statement of a range of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidRequest
from paydesk.flows import wallets
from paydesk.rules import figures
from paydesk.rules.figures import Range
from paydesk.rules.money import Money, currency_code

_HISTORY_MAX = 500
#: The most lines of one statement.
_STATEMENT_MAX = 10_000
_COLUMNS = (
    "id", "created_at", "type", "amount", "currency", "balance_after", "reference", "reason",
    "subject",
)
#: What a line's subject is, by its type; those left out are about nothing that has an id.
SUBJECTS = {
    "WALLET_DEPOSIT": "payment", "WALLET_PAYMENT": "payment", "WALLET_CLAWBACK": "payment",
    "WALLET_CLAWBACK_REVERSAL": "payment", "REFUND_PAID": "payment", "DEBT_REPAYMENT": "wallet",
    "WALLET_TRANSFER": "customer", "WALLET_CONVERSION": "conversion",
    "WALLET_WITHDRAWAL": "withdrawal", "WITHDRAWAL_RELEASE": "withdrawal", "HOLD": "hold",
    "HOLD_RELEASE": "hold", "ROUNDING": "conversion",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletLine:
    """A line of a wallet's history: `amount` is signed, `type` the reason of the transfer.

    `subject_id` is what it is about (`SUBJECTS`), `payment_id` the same where that is a payment.
    """

    id: UUID
    seq: int
    type: str
    amount: int
    balance_after: int
    currency: str
    reason: str | None
    reference: str | None
    subject_id: UUID | None
    payment_id: UUID | None
    txn_id: UUID
    reverses_id: UUID | None
    metadata: dict | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeSum:
    """The lines of one type: how many, and what they came to, in minor units, signed."""

    type: str
    count: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A wallet over a range of time, in minor units: `opening` + `came` - `went` = `closing`.

    `lines` are oldest first. `wallet_id` is None where there was no wallet yet.
    """

    wallet_id: UUID | None
    customer_id: UUID
    currency: str
    over: Range
    opening: int
    came: int
    went: int
    closing: int
    types: list[TypeSum]
    lines: list[WalletLine]

    def csv(self) -> str:
        """A header line, then the lines with exact decimals; safe to open in a spreadsheet."""
        return figures.csv_text(_COLUMNS, [_cells(line) for line in self.lines])


def history(
    tx: Tx, customer_id: UUID, currency: str, *, limit: int = 50, before_seq: int | None = None,
    kind: str | None = None,
) -> list[WalletLine]:  # fmt: skip
    """What changed a wallet's balance, newest first; the next page begins at `before_seq` = the
    last line's `seq`. `kind`: one type only."""
    most = max(1, min(limit, _HISTORY_MAX))
    return _lines(tx, customer_id, currency, most, before_seq=before_seq, kind=kind)


def statement(
    env: Env, customer_id: UUID, currency: str, *, start: str | date | datetime | None = None,
    end: str | date | datetime | None = None, last: str | None = None,
    time_zone: str | None = None,
) -> Statement:  # fmt: skip
    """A wallet's lines over a range (the last 30 days), with the balance before and after it.

    Days are the business's, or of `time_zone`. Raises InvalidRequest, also where it would have
    more than ten thousand lines: ask for less.
    """
    code = currency_code(currency)
    over = figures.range_of(start, end, last, env.now(), time_zone or env.settings.time_zone)
    with env.db.snapshot() as tx:
        wallet = wallets.of(tx, customer_id, code)
        opening = tx.value(
            "select coalesce(sum(case when credit = 2 then amount else -amount end), 0)::bigint"
            " from transfers where customer_id = %(customer_id)s and asset = %(currency)s"
            " and (debit = 2 or credit = 2) and effective_at < %(start)s",
            {"customer_id": customer_id, "currency": code, "start": over.start},
        )
        lines = _lines(
            tx, customer_id, code, _STATEMENT_MAX + 1, start=over.start, end=over.end
        )[::-1]
    if len(lines) > _STATEMENT_MAX:
        raise InvalidRequest(
            f"More than {_STATEMENT_MAX:,} lines: ask for a shorter time.", param="from"
        )
    came = sum(line.amount for line in lines if line.amount > 0)
    went = -sum(line.amount for line in lines if line.amount < 0)
    return Statement(
        wallet_id=wallet.id if wallet else None, customer_id=customer_id, currency=code, over=over,
        opening=opening, came=came, went=went, closing=opening + came - went,
        types=_types(lines), lines=lines,
    )  # fmt: skip


def _types(lines: list[WalletLine]) -> list[TypeSum]:
    sums: dict[str, list[int]] = {}
    for line in lines:
        sums.setdefault(line.type, []).append(line.amount)
    return [
        TypeSum(type=name, count=len(amounts), amount=sum(amounts))
        for name, amounts in sorted(sums.items())
    ]


def _cells(line: WalletLine) -> dict[str, Any]:
    about = SUBJECTS.get(line.type)
    return {
        "id": ids.show("transfer", line.id), "created_at": line.at, "type": line.type,
        "amount": Money(line.amount, line.currency, minor=True).decimal,
        "currency": line.currency,
        "balance_after": Money(line.balance_after, line.currency, minor=True).decimal,
        "reference": line.reference, "reason": line.reason,
        "subject": ids.show(about, line.subject_id) if about and line.subject_id else None,
    }  # fmt: skip


def _lines(
    tx: Tx, customer_id: UUID, currency: str, limit: int, *, before_seq: int | None = None,
    kind: str | None = None, start: datetime | None = None, end: datetime | None = None,
) -> list[WalletLine]:  # fmt: skip
    """Newest first; `start` is in it, `end` is not."""
    rows = tx.all(
        "select t.id, t.seq, t.reason as type, t.debit, t.amount, t.debit_after, t.credit_after,"
        " t.note, t.reference, t.subject_id, t.effective_at, t.txn_id, t.reverses_id, t.metadata"
        " from transfers t where t.customer_id = %(customer_id)s and t.asset = %(currency)s"
        " and (t.debit = 2 or t.credit = 2)"
        " and (%(before)s::bigint is null or t.seq < %(before)s::bigint)"
        " and (%(kind)s::text is null or t.reason = %(kind)s::text)"
        " and (%(start)s::timestamptz is null or t.effective_at >= %(start)s::timestamptz)"
        " and (%(end)s::timestamptz is null or t.effective_at < %(end)s::timestamptz)"
        " order by t.seq desc limit %(limit)s",
        {"customer_id": customer_id, "currency": currency, "before": before_seq, "kind": kind,
         "start": start, "end": end, "limit": limit},
    )  # fmt: skip
    return [_line(row, currency) for row in rows]


def _line(row: Mapping[str, Any], currency: str) -> WalletLine:
    is_out = row["debit"] == 2
    about = SUBJECTS.get(row["type"])
    return WalletLine(
        id=row["id"], seq=row["seq"], type=row["type"],
        amount=-row["amount"] if is_out else row["amount"],
        balance_after=row["debit_after"] if is_out else row["credit_after"], currency=currency,
        reason=row["note"], reference=row["reference"], subject_id=row["subject_id"],
        payment_id=row["subject_id"] if about == "payment" else None, txn_id=row["txn_id"],
        reverses_id=row["reverses_id"], metadata=row["metadata"], at=row["effective_at"],
    )  # fmt: skip
