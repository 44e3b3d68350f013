"""What payments sold, and which of them sold the same goods together.

A provider's invoice may have several payments. Each has bought its part of the credits, and all
of them together the access.
"""

from __future__ import annotations

from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.flows.invoice_books import PURPOSE, invoice_of
from paydesk.tracker.stores.joined import ServicePayment


def sold(tx: Tx, payment: ServicePayment, payment_id: UUID | None = None) -> int:
    """What a payment sold, or another one of its customer's in its currency, in minor units."""
    return tx.value(
        "select coalesce(sum(case when credit = 5 then -amount else amount end), 0)::bigint"
        " from transfers where customer_id = %(customer_id)s and subject_id = %(payment_id)s"
        " and asset = %(asset)s and asset <> 'CREDIT'"
        " and reason in ('SALE', 'TAX', 'WALLET_DEPOSIT')",
        {"customer_id": payment.customer_id, "payment_id": payment_id or payment.key[1],
         "asset": payment.currency},
    )  # fmt: skip


def together(tx: Tx, payment: ServicePayment) -> list[UUID]:
    """The payments that brought money for the same invoice of a provider, the first first; the
    payment alone where no other did."""
    alone = [payment.key[1]]
    if payment.purpose != PURPOSE:
        return alone
    rows = tx.all(
        "select p.id from payments p join invoices v on v.customer_id = p.customer_id"
        " and v.id = %(invoice)s and v.runner <> 'paydesk'"
        " where p.customer_id = %(customer_id)s and p.purpose = %(purpose)s"
        " and p.terms -> 'goods' ->> 'invoice' = %(name)s and p.captured_minor > 0"
        " order by p.created_at, p.id",
        {"customer_id": payment.customer_id, "purpose": PURPOSE, "invoice": invoice_of(payment),
         "name": str(invoice_of(payment))},
    )  # fmt: skip
    found = [row["id"] for row in rows]
    return found if payment.key[1] in found else alone


def part(tx: Tx, payment: ServicePayment, among: list[UUID]) -> tuple[int, int, int]:
    """Where the payment's part begins and ends in what all of them sold, and all of it."""
    if len(among) == 1:
        return 0, 1, 1
    each = {one: sold(tx, payment, one) for one in among}
    before = sum(each[one] for one in among[:among.index(payment.key[1])])
    whole = sum(each.values())
    return (before, before + each[payment.key[1]], whole) if whole else (0, 1, 1)
