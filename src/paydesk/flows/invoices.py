"""Invoices: drafts and their lines, finalized with taxes and balance, charged, paid, voided.

Functions that take `tx` are steps of whoever holds the customer's head: the subscriptions' engine
writes, finalizes and asks for the money in one transaction of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from paydesk import causes, crash, ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.db.together import in_sets
from paydesk.env import Env
from paydesk.errors import (
    InvalidRequest,
    NotFound,
    PaydeskError,
    PaymentInFlight,
    PaymentMethodNotUsable,
)
from paydesk.flows import (
    attempts,
    checkout,
    direct,
    heads,
    invoice_books,
    invoice_numbers,
    invoice_views,
    methods,
    provider_calls,
    provider_customers,
    rates,
    subscription_payments,
    tax_rates,
)
from paydesk.flows.checkout import CheckoutView, StartCheckout
from paydesk.flows.direct import NewPayment
from paydesk.flows.events import emit_many
from paydesk.flows.invoice_books import ON_FAILED, ON_PAID, InvoiceRow
from paydesk.flows.invoice_views import InvoiceView, get, list_
from paydesk.providers.base import Order, OrderLine
from paydesk.rules import fields
from paydesk.rules import invoices as rules
from paydesk.rules.invoices import Discount, NewItem, TaxRate
from paydesk.rules.money import currency_code
from paydesk.rules.payments import handle_of
from paydesk.settings import Settings
from paydesk.tracker.stores.joined import ServicePayment

__all__ = [
    "ON_FAILED", "ON_PAID", "Discount", "InvoiceRow", "InvoiceView", "NewInvoice", "NewItem", "add",
    "checkout_for", "create", "finalize", "finalize_now", "get", "intend_payment", "list_",
    "mark_uncollectible", "pay", "void", "write", "write_items",
]  # fmt: skip

#: (tx, country, product, at) -> the rates that hold.
Taxes = Callable[[Tx, str, str, datetime], Sequence[TaxRate]]


# Drafts ----------------------------------------------------------------------------------------

_INSERT: Any = " ".join([
    "insert into invoices (customer_id, id, subscription_id, state, reason, cycle, currency,"
    " subtotal_minor, discount_minor, tax_minor, total_minor, due_minor, period_start, period_end,"
    " memo, due_at, secret, buyer, metadata, request_key, clock_id, created_at)"
    " values (%(customer_id)s, %(id)s, %(subscription_id)s, 'draft', %(reason)s, %(cycle)s,"
    " %(currency)s, %(subtotal_minor)s, %(discount_minor)s, %(tax_minor)s, %(total_minor)s,"
    " %(due_minor)s, %(period_start)s, %(period_end)s, %(memo)s, %(due_at)s, %(secret)s,"
    " %(buyer)s, %(metadata)s, %(request_key)s, %(clock_id)s, %(now)s) returning",
    invoice_books.COLUMNS,
])  # fmt: skip


def write(
    tx: Tx, now: datetime, *, settings: Settings, customer_id: UUID, subscription_id: UUID | None,
    reason: str, currency: str, items: Sequence[NewItem], request_key: UUID,
    cycle: int | None = None, period: tuple[datetime, datetime] | None = None,
    discount: Discount | None = None, metadata: Mapping[str, Any] | None = None,
    memo: str | None = None, buyer: Mapping[str, Any] | None = None,
    due_at: datetime | None = None,
) -> InvoiceRow:  # fmt: skip
    """A draft with these lines, less the discount; lines that wait on the subscription's draft
    are on it too. The same request, or the same period of the subscription, is the same invoice,
    whatever has become of it. Raises InvalidRequest."""
    found = invoice_books.same(tx, customer_id, request_key, subscription_id, cycle)
    if found is not None:
        return found
    rules.check(items, currency)
    span = period or (None, None)
    told: dict[str, Any] = {
        "reason": reason, "cycle": cycle, "period_start": span[0], "period_end": span[1],
        "memo": memo, "due_at": due_at, "request_key": request_key,
        "metadata": fields.metadata(metadata), "buyer": dict(buyer or {}),
    }  # fmt: skip
    lines = rules.discounted(items, discount)
    row = invoice_books.draft_of(tx, customer_id, subscription_id) if subscription_id else None
    if row is None:
        return _insert(tx, now, customer_id, subscription_id, currency, told, lines)
    _same_currency(row, currency)
    told["metadata"] = {**row.metadata, **told["metadata"]}
    return _append(tx, now, invoice_books.change(tx, row, **told), lines)


def add(
    tx: Tx, now: datetime, customer_id: UUID, subscription_id: UUID, items: Sequence[NewItem], *,
    currency: str,
) -> InvoiceRow:  # fmt: skip
    """Lines that wait for the subscription's next invoice: its draft, made where there is none."""
    rules.check(items, currency)
    row = invoice_books.draft_of(tx, customer_id, subscription_id)
    if row is None:
        told: dict[str, Any] = {
            "reason": "subscription_update", "cycle": None, "period_start": None,
            "period_end": None, "memo": None, "due_at": None, "request_key": uuid4(),
            "metadata": {}, "buyer": {},
        }  # fmt: skip
        return _insert(tx, now, customer_id, subscription_id, currency, told, items)
    _same_currency(row, currency)
    return _append(tx, now, row, items)


def _same_currency(row: InvoiceRow, currency: str) -> None:
    if row.currency != currency:
        raise InvalidRequest(f"This draft is in {row.currency}.", param="currency")


def _insert(
    tx: Tx, now: datetime, customer_id: UUID, subscription_id: UUID | None, currency: str,
    told: Mapping[str, Any], items: Sequence[NewItem],
) -> InvoiceRow:  # fmt: skip
    """A new draft with these lines, and its event."""
    values = _figures(rules.summed(items))
    row = tx.one(
        _INSERT,
        {
            **told, **values, "customer_id": customer_id, "id": ids.new_owned(customer_id),
            "now": now, "subscription_id": subscription_id, "currency": currency,
            "secret": secrets.token_urlsafe(24), "buyer": jsonb(told["buyer"]),
            "metadata": jsonb(told["metadata"]), "clock_id": tx.heads[customer_id].clock_id,
        },
    )  # fmt: skip
    assert row is not None
    made = InvoiceRow(**row)
    emit_many(tx, [invoice_books.event(made, now, "invoice.created")])
    write_items(tx, now, made, items, 0)
    return made


def _append(tx: Tx, now: datetime, row: InvoiceRow, items: Sequence[NewItem]) -> InvoiceRow:
    """Write more lines of a draft, and its sums."""
    before = invoice_views.items_of(tx, row.customer_id, row.id)
    write_items(tx, now, row, items, len(before))
    known = [one.as_new() for one in before]
    sums = rules.summed([*known, *rules.shifted(items, len(known))])
    return _write_sums(tx, row, sums)


def _write_sums(tx: Tx, row: InvoiceRow, sums: rules.Sums, **more: Any) -> InvoiceRow:
    return invoice_books.change(tx, row, **{**_figures(sums), **more})


def _figures(sums: rules.Sums) -> dict[str, int]:
    return {
        "subtotal_minor": sums.subtotal, "discount_minor": sums.discount, "tax_minor": sums.tax,
        "total_minor": sums.total, "due_minor": max(0, sums.total),
    }  # fmt: skip


def write_items(
    tx: Tx, now: datetime, row: InvoiceRow, items: Sequence[NewItem], start: int
) -> None:
    """Write lines after `start` others; an index in `of` counts within these."""
    made = [ids.new_owned(row.customer_id) for _ in items]
    lines = [
        (row, start + index, made[index], one, made[one.of] if isinstance(one.of, int) else one.of)
        for index, one in enumerate(items)
    ]
    if lines:
        _write_lines(tx, now, lines)


@in_sets(2)
def _write_lines(
    tx: Tx, now: datetime, lines: Sequence[tuple[InvoiceRow, int, UUID, NewItem, UUID | None]]
) -> None:
    """Lines of any invoices: (invoice, position, id, line, the line it is of)."""
    items, rows = [one[3] for one in lines], [one[0] for one in lines]
    tx.run(
        "insert into invoice_items (customer_id, id, invoice_id, position, kind, description,"
        " amount_minor, currency, quantity, unit_minor, period_start, period_end, plan_id,"
        " plan_version, of_item, tax_rate_id, product, why, created_at)"
        " select n.customer_id, n.id, n.invoice_id, n.position, n.kind, n.description,"
        "  n.amount, n.currency, n.quantity, n.unit, n.period_start, n.period_end, n.plan,"
        "  n.plan_version, n.of_item, n.rate, n.product, n.why, %(now)s"
        " from unnest(%(customers)s::uuid[], %(invoices)s::uuid[], %(currencies)s::text[],"
        "  %(ids)s::uuid[], %(positions)s::int[], %(kinds)s::text[],"
        "  %(texts)s::text[], %(amounts)s::bigint[], %(quantities)s::int[], %(units)s::bigint[],"
        "  %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(plans)s::uuid[],"
        "  %(versions)s::int[], %(of)s::uuid[], %(rates)s::uuid[], %(products)s::text[],"
        "  %(why)s::jsonb[]) as n(customer_id, invoice_id, currency, id, position, kind,"
        "   description, amount, quantity, unit, period_start, period_end, plan, plan_version,"
        "   of_item, rate, product, why)",
        {
            "customers": [one.customer_id for one in rows], "invoices": [one.id for one in rows],
            "currencies": [one.currency for one in rows], "now": now,
            "positions": [one[1] for one in lines], "ids": [one[2] for one in lines],
            "kinds": [i.kind for i in items], "texts": [i.description[:500] for i in items],
            "amounts": [i.amount_minor for i in items], "quantities": [i.quantity for i in items],
            "units": [i.unit_minor for i in items],
            "starts": [i.period[0] if i.period else None for i in items],
            "ends": [i.period[1] if i.period else None for i in items],
            "plans": [i.plan[0] if i.plan else None for i in items],
            "versions": [i.plan[1] if i.plan else None for i in items],
            "of": [one[4] for one in lines],
            "rates": [i.tax_rate_id for i in items], "products": [i.product for i in items],
            "why": [jsonb(i.why) for i in items],
        },
    )  # fmt: skip


# Finalizing ------------------------------------------------------------------------------------


def finalize(
    tx: Tx, now: datetime, customer_id: UUID, invoice_id: UUID, *, settings: Settings,
    taxes: Taxes | None = None, try_at: datetime | None = None, row: InvoiceRow | None = None,
) -> InvoiceRow:  # fmt: skip
    """Fix a draft: taxes of its day, what the customer's balance pays, who sells to whom. It is
    open then, or paid at once where nothing is due. Once; again it answers the invoice.

    `try_at`: when its money is asked for next. `row`: the invoice, where it was read or written
    just now. The number is drawn later, by `number`.
    """
    row = row or invoice_books.get(tx, customer_id, invoice_id)
    if row.state != "draft":
        return row
    buyer = invoice_views.buyer(tx, customer_id, row.buyer)
    items = invoice_views.items_of(tx, customer_id, invoice_id)
    lines = [one.as_new() for one in items]
    find, country = taxes or tax_rates.find, buyer.get("country") or ""
    held = tax_rates.of_lines(tx, customer_id, lines, country, now, find)
    whole = rules.taxed(lines, held, rounding=settings.tax_rounding, keys=[i.id for i in items])
    write_items(tx, now, row, whole[len(lines) :], len(lines))
    sums = rules.summed(whole)
    used = invoice_books.use_balance(tx, now, row, sums.total, sums.tax)
    base = settings.base_url
    row = _write_sums(
        tx, row, sums, state="open", hosted_url=invoice_views.page_of(base, row),
        pdf_url=invoice_views.pdf_of(base, row), balance_minor=used,
        due_minor=max(0, sums.total - used), finalized_at=now, due_at=row.due_at or now,
        seller=invoice_views.seller(settings), buyer=buyer,
        try_at=try_at if sums.total > used else None,
    )  # fmt: skip
    emit_many(tx, [invoice_books.event(row, now, "invoice.finalized", balance=used)])
    if row.due_minor == 0:
        row = invoice_books.settle_nothing_due(tx, now, row, settings)
    crash.at("invoice_before_commit")
    return row


# Asking for the money --------------------------------------------------------------------------


def intend_payment(
    env: Env, tx: Tx, now: datetime, invoice: InvoiceRow, *, method_id: UUID | None,
    off_session: bool = True, return_url: str | None = None, is_fresh: bool = False,
) -> provider_calls.Call | None:  # fmt: skip
    """Write the payment, its attempt and the call that charges a saved method (None: the default
    one) for what is due; the caller runs the call once this is committed. `return_url`: where a
    bank's page leads back to. `is_fresh`: `invoice` is as it stands, under its customer's lock.

    None: nothing is due, a payment is under way already, or there is no method to charge. Each
    try is a payment of its own: the n-th of an invoice is made once.
    """
    row = invoice if is_fresh else invoice_books.get(tx, invoice.customer_id, invoice.id)
    is_ours = row.runner == "paydesk" and row.state in rules.PAYABLE
    if not is_ours or not row.due_minor or invoice_books.under_way(tx, row):
        return None
    try:
        saved = methods.for_charge(tx, row.customer_id, method_id, now)
    except (NotFound, PaymentMethodNotUsable):
        return None
    name = saved["provider"]
    if name not in env.providers or "charge" not in env.providers[name].can:
        return None
    env.providers[name].check_amount(row.money(row.due_minor))
    attempt_no = row.attempts + 1
    payment = _payment(env, tx, now, row, saved, attempt_no)
    attempts.create(tx, [payment])
    invoice_books.change(tx, row, payment_id=payment.key[1], attempts=attempt_no, try_at=None)
    emit_many(tx, [attempts.state_event(payment, now, type="payment.created")])
    return _write_call(tx, now, env, row, payment, saved, off_session, return_url)


def _payment(
    env: Env, tx: Tx, now: datetime, row: InvoiceRow, saved: Mapping[str, Any], attempt_no: int
) -> ServicePayment:
    provider, due = env.providers[saved["provider"]], row.money(row.due_minor)
    payment_id, key = ids.new_owned(row.customer_id), _request_key(row, attempt_no)
    name, worth = invoice_books.name_of(row), rates.usd_of(tx, due, now)
    line = {"description": name, "quantity": 1, "unit_minor": due.minor, "discount_minor": 0,
            "amount_minor": due.minor, "currency": due.currency}  # fmt: skip
    return ServicePayment(
        id=str(payment_id), customer_id=row.customer_id, user_id=str(row.customer_id),
        amount_cents=due.minor, currency=due.currency, price_minor=due.minor,
        provider=provider.name, provider_account=provider.account, livemode=provider.livemode,
        purpose=invoice_books.PURPOSE, payable=row.payable, payment_type=row.payment_type,
        handle=handle_of(payment_id), description=name, method_id=saved["id"],
        metadata=_told(row), terms={"lines": [line], "goods": invoice_books.goods(row)},
        usd_minor=worth[0] if worth else None, rate_id=worth[1] if worth else None,
        request_key=key, request_hash=key.bytes, clock_id=tx.heads[row.customer_id].clock_id,
        expires_at=now + timedelta(minutes=provider.session_minutes()), created_at=now,
        updated_at=now,
    )  # fmt: skip


def _request_key(row: InvoiceRow, attempt_no: int) -> UUID:
    return ids.request_key("invoice", str(row.id), str(attempt_no))


def _told(row: InvoiceRow) -> dict[str, str]:
    """What payments and the provider's objects say of the invoice."""
    told = {"invoice_id": ids.show("invoice", row.id)}
    if row.subscription_id:
        told["subscription_id"] = ids.show("subscription", row.subscription_id)
    return told


def _write_call(
    tx: Tx, now: datetime, env: Env, row: InvoiceRow, payment: ServicePayment,
    saved: Mapping[str, Any], off_session: bool, return_url: str | None,
) -> provider_calls.Call:  # fmt: skip
    owner, amount = row.customer_id, row.money(row.due_minor)
    attempt_id, call_id = ids.new_owned(owner), ids.new_owned(owner)
    shown, whose = ids.show("payment", payment.key[1]), ids.show("customer", owner)
    who = invoice_views.customer(tx, owner)
    name = subscription_payments.words_of(tx, owner, row.id) or payment.description or "Invoice"
    order = Order(
        id=shown, customer=whose, key=str(call_id), amount=amount, description=name,
        lines=(OrderLine(name=name, amount=amount),), email=who["email"],
        success_url=return_url or env.settings.base_url,
        metadata={"customer_id": whose, "payment_id": shown, "userId": who["external_id"][:500],
                  **_told(row)},
        provider_customer=provider_customers.ref_of(
            tx, owner, payment.provider, payment.provider_account
        ),
    )  # fmt: skip
    attempts.open_(tx, payment, attempt_id=attempt_id, call_id=call_id, now=now)
    request = {
        "provider": payment.provider, "op": "charge", **provider_calls.order_json(order),
        "method": saved["ref"], "off_session": off_session, "capture": True,
    }  # fmt: skip
    return provider_calls.intend(
        tx, now, customer_id=owner, call_id=call_id, action="charge", request=request,
        payment_id=payment.key[1], attempt_id=attempt_id, amount=amount,
        clock_id=payment.clock_id,
    )  # fmt: skip


def pay(
    env: Env, customer_id: UUID, invoice_id: UUID, *, method: str | UUID | None = None,
    off_session: bool = False, return_url: str | None = None, request_key: UUID | None = None,
) -> InvoiceView:  # fmt: skip
    """Charge a method for what is due, now; `payment` of the answer says how it went.

    Raises InvoiceStateConflict, PaymentInFlight, NotFound, PaymentMethodNotUsable and what a
    charge raises. Safe to repeat with one `request_key`; a paid invoice is never charged.
    """
    row = _read(env, customer_id, invoice_id)
    with env.db.read() as tx:
        saved = direct.saved_method(tx, customer_id, method, heads.now(env, customer_id, tx))
    what = NewPayment(
        customer_id=customer_id, invoice=invoice_id, method=saved["id"] if saved else method,
        provider=saved["provider"] if saved else None, off_session=off_session,
        return_url=return_url, payment_type=row.payment_type, metadata=_told(row),
        request_key=request_key,
    )  # fmt: skip
    direct.process(env, what)
    return _numbered(env, row)


def checkout_for(
    env: Env, customer_id: UUID, invoice_id: UUID, *, success_url: str | None = None,
    cancel_url: str | None = None, provider: str | None = None, request_key: UUID | None = None,
    **more: Any,
) -> CheckoutView:  # fmt: skip
    """A page to pay the invoice on. The one that is open for it, where there is one.

    Raises InvoiceStateConflict, and PaymentInFlight where another kind of payment is under way.
    """
    row = _read(env, customer_id, invoice_id)
    what = StartCheckout(
        customer_id=customer_id, invoice=invoice_id, success_url=success_url,
        cancel_url=cancel_url, provider=provider, payment_type=row.payment_type,
        metadata=_told(row), request_key=request_key, **more,
    )  # fmt: skip
    try:
        return checkout.start(env, what)
    except PaymentInFlight:
        with env.db.read() as tx:
            open_ = invoice_books.under_way(tx, row)
        if open_ is None:
            raise
        try:
            return checkout.get_by_payment(env, customer_id, open_)
        except NotFound:
            raise PaymentInFlight("A payment for this invoice is already under way.") from None


# A person's steps ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInvoice:
    """An invoice by hand: lines of kind one_off or adjustment. `finalize`: at once. `days`: until
    its money is expected."""

    customer_id: UUID
    currency: str
    items: Sequence[NewItem]
    discount: Discount | None = None
    memo: str | None = None
    buyer: Mapping[str, Any] | None = None
    days: int = 0
    metadata: Mapping[str, Any] | None = None
    request_key: UUID
    finalize: bool = True


def create(env: Env, what: NewInvoice) -> InvoiceView:
    """Write an invoice by hand, and finalize it unless it is to stay a draft. Safe to repeat."""
    if not what.items:
        raise InvalidRequest("An invoice has lines.", param="items")
    fields.optional_text(what.memo, "memo", most=1000)
    days = fields.whole(what.days, "days", least=0, most=365)
    with env.db.transaction(what.customer_id) as tx:
        now = heads.decide(tx, env.now(), what.customer_id)
        row = write(
            tx, now, settings=env.settings, customer_id=what.customer_id, subscription_id=None,
            reason="manual", currency=currency_code(what.currency), items=_by_hand(what, now),
            discount=what.discount, metadata=what.metadata, memo=what.memo, buyer=what.buyer,
            due_at=now + timedelta(days=days), request_key=what.request_key,
        )
        if what.finalize:
            row = finalize(tx, now, what.customer_id, row.id, settings=env.settings)
    return _numbered(env, row)


def _by_hand(what: NewInvoice, now: datetime) -> list[NewItem]:
    """The lines with why they are: who wrote them when, and what for."""
    told = {
        "rule": "by hand", "by": causes.actor("desk"), "via": (causes.current() or {}).get("via"),
        "at": now.isoformat(), "currency": currency_code(what.currency),
        "reason": what.memo, "reference": str(what.request_key),
    }  # fmt: skip
    return [
        replace(one, why={**told, "quantity": one.quantity, "unit_minor": one.unit_minor,
                          "amount_minor": one.amount_minor, **one.why})
        for one in what.items
    ]  # fmt: skip


def finalize_now(env: Env, customer_id: UUID, invoice_id: UUID) -> InvoiceView:
    """Finalize a draft. Safe to repeat."""
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = finalize(tx, now, customer_id, invoice_id, settings=env.settings)
    return _numbered(env, row)


def void(env: Env, customer_id: UUID, invoice_id: UUID) -> InvoiceView:
    """Ask for nothing any more; what the customer's balance paid is given back. An open page is
    ended first. Safe to repeat.

    Raises InvoiceStateConflict for what is paid or a draft, PaymentInFlight while money may come.
    """
    return _close(env, customer_id, invoice_id, "void", "invoice.voided", "voided_at")


def mark_uncollectible(env: Env, customer_id: UUID, invoice_id: UUID) -> InvoiceView:
    """Give it up: no more tries are made; it may still be paid, or be voided. Safe to repeat."""
    return _close(env, customer_id, invoice_id, "give_up", "invoice.marked_uncollectible",
                  "uncollectible_at")  # fmt: skip


def _close(
    env: Env, customer_id: UUID, invoice_id: UUID, step: str, type: str, column: str
) -> InvoiceView:
    row = _read(env, customer_id, invoice_id)
    invoice_books.check_ours(row)
    if step == "void" and row.state in rules.PAYABLE:
        _end_open_page(env, row)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = invoice_books.get(tx, customer_id, invoice_id)
        after = close(tx, now, row, step, type, column)
        if after.state == "void" != row.state:
            invoice_books.voided(tx, now, after, env.settings)
    return _numbered(env, row)


def close(
    tx: Tx, now: datetime, row: InvoiceRow, step: str = "void", type: str = "invoice.voided",
    column: str = "voided_at",
) -> InvoiceRow:  # fmt: skip
    """Void an invoice, or give it up, inside the caller's transaction. Raises as `void`."""
    if getattr(row, column) is not None and row.state in ("void", "uncollectible"):
        return row
    state = rules.move(row.state, step)
    if state == "void":
        if invoice_books.under_way(tx, row):
            raise PaymentInFlight("A payment for this invoice is already under way.")
        invoice_books.give_balance_back(tx, now, row)
    values: dict[str, Any] = {"state": state, column: now, "try_at": None}
    after = invoice_books.change(tx, row, **values)
    emit_many(tx, [invoice_books.event(after, now, type)])
    return after


def _end_open_page(env: Env, row: InvoiceRow) -> None:
    """A page on which this could still be paid is ended at the provider."""
    with env.db.read() as tx:
        open_ = invoice_books.under_way(tx, row)
    if open_ is not None:
        checkout.end(env, row.customer_id, open_, "admin")


def _read(env: Env, customer_id: UUID, invoice_id: UUID) -> InvoiceRow:
    with env.db.read() as tx:
        return invoice_books.get(tx, customer_id, invoice_id)


def _numbered(env: Env, row: InvoiceRow) -> InvoiceView:
    """The invoice with its number, drawn now where it can be; the sweep draws what is left."""
    try:
        invoice_numbers.number(env, row.customer_id, row.id)
    except PaydeskError:  # Nobody waits for a number.
        invoice_numbers.log.info("a number is drawn later", invoice=str(row.id))
    return get(env, row.customer_id, row.id)
