"""Invoices as they are read: one with its lines, lists, and whom they are from and to."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.db.together import in_sets
from paydesk.env import Env
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import invoice_books
from paydesk.flows.invoice_books import COLUMNS, InvoiceRow
from paydesk.rules.invoices import PAYABLE, TRANSITIONS, NewItem
from paydesk.rules.money import Money
from paydesk.settings import Settings

STATES = tuple(TRANSITIONS)
#: What a customer's metadata may say of whom an invoice is to.
BUYER = ("country", "address", "tax_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemView:
    """A line of an invoice. `amount` is what it adds to the total; `of_item` the line that it takes
    back, discounts or taxes; `why` its inputs and rule."""

    id: UUID
    position: int
    kind: str
    description: str
    amount: Money
    quantity: int
    unit: Money | None
    period_start: datetime | None
    period_end: datetime | None
    plan_id: UUID | None
    plan_version: int | None
    of_item: UUID | None
    tax_rate_id: UUID | None
    product: str
    why: dict[str, Any]

    @property
    def tax(self) -> Money | None:
        """Of a tax line: the tax, also where prices include it."""
        told = self.why.get("tax_minor") if self.kind == "tax" else None
        return None if told is None else Money(told, self.amount.currency, minor=True)

    def as_new(self) -> NewItem:
        """The line as it was asked for; `of` is the other line's id."""
        span = (self.period_start, self.period_end)
        return NewItem(
            kind=self.kind, description=self.description, amount_minor=self.amount.minor,
            quantity=self.quantity, unit_minor=self.unit.minor if self.unit else None,
            period=(span[0], span[1]) if span[0] and span[1] else None,
            plan=(self.plan_id, self.plan_version or 0) if self.plan_id else None,
            of=self.of_item, product=self.product, why=self.why, tax_rate_id=self.tax_rate_id,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceView:
    """An invoice with its lines. `status` is draft, open, paid, void or uncollectible.

    total = subtotal - discount + the tax that prices do not include; `due` = total - `balance`,
    which the customer's balance paid; `remaining` is what is still asked for. `page_url` is the
    hosted page, `pdf_url` the document. `payment_id`: of an open one the payment under way, or
    tried last; of a paid one the payment that brought the (last) money, None where the balance,
    credit notes or the provider settled it. `payments` are those that brought money, oldest first.
    """

    id: UUID
    customer_id: UUID
    subscription_id: UUID | None
    number: str | None
    status: str
    reason: str
    cycle: int | None
    runner: str
    subtotal: Money
    discount: Money
    tax: Money
    total: Money
    balance: Money
    due: Money
    paid: Money
    credited: Money
    period_start: datetime | None
    period_end: datetime | None
    items: list[ItemView]
    payment_id: UUID | None
    payments: tuple[UUID, ...]
    attempts: int
    next_attempt_at: datetime | None
    error_code: str | None
    due_at: datetime | None
    finalized_at: datetime | None
    paid_at: datetime | None
    voided_at: datetime | None
    uncollectible_at: datetime | None
    seller: dict[str, Any]
    buyer: dict[str, Any]
    memo: str | None
    secret: str
    page_url: str | None
    pdf_url: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @property
    def currency(self) -> str:
        return self.total.currency

    @property
    def remaining(self) -> Money:
        asked = self.due.minor if self.status in PAYABLE else 0
        return Money(asked, self.currency, minor=True)

    @property
    def settled(self) -> Money:
        """What payments and the customer's balance paid: `amount_paid` of `learning.invoices`."""
        return self.paid + Money(max(0, self.balance.minor), self.currency, minor=True)

    @property
    def is_paid(self) -> bool:
        return self.status == "paid"

    def __repr__(self) -> str:
        name = self.number or ids.show("invoice", self.id)
        return f"<Invoice {name} {self.status} {self.total}>"


# Who sells to whom -------------------------------------------------------------------------------


def customer(tx: Tx, customer_id: UUID) -> dict[str, Any]:
    """external_id, email, name and metadata of whoever pays."""
    row = tx.one(
        "select external_id, email, name, metadata from customers"
        " where customer_id = %(customer_id)s",
        {"customer_id": customer_id},
    )
    assert row is not None, "a customer whose head is there is there"
    return row


def buyer(tx: Tx, customer_id: UUID, told: Mapping[str, Any]) -> dict[str, Any]:
    """Whom an invoice is to: what was told, else what is known of the customer; the country is
    also that of the default payment method."""
    who = customer(tx, customer_id)
    known = {"name": who["name"], "email": who["email"], "external_id": who["external_id"]}
    known |= {name: who["metadata"].get(name) for name in BUYER}
    found = {name: value for name, value in {**known, **told}.items() if value}
    if "country" not in found:
        country = tx.value(
            "select country from payment_methods where customer_id = %(customer_id)s"
            " and is_default and detached_at is null",
            {"customer_id": customer_id},
        )
        found |= {"country": country} if country else {}
    if "country" in found:
        found["country"] = str(found["country"]).upper()[:2]
    return found


def seller(settings: Settings) -> dict[str, Any]:
    """Whom an invoice is from, as of the day it is finalized."""
    told = {
        "name": settings.business_name, "address": settings.business_address,
        "email": settings.business_email, "tax_id": settings.business_tax_id,
    }  # fmt: skip
    return {name: value for name, value in told.items() if value}


# Reading ---------------------------------------------------------------------------------------


def items_of(tx: Tx, customer_id: UUID, invoice_id: UUID) -> list[ItemView]:
    """The lines in their order."""
    return items_of_many(tx, [(customer_id, invoice_id)]).get(invoice_id, [])


def whole_of(lines: Sequence[ItemView], one: ItemView) -> Money:
    """What a line of these came to, with its discounts and with the taxes on top of it."""
    minor = one.amount.minor
    for other in lines:
        if other.kind == "tax" and other.amount.minor:
            minor += sum(tax for at, tax in other.why.get("lines", ()) if at == one.position)
        elif other.kind == "discount" and other.of_item == one.id:
            minor += other.amount.minor
    return Money(minor, one.amount.currency, minor=True)


@in_sets()
def items_of_many(tx: Tx, keys: list[tuple[UUID, UUID]]) -> dict[UUID, list[ItemView]]:
    """The lines of several invoices, in their order, by invoice."""
    rows = tx.all(
        "select i.* from unnest(%(customers)s::uuid[], %(invoices)s::uuid[]) as k(c, v)"
        " cross join lateral (select invoice_id, id, position, kind, description, amount_minor,"
        "  currency, quantity, unit_minor, period_start, period_end, plan_id, plan_version,"
        "  of_item, tax_rate_id, product, why from invoice_items"
        "  where customer_id = k.c and invoice_id = k.v order by position limit 1000) i",
        {"customers": [k[0] for k in keys], "invoices": [k[1] for k in keys]},
    )
    found: dict[UUID, list[ItemView]] = {}
    for row in rows:
        currency, unit = row.pop("currency"), row.pop("unit_minor")
        amount = Money(row.pop("amount_minor"), currency, minor=True)
        found.setdefault(row.pop("invoice_id"), []).append(
            ItemView(
                **row,
                amount=amount,
                unit=None if unit is None else Money(unit, currency, minor=True),
            )
        )
    return found


def page_url(base_url: str, row: InvoiceRow) -> str | None:
    """The hosted page, at the desk's address of today; a draft has none."""
    if row.runner == "provider":
        return row.hosted_url
    return None if row.state == "draft" else page_of(base_url, row)


def pdf_url(base_url: str, row: InvoiceRow) -> str | None:
    """The document, at the desk's address of today; a draft has none."""
    if row.runner == "provider":
        return row.pdf_url
    return None if row.state == "draft" else pdf_of(base_url, row)


def page_of(base_url: str, row: InvoiceRow) -> str:
    return f"{base_url}/invoice/{ids.show('invoice', row.id)}?s={row.secret}"


def pdf_of(base_url: str, row: InvoiceRow) -> str:
    return f"{base_url}/invoice/{ids.show('invoice', row.id)}/pdf?s={row.secret}"


_PLAIN = tuple(
    name for name in (f.name for f in fields(InvoiceView))
    if name in {*InvoiceRow.__struct_fields__} - {"page_url", "pdf_url", "payments"}
)  # fmt: skip


def _brought(tx: Tx, rows: Sequence[InvoiceRow]) -> dict[UUID, tuple[UUID, ...]]:
    """The payments that brought money, by invoice. One of ours has one; a provider's may have had
    several."""
    found = {one.id: (one.payment_id,) for one in rows if one.payment_id and one.paid_minor}
    several = [one for one in rows if one.runner == "provider" and one.paid_minor]
    if several:
        told = tx.all(
            "select p.invoice_id, array_agg(p.id order by p.created_at, p.id) as ids"
            " from unnest(%(customers)s::uuid[], %(invoices)s::uuid[]) as k(c, v)"
            " cross join lateral (select k.v as invoice_id, id, created_at from payments"
            "  where customer_id = k.c and payable = 'invoice:' || k.v and captured_minor > 0"
            "  limit 100) p group by 1",
            {"customers": [one.customer_id for one in several],
             "invoices": [one.id for one in several]},
        )  # fmt: skip
        found |= {row["invoice_id"]: tuple(row["ids"]) for row in told}
    return found


def view(
    settings: Settings, row: InvoiceRow, items: list[ItemView], payments: Sequence[UUID] = ()
) -> InvoiceView:
    money: dict[str, Any] = {
        name: row.money(getattr(row, f"{name}_minor"))
        for name in ("subtotal", "discount", "tax", "total", "balance", "due", "paid", "credited")
    }
    return InvoiceView(
        **{name: getattr(row, name) for name in _PLAIN}, **money, status=row.state, items=items,
        payments=tuple(payments),
        next_attempt_at=row.try_at, page_url=page_url(settings.base_url, row),
        pdf_url=pdf_url(settings.base_url, row),
    )  # fmt: skip


def get(env: Env, customer_id: UUID | None, ref: str | UUID) -> InvoiceView:
    """The invoice of an id. Another customer's answers NotFound."""
    with env.db.read() as tx:
        return read(env, tx, customer_id, ref)


def read(env: Env, tx: Tx, customer_id: UUID | None, ref: str | UUID) -> InvoiceView:
    owner, invoice_id = key_of(ref)
    if customer_id not in (None, owner):
        raise NotFound(f"No such invoice: {ids.show('invoice', invoice_id)}.")
    row = invoice_books.get(tx, owner, invoice_id)
    brought = _brought(tx, [row]).get(row.id, ())
    return view(env.settings, row, items_of(tx, owner, invoice_id), brought)


def key_of(ref: str | UUID) -> tuple[UUID, UUID]:
    """(customer, invoice) of an id. Raises NotFound."""
    invoice_id = ids.parse("invoice", ref) if isinstance(ref, str) else ref
    return ids.customer_of(invoice_id), invoice_id


def by_secret(env: Env, ref: str, secret: str) -> InvoiceView:
    """For the hosted page: the id alone opens nothing. Raises NotFound."""
    found = get(env, None, ref)
    known = secrets.compare_digest(found.secret.encode(), secret.encode("utf-8", "replace"))
    if not known or found.runner != "paydesk":
        raise NotFound(f"No such invoice: {ids.show('invoice', found.id)}.")
    return found


def list_(
    env: Env, customer_id: UUID | None = None, *, subscription_id: UUID | None = None,
    status: str | None = None, limit: int = 20, after: UUID | None = None,
) -> list[InvoiceView]:  # fmt: skip
    """Invoices, newest first: a customer's, a subscription's, or everybody's.

    `after`: an invoice's id, older than that. Raises InvalidRequest for an unknown status.
    """
    if status is not None and status not in STATES:
        raise InvalidRequest(f"status is one of {', '.join(STATES)}.", param="status")
    if subscription_id is not None:
        owner = ids.customer_of(subscription_id)
        if customer_id not in (None, owner):
            raise NotFound(f"No such subscription: {ids.show('subscription', subscription_id)}.")
        customer_id = owner
    values: dict[str, Any] = {
        "customer_id": customer_id, "subscription_id": subscription_id, "status": status,
        "limit": limit, "cursor": after, "cursor_at": None,
    }  # fmt: skip
    with env.db.read() as tx:
        if after is not None:
            mark = invoice_books.get(tx, *key_of(after))
            if customer_id not in (None, mark.customer_id):
                raise NotFound(f"No such invoice: {ids.show('invoice', after)}.")
            values["cursor_at"] = mark.created_at
        found = tx.all(_ONES if customer_id is not None else _EVERYBODYS, values)
        rows = [InvoiceRow(**one) for one in found]
        items = items_of_many(tx, [(one.customer_id, one.id) for one in rows])
        brought = _brought(tx, rows)
    return [
        view(env.settings, one, items.get(one.id, []), brought.get(one.id, ())) for one in rows
    ]


_FILTERS = (
    " and (%(subscription_id)s::uuid is null or subscription_id = %(subscription_id)s::uuid)"
    " and (%(status)s::text is null or state = %(status)s::text)"
    " and (%(cursor)s::uuid is null"
    "  or (created_at, id) < (%(cursor_at)s::timestamptz, %(cursor)s::uuid))"
    " order by created_at desc, id desc limit %(limit)s"
)
_ONES: Any = " ".join(
    ["select", COLUMNS, "from invoices where customer_id = %(customer_id)s", _FILTERS]
)
_EVERYBODYS: Any = " ".join(["select", COLUMNS, "from invoices where true", _FILTERS])
