"""Writes a customer's life down, as a person would want to read it: scene by scene, to the cent.

Each scene is an instant, what was done there, and all that followed from it: invoices with their
lines, entries of the books by account, credits, what is open until when, mails, and how
everything stands after it. What happened between two scenes has its own instant beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from paydesk.rules.ledger import CREDIT, NAMES
from paydesk.rules.money import format_minor
from paydesk.worker import Worker

#: Account names as they stand in the book, in this order.
STANDS = ("balance", "deposits", "revenue", "tax", "refunds")
WIDTH = 46


@dataclass
class Book:
    """`pay`, the desk, and `clock`, which its customer stands on; `zone` is the customer's."""

    pay: Any
    clock: Any
    customer: str
    zone: ZoneInfo
    currency: str = "cad"
    lines: list[str] = field(default_factory=list)
    _seen: dict[str, Any] = field(default_factory=dict)
    _seq: int = 0
    _event: int = 0

    def scene(self, local: str, what: str, act: Callable[[], Any] | None = None) -> Any:
        """Move to an instant ("2028-01-31 10:00", of the customer's clocks), act, write it down."""
        at = datetime.fromisoformat(local).replace(tzinfo=self.zone)
        self.clock.set(at.astimezone(UTC))
        done = act() if act is not None else None
        self.follow()
        self.lines += [f"{at:%Y-%m-%d %H:%M %Z}  {what}", *self._told(at), ""]
        return done

    def follow(self) -> None:
        """Draw numbers, and write the mails that events call for."""
        worker = Worker(self.pay.env)
        for sweep in ("invoice_numbers", "publisher", "outgoing_feed", "notifications"):
            worker.run_once(sweep)

    # What is told of a scene -----------------------------------------------------------------

    def _told(self, at: datetime) -> list[str]:
        found = [*self._subscription(), *self._invoices(at), *self._notes(at)]
        found += [*self._tries(at), *self._entries(at), *self._mails(at), *self._stands()]
        return [f"    {line}".rstrip() for line in found]

    def _rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        with self.pay.env.db.read() as tx:
            return tx.all(sql, {"c": self._who(), **values})

    def _who(self) -> Any:
        return self.pay.customers.get(self.customer).uuid

    def _subscription(self) -> list[str]:
        subs = self.pay.subscriptions.list(self.customer, limit=1)
        for one in subs:
            told = (f"{one.status}: {one.quantity} x {one.plan_name} at {one.price},"
                    f" {self._day(one.period_start)} to {self._day(one.period_end)}")  # fmt: skip
            more = []
            if one.next:
                more.append(f"then {one.next['quantity']} x {one.next['plan']}")
            if one.cancel_at:
                more.append(f"ends {self._day(one.cancel_at)}")
            if one.ended_at:
                more.append(f"ended {self._day(one.ended_at)}, {one.end_reason}")
            return [", ".join([told, *more])]
        return []

    def _invoices(self, at: datetime) -> list[str]:
        found = []
        for one in reversed(list(self.pay.invoices.list(customer=self.customer))):
            state = (one.status, one.paid, one.due, one.number)
            if self._seen.get(one.id) == state:
                continue
            is_known = one.id in self._seen
            self._seen[one.id] = state
            found.append(self._sum(f"{one.number} {one.status}", one.total))
            if not is_known:
                for item in one.items:
                    found.append(self._sum(f"    {item.description}", item.amount))
                if one.balance.minor > 0:
                    found.append(self._sum("    paid by the balance", one.balance))
                if one.balance.minor != 0:
                    found.append(self._sum("    due", one.due))
        return found

    def _notes(self, at: datetime) -> list[str]:
        found = []
        for one in reversed(list(self.pay.credit_notes.list(customer=self.customer))):
            if one.id not in self._seen:
                self._seen[one.id] = one
                found.append(self._sum(f"{one.number} of {self._number(one.invoice)}", one.amount))
                for name in ("tax", "refunded", "balance"):
                    found.append(self._sum(f"    {name}", getattr(one, name)))
        return found

    def _number(self, invoice: str) -> str:
        return str(self.pay.invoices.get(invoice).number)

    def _tries(self, at: datetime) -> list[str]:
        rows = self._rows(
            "select id, state, captured_minor, asked_minor as amount_minor,"
            " error_code, created_at from payments"
            " where customer_id = %(c)s order by created_at, id"
        )
        found = []
        for row in rows:
            key = (row["state"], row["captured_minor"])
            if self._seen.get(str(row["id"])) != key and row["state"] in ("succeeded", "failed"):
                self._seen[str(row["id"])] = key
                why = f", {row['error_code']}" if row["error_code"] else ""
                found.append(self._sum(f"charge {row['state']}{why}", row["amount_minor"]))
        return found

    def _entries(self, at: datetime) -> list[str]:
        rows = self._rows(
            "select seq, debit, credit, asset, amount, reason, effective_at from transfers"
            " where customer_id = %(c)s and seq > %(seq)s order by seq", seq=self._seq,
        )  # fmt: skip
        found = []
        for row in rows:
            self._seq = row["seq"]
            amount = (str(row["amount"]) if row["asset"] == CREDIT
                      else format_minor(row["amount"], row["asset"]))  # fmt: skip
            way = f"{NAMES[row['debit']]} -> {NAMES[row['credit']]}"
            when = "" if row["effective_at"] == at else f"  {self._instant(row['effective_at'])}"
            unit = " cr" if row["asset"] == CREDIT else ""
            told = f"{'entry' if not unit else 'credits':8}{way:28}{row['reason']}"
            found.append(f"{told:<{WIDTH + 14}}{amount + unit:>14}{when}")
        return found

    def _mails(self, at: datetime) -> list[str]:
        rows = self._rows(
            "select n.kind, n.seq, e.created_at from notifications n join events e"
            " on e.customer_id = n.customer_id and e.seq = n.seq"
            " where n.customer_id = %(c)s and n.seq > %(seq)s order by n.seq, n.kind",
            seq=self._event,
        )
        found = []
        for row in rows:
            self._event = row["seq"]
            when = "" if row["created_at"] == at else f"  {self._instant(row['created_at'])}"
            found.append(f"mail    {row['kind']}{when}")
        return found

    def _stands(self) -> list[str]:
        from paydesk.flows import ledger

        who = self._who()
        with self.pay.env.db.read() as tx:
            books = {name: ledger.balances(tx, [who], name, self.currency)[who]
                     for name in STANDS}  # fmt: skip
        told = [f"{name} {format_minor(books[name], self.currency)}" for name in STANDS]
        credits = int(self.pay.credits.balance(self.customer))
        return ["= " + ", ".join([*told, f"credits {credits}", self._open()])]

    def _open(self) -> str:
        found = self.pay.can(self.customer, "app")
        return f"open until {self._day(found.expires_at)}" if found else "nothing open"

    # Words -----------------------------------------------------------------------------------

    def _sum(self, told: str, amount: Any) -> str:
        minor = amount if isinstance(amount, int) else amount.minor
        return f"{told:<{WIDTH + 14}}{format_minor(minor, self.currency):>14}"

    def _day(self, at: datetime) -> str:
        return f"{at.astimezone(self.zone):%d %b %H:%M}"

    def _instant(self, at: datetime) -> str:
        return f"({at.astimezone(self.zone):%d %b %H:%M})"
