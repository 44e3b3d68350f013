"""Invoices that a provider makes and collects, mirrored here: lines, payments, and what is given.

Steps inside the caller's transaction, which holds the customer's head. Money is recorded through
the door of every payment: a charge is laid onto it, and its goods are the invoice.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import OutcomeUnknown
from paydesk.flows import (
    attempts,
    charges,
    invoice_books,
    invoice_views,
    invoices,
    memberships,
    methods,
    rates,
)
from paydesk.flows import provider_billing_books as books
from paydesk.flows import provider_billing_items as items
from paydesk.flows import provider_prices as prices
from paydesk.flows import subscription_steps as steps
from paydesk.flows.attempts import Attempt
from paydesk.flows.events import emit_many
from paydesk.flows.invoice_books import InvoiceRow
from paydesk.flows.subscription_steps import Sub
from paydesk.providers.base import Charge
from paydesk.providers.billing import RemoteInvoice, RemotePayment, RemoteTry
from paydesk.rules.invoices import NewItem
from paydesk.rules.money import Money
from paydesk.rules.payments import handle_of
from paydesk.settings import Settings
from paydesk.tracker.models import PAID_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

#: A line's quantity is kept up to here; what was counted beyond it stands in the line's reasons.
MOST_QUANTITY = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Whose:
    """Whose invoices these are, and where they were made."""

    customer_id: UUID
    provider: str
    account: str
    sub: Sub | None = None


@dataclass(kw_only=True)
class Heard:
    """Invoices that were asked for, with the charges and declined tries of their payments.
    `refused`: what kept one from being laid down; the others are. `is_listed`: they are all that
    the provider has of a subscription's running period, its draft too."""

    invoices: list[RemoteInvoice] = field(default_factory=list)
    charges: dict[str, Charge] = field(default_factory=dict)
    tries: dict[str, list[RemoteTry]] = field(default_factory=dict)
    refused: list[Exception] = field(default_factory=list)
    is_listed: bool = False

    def check(self) -> None:
        """Raise what kept an invoice from being laid down, once all else is committed."""
        if self.refused:
            raise self.refused[0]


def standing(tx: Tx, provider: str, account: str, refs: Sequence[str]) -> dict[str, str]:
    """The state here of each of these invoices that is known."""
    rows = tx.all(
        "select r.ref, i.state from provider_refs r join invoices i"
        " on i.customer_id = r.customer_id and i.id = r.object_id"
        " where r.provider = %(provider)s and r.account = %(account)s and r.ref = any(%(refs)s)",
        {"provider": provider, "account": account, "refs": list(refs)},
    )
    return {row["ref"]: row["state"] for row in rows}


def lay(
    env: Env, tx: Tx, now: datetime, whose: Whose, heard: Heard,
    numbers: Mapping[datetime, int], path: str,
) -> int:  # fmt: skip
    """Make our invoices what the provider says of them; answers how many changed. A draft is no
    invoice yet: it is taken up when it is final. One that is refused keeps back nothing else."""
    changed = 0
    for one in heard.invoices:
        if one.state == "draft":
            continue
        try:
            with tx.savepoint():
                changed += _lay_one(env, tx, now, whose, one, heard, numbers, path)
        except Exception as exc:  # Whatever it is, what else was heard stands.
            heard.refused.append(exc)
    return changed


def _lay_one(
    env: Env, tx: Tx, now: datetime, whose: Whose, one: RemoteInvoice, heard: Heard,
    numbers: Mapping[datetime, int], path: str,
) -> bool:  # fmt: skip
    row = _find(tx, whose, one)
    before = row
    if row is None:
        row = _write(env, tx, now, whose, one, numbers)
    elif row.state in ("paid", "void"):
        return False
    row = _facts(tx, row, one)
    # One that names no payment is claimed under its own name.
    whole = RemotePayment(ref=one.id, asked=one.due, paid=one.paid)
    for part in () if one.is_outside else one.parts or (whole,):
        assert part.ref is not None, "a part has a name"
        charge, tries = heard.charges.get(part.ref), heard.tries.get(part.ref, [])
        if charge is not None and (part.paid or tries):
            _pay(env, tx, now, whose, row, part, charge, tries, path)
            row = invoice_books.get(tx, row.customer_id, row.id)
    row = _close(tx, now, row, one, env.settings)
    return before is None or row.version != before.version


def _find(tx: Tx, whose: Whose, one: RemoteInvoice) -> InvoiceRow | None:
    invoice_id = tx.value(
        "select id from invoices where customer_id = %(customer_id)s and request_key = %(key)s",
        {"customer_id": whose.customer_id, "key": _key(whose, one)},
    )
    return invoice_books.find(tx, whose.customer_id, invoice_id) if invoice_id else None


def _key(whose: Whose, one: RemoteInvoice) -> UUID:
    return ids.request_key("provider-invoice", whose.provider, whose.account, one.id)


# Rows ------------------------------------------------------------------------------------------


def _write(
    env: Env, tx: Tx, now: datetime, whose: Whose, one: RemoteInvoice,
    numbers: Mapping[datetime, int],
) -> InvoiceRow:  # fmt: skip
    """A final invoice with its lines, open until it is known to be paid."""
    owner, invoice_id = whose.customer_id, ids.new_owned(whose.customer_id)
    values = {
        "customer_id": owner, "id": invoice_id, "currency": one.currency,
        "subscription_id": whose.sub.id if whose.sub else None,
        "reason": one.reason if whose.sub else "manual", "cycle": _cycle(tx, whose, one, numbers),
        "subtotal": one.subtotal, "discount": max(0, one.discount), "tax": one.tax,
        "total": one.total, "balance": one.total - one.due, "due": one.due,
        "start": one.period[0] if one.period else None,
        "end": one.period[1] if one.period else None, "number": one.number,
        "attempts": one.attempts, "due_at": one.due_at or one.finalized_at or one.created_at,
        "finalized_at": one.finalized_at or one.created_at, "secret": secrets.token_urlsafe(24),
        "seller": jsonb(invoice_views.seller(env.settings)),
        "buyer": jsonb(invoice_views.buyer(tx, owner, {})), "provider": whose.provider,
        "account": whose.account, "ref": one.id, "hosted": one.hosted_url, "pdf": one.pdf_url,
        "key": _key(whose, one), "clock_id": tx.heads[owner].clock_id, "at": one.created_at,
    }  # fmt: skip
    tx.run(
        "insert into invoices (customer_id, id, subscription_id, state, reason, cycle, runner,"
        " currency, subtotal_minor, discount_minor, tax_minor, total_minor, balance_minor,"
        " due_minor, period_start, period_end, series, number, attempts, due_at, finalized_at,"
        " secret, seller, buyer, provider, provider_account, provider_ref, hosted_url, pdf_url,"
        " request_key, clock_id, created_at) values (%(customer_id)s, %(id)s,"
        " %(subscription_id)s, 'open', %(reason)s, %(cycle)s, 'provider', %(currency)s,"
        " %(subtotal)s, %(discount)s, %(tax)s, %(total)s, %(balance)s, %(due)s, %(start)s,"
        " %(end)s, %(provider)s, %(number)s, %(attempts)s, %(due_at)s, %(finalized_at)s,"
        " %(secret)s, %(seller)s, %(buyer)s, %(provider)s, %(account)s, %(ref)s, %(hosted)s,"
        " %(pdf)s, %(key)s, %(clock_id)s, %(at)s)",
        values,
    )
    attempts.add_refs(tx, [(whose.provider, whose.account, one.id, owner, invoice_id)])
    row = invoice_books.get(tx, owner, invoice_id)
    invoices.write_items(tx, now, row, _items(tx, whose, one), 0)
    emit_many(tx, [invoice_books.event(row, now, "invoice.finalized", balance=row.balance_minor)])
    return row


def _cycle(
    tx: Tx, whose: Whose, one: RemoteInvoice, numbers: Mapping[datetime, int]
) -> int | None:
    """The number of the period that it bills; None for what bills none, and where another invoice
    bills it already. A void one does so no more."""
    if whose.sub is None or one.period is None or not items.is_period(one):
        return None
    number = numbers.get(items.begins(one))
    row = tx.one(
        "select id, state from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and cycle = %(cycle)s",
        {"customer_id": whose.customer_id, "id": whose.sub.id, "cycle": number},
    )
    if row is None:
        return number
    if row["state"] != "void" or one.state == "void":
        return None
    invoice_books.change(tx, invoice_books.get(tx, whose.customer_id, row["id"]), cycle=None)
    return number


def _items(tx: Tx, whose: Whose, one: RemoteInvoice) -> list[NewItem]:
    """The provider's lines; what is taken off and added after them, so that all add up."""
    found: list[NewItem] = []
    for line in one.lines:
        is_own = line.kind != "one_off" or line.item is None
        price = line.price if is_own else None
        plan = price and prices.of_price(tx, whose.provider, whose.account, price)
        found.append(NewItem(
            kind=line.kind, description=line.description, amount_minor=line.amount_minor,
            quantity=min(line.quantity, MOST_QUANTITY), unit_minor=line.unit_minor,
            period=line.period, plan=plan or None,
            why={"rule": f"as {whose.provider} says", "line": line.ref, "price": line.price}
            | ({"quantity": line.quantity} if line.quantity > MOST_QUANTITY else {}),
        ))  # fmt: skip
    off = [(at, line.discount_minor) for at, line in enumerate(one.lines) if line.discount_minor]
    if sum(amount for _, amount in off) != one.discount:
        off = [(-1, one.discount)] if one.discount else []
    found += [
        NewItem(kind="discount", description="Discount", amount_minor=-amount,
                of=at if at >= 0 else None, why={"rule": f"as {whose.provider} says"})
        for at, amount in off
    ]  # fmt: skip
    found += [
        NewItem(kind="tax", description="Tax", amount_minor=0 if is_in else amount,
                why={"rule": f"as {whose.provider} says", "tax_minor": amount, "rate": rate,
                     "inclusive": is_in})
        for amount, is_in, rate in one.taxes
    ]  # fmt: skip
    rest = one.total - sum(item.amount_minor for item in found)
    if rest:
        found.append(NewItem(kind="adjustment", description="Adjustment", amount_minor=rest,
                             why={"rule": f"what else {whose.provider}'s total has"}))  # fmt: skip
    return found


def _facts(tx: Tx, row: InvoiceRow, one: RemoteInvoice) -> InvoiceRow:
    """What changes of an invoice that is final."""
    values: dict[str, Any] = {
        "number": one.number or row.number, "hosted_url": one.hosted_url or row.hosted_url,
        "pdf_url": one.pdf_url or row.pdf_url, "attempts": max(row.attempts, one.attempts),
    }  # fmt: skip
    if row.state in ("open", "uncollectible"):  # A credit note takes off what is still due.
        values |= {"due_minor": one.due, "balance_minor": one.total - one.due,
                   "due_at": one.due_at or row.due_at}  # fmt: skip
    if all(getattr(row, name) == value for name, value in values.items()):
        return row
    return invoice_books.change(tx, row, **values)


def _close(
    tx: Tx, now: datetime, row: InvoiceRow, one: RemoteInvoice, settings: Settings
) -> InvoiceRow:
    """Its state: paid without a payment or with the last of several, void, given up; and since
    when. What a payment brought too little of, a person looks at: the invoice is paid there."""
    if one.state == "paid" and row.state in ("open", "uncollectible"):
        row = invoice_books.settled_there(tx, now, row, settings)
        row = invoice_books.change(tx, row, paid_minor=one.due,
                                   paid_at=one.paid_at or now)  # fmt: skip
    elif one.state == "paid" and one.paid_at and row.paid_at != one.paid_at:
        row = invoice_books.change(tx, row, paid_at=one.paid_at)
    elif one.state in ("void", "uncollectible") and row.state == "open":
        is_void = one.state == "void"
        column, at = (("voided_at", one.voided_at) if is_void
                      else ("uncollectible_at", one.uncollectible_at))  # fmt: skip
        values: dict[str, Any] = {"state": one.state, column: at or now}
        row = invoice_books.change(tx, row, **values)
        type = "invoice.voided" if is_void else "invoice.marked_uncollectible"
        emit_many(tx, [invoice_books.event(row, now, type)])
    elif one.state == "void" and row.state == "uncollectible":
        row = invoice_books.change(tx, row, state="void", voided_at=one.voided_at or now)
        emit_many(tx, [invoice_books.event(row, now, "invoice.voided")])
    return row


# Payments --------------------------------------------------------------------------------------


def _pay(
    env: Env, tx: Tx, now: datetime, whose: Whose, row: InvoiceRow, part: RemotePayment,
    charge: Charge, tries: Sequence[RemoteTry], path: str,
) -> None:  # fmt: skip
    """Lay the charge onto the invoice's payment of that name, made where there is none. It asks
    for its part, and for no more than it brought."""
    asked = part.paid or min(part.asked, row.due_minor) or part.asked
    payment = _payment(env, tx, now, whose, row, charge, asked)
    if tries:
        row = invoice_books.get(tx, row.customer_id, row.id)
        if row.first_failed_at is None:
            invoice_books.change(tx, row, first_failed_at=tries[0].at)
    if payment.state not in PAID_STATES:
        claim = charges.Claim(
            customer_id=payment.customer_id, payment_id=payment.key[1], provider=whose.provider,
            account=whose.account, charge=charge, path=path, proof=True, version=payment.version,
        )  # fmt: skip
        outcome = charges.apply(tx, now, [claim], env.settings)[0][0]
        if outcome != charges.DONE:
            raise OutcomeUnknown(f"What {whose.provider} shows for this invoice is {outcome}.")
    _note_tries(tx, now, payment, charge, tries)


def _payment(
    env: Env, tx: Tx, now: datetime, whose: Whose, row: InvoiceRow, charge: Charge, asked: int
) -> ServicePayment:
    """The invoice's payment through this charge, which asks for so much."""
    owner = row.customer_id
    key = ids.request_key("provider-payment", whose.provider, whose.account, str(row.id),
                          charge.payment_ref or charge.ref)  # fmt: skip
    known = tx.value(
        "select id from payments where customer_id = %(customer_id)s and request_key = %(key)s",
        {"customer_id": owner, "key": key},
    )
    store = JoinedStore(tx.conn)
    if known is not None:
        found = store.get_many([(owner, known)])[0]
        assert found is not None, "it was there just now"
        return _asks(tx, now, found, row.money(asked))
    payment_id, due = ids.new_owned(owner), row.money(asked)
    name, worth = invoice_books.name_of(row), rates.usd_of(tx, due, now)
    detail = charge.method_detail or {}
    saved = methods.find(tx, owner, detail["method"]) if detail.get("method") else None
    line = {"description": name, "quantity": 1, "unit_minor": due.minor, "discount_minor": 0,
            "amount_minor": due.minor, "currency": due.currency}  # fmt: skip
    told = {"invoice_id": ids.show("invoice", row.id)}
    if row.subscription_id:
        told["subscription_id"] = ids.show("subscription", row.subscription_id)
    payment = ServicePayment(
        id=str(payment_id), customer_id=owner, user_id=str(owner), amount_cents=due.minor,
        currency=due.currency, price_minor=due.minor, provider=whose.provider,
        provider_account=whose.account, livemode=env.providers[whose.provider].livemode,
        purpose=invoice_books.PURPOSE, payment_type=row.payment_type,
        payable=None if invoice_books.under_way(tx, row) else row.payable,
        handle=handle_of(payment_id), description=name, metadata=told,
        method_id=saved["id"] if saved else None,
        terms={"lines": [line], "goods": invoice_books.goods(row)},
        usd_minor=worth[0] if worth else None, rate_id=worth[1] if worth else None,
        request_key=key, request_hash=key.bytes, clock_id=tx.heads[owner].clock_id,
        created_at=now, updated_at=now,
    )  # fmt: skip
    store.create(payment)
    standing = invoice_books.get(tx, owner, row.id)
    if not standing.paid_minor:  # What brought a part is named as long as nothing else does.
        invoice_books.change(tx, standing, payment_id=payment_id)
    emit_many(tx, [attempts.state_event(payment, now, type="payment.created")])
    made = store.get_many([(owner, payment_id)])[0]
    assert made is not None, "it was written just now"
    return made


def _asks(
    tx: Tx, now: datetime, payment: ServicePayment, due: Money
) -> ServicePayment:
    """Before it brought anything, what it asks for may become another sum there."""
    if payment.amount_cents == due.minor or payment.state in PAID_STATES:
        return payment
    worth = rates.usd_of(tx, due, now)
    changes = {"amount_cents": due.minor, "price_minor": due.minor,
               "usd_minor": worth[0] if worth else None,
               "rate_id": worth[1] if worth else None}  # fmt: skip
    return attempts.advance(tx, now, [(payment, payment.state, changes)])[0]


def _note_tries(
    tx: Tx, now: datetime, payment: ServicePayment, charge: Charge, tries: Sequence[RemoteTry]
) -> None:
    """Each declined try, and the one that succeeded, as a row of its own."""
    known = {one.provider_payment_ref for one in attempts.of_payments(tx, [payment.key])}
    added = [attempts.declined(payment, one.ref, one.code, one.message)
             for one in tries if one.ref not in known]  # fmt: skip
    ref = charge.payment_ref or charge.ref
    if charge.status == "succeeded" and ref not in known:
        added.append(Attempt(
            customer_id=payment.customer_id, id=ids.new_owned(payment.customer_id),
            payment_id=payment.key[1], provider=payment.provider,
            provider_account=payment.provider_account, state="succeeded",
            provider_payment_ref=ref, method=charge.method,
        ))  # fmt: skip
    attempts.save(tx, [], added, now)


# What is given ---------------------------------------------------------------------------------


def paid(
    tx: Tx, now: datetime, row: InvoiceRow, payment: ServicePayment | None, settings: Settings
) -> None:
    """An invoice of the provider is paid: its period's credits are given, once. What it opens is
    opened when all that was heard stands. The head is locked."""
    if row.subscription_id is None or row.runner != "provider" or row.cycle is None:
        return
    sub = steps.read(tx, row.customer_id, row.subscription_id)
    if books.is_trials_own(tx, sub, row.id):
        return
    payment_id = payment.key[1] if payment else row.payment_id if row.paid_minor else None
    then = _then(tx, row, sub)
    if then is None:
        return
    memberships.give(tx, now, then, steps.terms(tx, then), 0, payment_id, settings)
    memberships.give_bonus(tx, now, sub, payment_id, settings)
    if row.reason == "subscription_cycle":
        steps.tell(tx, now, then, "renewed", invoice=ids.show("invoice", row.id))


def _then(tx: Tx, row: InvoiceRow, sub: Sub) -> Sub | None:
    """The subscription in the period that the invoice is counted with; None where that is over: an
    invoice of what was used before is paid in the period that followed."""
    assert row.period_start is not None and row.period_end is not None, "a cycle has its period"
    period = row.period_start, row.period_end
    if row.period_end <= row.created_at:
        if row.cycle != sub.period:
            return None
        period = sub.period_start, sub.period_end
    return replace(
        sub, **_sold(tx, row, sub), period=row.cycle, anchor_period=row.cycle,
        period_start=period[0], period_end=period[1], anchor=period[0], credits_month=0,
    )


def _sold(tx: Tx, row: InvoiceRow, sub: Sub) -> dict[str, Any]:
    """The terms and seats that the invoice billed, which may have changed since."""
    line = tx.one(
        "select plan_id, plan_version, quantity from invoice_items"
        " where customer_id = %(customer_id)s and invoice_id = %(id)s and kind = 'recurring'"
        " and plan_id is not null order by period_end desc, position limit 1",
        {"customer_id": row.customer_id, "id": row.id},
    )
    return dict(line) if line else {}


invoice_books.ON_PAID.append(paid)
