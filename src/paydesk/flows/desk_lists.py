"""Lists of everybody's subscriptions, invoices and wallets for the dashboard, and what ids name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidRequest, NotFound
from paydesk.rules import money
from paydesk.rules import subscriptions as rules

Row = dict[str, Any]

#: Tab -> states of subscriptions; none: every one.
SUBSCRIPTION_TABS: dict[str, tuple[str, ...]] = {
    "all": (), "active": ("active",), "trialing": ("trialing",),
    "late": ("past_due", "unpaid"), "paused": ("paused",), "waiting": ("incomplete",),
    "ended": ("canceled", "expired"),
}  # fmt: skip
INVOICE_TABS: dict[str, tuple[str, ...]] = {
    "all": (), "open": ("open",), "paid": ("paid",), "draft": ("draft",), "void": ("void",),
    "uncollectible": ("uncollectible",),
}
WALLET_STATES = ("open", "frozen", "closed")
#: Kind of id -> the screen of what it names.
_SCREENS = {
    "payment": "payments", "customer": "customers", "subscription": "subscriptions",
    "invoice": "invoices", "refund": "refunds", "dispute": "disputes", "wallet": "wallets",
    "plan": "plans",
}  # fmt: skip
#: So many are counted before it says "and more".
MOST_COUNTED = 99


@dataclass(frozen=True, slots=True)
class Person:
    """A customer as lists name one."""

    id: str
    external_id: str
    email: str | None
    name: str | None

    @property
    def shown(self) -> str:
        return self.email or self.name or self.external_id


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits for the people at the desk, each up to MOST_COUNTED."""

    webhooks: int
    refunds: int
    disputes: int
    reviews: int


def waiting(tx: Tx) -> Waiting:
    """Webhooks that are parked, refunds to decide, disputes to answer, payments to look at."""
    row = tx.one(
        "select (select count(*) from (select from provider_events where state = 'parked'"
        "  limit %(most)s) a) as webhooks,"
        " (select count(*) from (select from refunds where state = 'requested'"
        "  limit %(most)s) b) as refunds,"
        " (select count(*) from (select from disputes where state = 'needs_response'"
        "  limit %(most)s) c) as disputes,"
        " (select count(*) from (select from risk_assessments where decision = 'review'"
        "  and verdict is null limit %(most)s) d) as reviews",
        {"most": MOST_COUNTED},
    )
    assert row is not None
    return Waiting(**row)


def people(tx: Tx, customer_ids: Iterable[UUID]) -> dict[UUID, Person]:
    """Whom these ids name, in one statement."""
    rows = tx.all(
        "select c.customer_id, c.external_id, c.email, c.name"
        " from unnest(%(ids)s::uuid[]) as k(id) join customers c on c.customer_id = k.id",
        {"ids": list(set(customer_ids))},
    )
    return {
        row["customer_id"]: Person(
            ids.show("customer", row["customer_id"]), row["external_id"], row["email"], row["name"]
        )
        for row in rows
    }


# Pages of lists -----------------------------------------------------------------------------------


def subscriptions_page(
    env: Env, *, tab: str = "all", plan: str = "", q: str = "", before: str = "", limit: int = 25
) -> tuple[list[Row], str]:
    """Subscriptions, newest first, and the cursor of the next page ("" on the last).

    `plan` is a plan's key; `q` part of a customer's external id, e-mail or name.
    """
    with env.db.read() as tx:
        rows = tx.all(
            "select s.customer_id, s.id, s.state, s.quantity, s.price_minor, s.currency,"
            " s.period_end, s.trial_end, s.cancel_at, s.ended_at, s.created_at, p.key as plan_key,"
            " p.name as plan_name, v.interval_unit, v.interval_count, c.external_id, c.email,"
            " c.name from subscriptions s join plans p on p.id = s.plan_id"
            " join plan_versions v on v.plan_id = s.plan_id and v.version = s.plan_version"
            " join customers c on c.customer_id = s.customer_id"
            " where (%(states)s::text[] = '{}' or s.state = any(%(states)s))"
            " and (%(plan)s::text is null or p.key = %(plan)s)"
            " and (%(like)s::text is null or c.external_id ilike %(like)s"
            "   or c.email ilike %(like)s or c.name ilike %(like)s)"
            " and (%(cursor)s::uuid is null or (s.created_at, s.id) < (select created_at, id"
            "   from subscriptions where customer_id = %(owner)s and id = %(cursor)s))"
            " order by s.created_at desc, s.id desc limit %(limit)s",
            {"states": list(SUBSCRIPTION_TABS.get(tab, ())), "plan": plan or None,
             "like": like(q), **_cursor("subscription", before), "limit": limit + 1},
        )  # fmt: skip
    return _page("subscription", rows, limit)


def invoices_page(
    env: Env, *, tab: str = "all", q: str = "", before: str = "", limit: int = 25
) -> tuple[list[Row], str]:
    """Invoices, newest first, and the cursor of the next page.

    `q` is part of a number or of the customer's external id, e-mail or name, or a total.
    """
    with env.db.read() as tx:
        rows = tx.all(
            "select i.customer_id, i.id, i.number, i.state, i.reason, i.currency, i.total_minor,"
            " i.due_minor, i.paid_minor, i.due_at, i.try_at, i.attempts, i.error_code,"
            " i.created_at, c.external_id, c.email, c.name"
            " from invoices i join customers c on c.customer_id = i.customer_id"
            " where (%(states)s::text[] = '{}' or i.state = any(%(states)s))"
            " and (%(like)s::text is null or i.number ilike %(like)s"
            "   or c.external_id ilike %(like)s or c.email ilike %(like)s or c.name ilike %(like)s"
            "   or i.total_minor = %(minor)s)"
            " and (%(cursor)s::uuid is null or (i.created_at, i.id) < (select created_at, id"
            "   from invoices where customer_id = %(owner)s and id = %(cursor)s))"
            " order by i.created_at desc, i.id desc limit %(limit)s",
            {"states": list(INVOICE_TABS.get(tab, ())), "like": like(q),
             "minor": in_minor(q, env.settings.default_currency), **_cursor("invoice", before),
             "limit": limit + 1},
        )  # fmt: skip
    return _page("invoice", rows, limit)


def wallets_page(
    env: Env, *, state: str = "", currency: str = "", q: str = "", before: str = "",
    limit: int = 25,
) -> tuple[list[Row], str]:  # fmt: skip
    """Wallets with what is in them, newest first, and the cursor of the next page."""
    with env.db.read() as tx:
        rows = tx.all(
            "select w.customer_id, w.id, w.currency, w.state, w.created_at, c.external_id, c.email,"
            " c.name, coalesce(a.balance, 0) as balance, coalesce(a.held, 0) as held,"
            " coalesce(a.owed, 0) as owed from wallets w"
            " join customers c on c.customer_id = w.customer_id left join lateral ("
            "  select sum(x.balance) filter (where x.code = 2)::bigint as balance,"
            "   sum(x.balance) filter (where x.code = 3)::bigint as held,"
            "   -sum(x.balance) filter (where x.code = 4)::bigint as owed from accounts x"
            "   where x.customer_id = w.customer_id and x.code in (2, 3, 4)"
            "   and x.asset = w.currency) a on true"
            " where (%(state)s::text is null or w.state = %(state)s)"
            " and (%(currency)s::text is null or w.currency = %(currency)s)"
            " and (%(like)s::text is null or c.external_id ilike %(like)s"
            "   or c.email ilike %(like)s or c.name ilike %(like)s)"
            " and (%(cursor)s::uuid is null or (w.created_at, w.id) < (select created_at, id"
            "   from wallets where customer_id = %(owner)s and id = %(cursor)s))"
            " order by w.created_at desc, w.id desc limit %(limit)s",
            {"state": state or None, "currency": currency.lower() or None, "like": like(q),
             **_cursor("wallet", before), "limit": limit + 1},
        )  # fmt: skip
    return _page("wallet", rows, limit)


def subscribers(env: Env) -> dict[UUID, int]:
    """How many live subscriptions each plan has."""
    with env.db.read() as tx:
        rows = tx.all(
            "select plan_id, count(*) as n from subscriptions where state = any(%(live)s)"
            " group by plan_id limit 10000",
            {"live": sorted(rules.LIVE)},
        )
    return {row["plan_id"]: row["n"] for row in rows}


def subscribers_of(env: Env, plan_id: UUID) -> dict[int, int]:
    """How many live subscriptions each version of a plan has."""
    with env.db.read() as tx:
        rows = tx.all(
            "select plan_version, count(*) as n from subscriptions where plan_id = %(plan)s"
            " and state = any(%(live)s) group by plan_version limit 10000",
            {"plan": plan_id, "live": sorted(rules.LIVE)},
        )
    return {row["plan_version"]: row["n"] for row in rows}


def allotments(tx: Tx, customer_id: UUID, sub_id: UUID, limit: int = 12) -> list[Row]:
    """Credits that a subscription gave, newest first, with what is left of each batch."""
    return tx.all(
        "select id, kind, granted, remaining, granted_at,"
        " nullif(expires_at, 'infinity') as expires_at from batches"
        " where customer_id = %(customer_id)s and source_id = %(sub)s"
        " order by granted_at desc, id desc limit %(limit)s",
        {"customer_id": customer_id, "sub": sub_id, "limit": limit},
    )


def told(tx: Tx, customer_id: UUID, subjects: Iterable[UUID], limit: int = 60) -> list[Row]:
    """Events about any of these, newest first."""
    return tx.all(
        "select e.type, e.data, e.created_at from unnest(%(subjects)s::uuid[]) as k(id)"
        " cross join lateral (select type, data, created_at, seq from events"
        "  where customer_id = %(customer_id)s and subject_id = k.id"
        "  order by seq desc limit %(limit)s) e"
        " order by e.seq desc limit %(limit)s",
        {"customer_id": customer_id, "subjects": list(subjects), "limit": limit},
    )


def _page(kind: str, rows: list[Row], limit: int) -> tuple[list[Row], str]:
    rows, more = rows[:limit], len(rows) > limit
    for row in rows:
        row["ident"] = ids.show(kind, row["id"])
        row["customer"] = ids.show("customer", row["customer_id"])
    return rows, rows[-1]["ident"] if more else ""


def _cursor(kind: str, before: str) -> dict[str, UUID | None]:
    """Where the page before ended. A cursor of nothing starts at the top."""
    try:
        found = ids.parse(kind, before) if before else None
    except NotFound:
        found = None
    return {"cursor": found, "owner": ids.customer_of(found) if found else None}


def like(q: str) -> str | None:
    """A pattern that finds the text anywhere; None for no text."""
    text = q.strip().replace("\x00", "")[:100]
    for char in ("\\", "%", "_"):
        text = text.replace(char, "\\" + char)
    return f"%{text}%" if text else None


def in_minor(q: str, currency: str) -> int | None:
    """An amount that somebody searches for; None where it is none."""
    try:
        return money.parse_minor(q.strip().lstrip("$€£"), currency)
    except InvalidRequest:
        return None


# The search ---------------------------------------------------------------------------------------


def find(env: Env, text: str) -> str | None:
    """The screen of what an id, or an invoice's or credit note's number, names; or None."""
    for kind, screen in _SCREENS.items():
        if text.startswith(ids.PREFIXES[kind] + "_"):
            return f"/dashboard/{screen}/{text}"
    for kind in ("invoice_item", "credit_note"):
        if text.startswith(ids.PREFIXES[kind] + "_"):
            return _of_invoice(env, kind, text)
    series, _, number = text.upper().rpartition("-")
    if not series or not (number.isascii() and number.isdigit()) or len(number) > 18:
        return None
    with env.db.read() as tx:
        row = tx.one(
            "select customer_id, object_id from invoice_numbers"
            " where series = %(series)s and number = %(number)s",
            {"series": series, "number": int(number)},
        )
        if row is None:
            return None
        behind = tx.value(
            "select invoice_id from credit_notes where customer_id = %(customer)s"
            " and id = %(object)s",
            {"customer": row["customer_id"], "object": row["object_id"]},
        )
    return f"/dashboard/invoices/{ids.show('invoice', behind or row['object_id'])}"


def _of_invoice(env: Env, kind: str, text: str) -> str | None:
    """The invoice of one of its lines, or of a credit note."""
    try:
        found = ids.parse(kind, text)
    except NotFound:
        return None
    key = {"customer": ids.customer_of(found), "id": found}
    with env.db.read() as tx:
        invoice = tx.value(
            "select invoice_id from invoice_items where customer_id = %(customer)s and id = %(id)s"
            " union all select invoice_id from credit_notes where customer_id = %(customer)s"
            " and id = %(id)s limit 1",
            key,
        )
    return f"/dashboard/invoices/{ids.show('invoice', invoice)}" if invoice else None
