"""Purchases of items: written with their payment, completed by it, and taken back with it.

A pending purchase has no life of its own: it is shown as ended once its payment is, and completes
if the money comes after all. What is bought once is owned once: the unique index on completed
purchases decides, under the customer's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import AlreadyPurchased, InvalidRequest, NotFound
from paydesk.flows import access
from paydesk.flows.access import NewGrant
from paydesk.flows.events import NewEvent, emit_many
from paydesk.rules.money import Money

if TYPE_CHECKING:
    from paydesk.flows.items import Item
    from paydesk.tracker.stores.joined import ServicePayment

STATES = ("pending", "completed", "failed", "canceled", "refunded")


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseView:
    """A purchase. `state` is pending, completed, failed, canceled or refunded; `pricing` says how
    the price came about; `discount` is what a promo code took off it."""

    id: UUID
    customer_id: UUID
    item_id: UUID
    item_key: str
    name: str
    quantity: int
    repeatable: bool
    payment_id: UUID
    payment_state: str
    state: str
    price: Money
    paid: Money
    refunded: Money
    pricing: tuple[dict[str, Any], ...]
    completed_at: datetime | None
    refunded_at: datetime | None
    created_at: datetime
    updated_at: datetime

    def __repr__(self) -> str:
        return f"<Purchase {ids.show('purchase', self.id)} {self.item_key!r} {self.state}>"


# Buying ----------------------------------------------------------------------------------------


def check_free(tx: Tx, customer_id: UUID, item: Item) -> None:
    """Raise AlreadyPurchased where the customer owns what is bought once. The head is locked."""
    if item.repeatable:
        return
    owned = _owned(tx, customer_id, item.key)
    if owned is not None:
        raise AlreadyPurchased(
            f"{item.name} was bought before.", purchase=ids.show("purchase", owned), param="item"
        )


def _owned(tx: Tx, customer_id: UUID, item_key: str) -> UUID | None:
    return tx.value(
        "select id from purchases where customer_id = %(customer_id)s and item_key = %(key)s"
        " and not repeatable and state = 'completed' limit 1",
        {"customer_id": customer_id, "key": item_key},
    )


def write(tx: Tx, now: datetime, payment: ServicePayment, goods: Mapping[str, Any]) -> None:
    """The pending purchase, in the transaction that writes its payment."""
    tx.run(
        "insert into purchases (customer_id, id, item_id, item_key, name, quantity, repeatable,"
        " payment_id, state, price_minor, currency, pricing, clock_id, created_at)"
        " values (%(customer_id)s, %(id)s, %(item_id)s, %(key)s, %(name)s, %(quantity)s,"
        " %(repeatable)s, %(payment_id)s, 'pending', %(price)s, %(currency)s, %(pricing)s,"
        " %(clock_id)s, %(now)s)",
        {
            "customer_id": payment.customer_id,
            "id": UUID(goods["purchase"]),
            "item_id": UUID(goods["item"]),
            "key": goods["key"],
            "name": goods["name"],
            "quantity": goods["quantity"],
            "repeatable": goods["repeatable"],
            "payment_id": payment.key[1],
            "price": payment.price_minor,
            "currency": payment.currency,
            "pricing": jsonb(goods["pricing"]),
            "clock_id": payment.clock_id,
            "now": now,
        },
    )


def complete(tx: Tx, now: datetime, payment: ServicePayment, goods: Mapping[str, Any]) -> None:
    """The money is here: the purchase is the customer's, with its access. The head is locked.

    Raises AlreadyPurchased where another payment bought it first.
    """
    purchase_id, key = UUID(goods["purchase"]), goods["key"]
    owned = None if goods["repeatable"] else _owned(tx, payment.customer_id, key)
    if owned is not None:
        raise AlreadyPurchased(
            f"{goods['name']} was bought before, by another payment.",
            purchase=ids.show("purchase", owned),
        )
    changed = tx.run(
        "update purchases set state = 'completed', completed_at = %(now)s"
        " where customer_id = %(customer_id)s and id = %(id)s and state <> 'completed'",
        {"customer_id": payment.customer_id, "id": purchase_id, "now": now},
    )
    assert changed == 1, "the purchase was written with its payment"
    emit_many(tx, [_event("purchase.completed", now, payment.customer_id, purchase_id, key,
                          goods["quantity"], payment.key[1])])  # fmt: skip
    access.give(
        tx, now,
        [
            NewGrant(
                customer_id=payment.customer_id, type=one["type"], resource=one["id"],
                source="purchase", source_id=purchase_id, payment_id=payment.key[1],
                starts_at=now,
                expires_at=None if one["days"] is None else now + timedelta(days=one["days"]),
            )
            for one in goods["grants"]
        ],
    )  # fmt: skip


# Back ------------------------------------------------------------------------------------------


def refund_for(
    tx: Tx, now: datetime, payment: ServicePayment, cause: str, cause_id: UUID
) -> list[UUID]:
    """The payment's purchase goes back because of a refund or dispute. The head is locked.

    Several causes may hold it; the same one counts once. Answers what is refunded by this call.
    """
    rows = tx.all(
        "update purchases p set taken_by = p.taken_by || %(cause_id)s, state = 'refunded',"
        " refunded_at = coalesce(p.refunded_at, %(now)s) from purchases old"
        " where p.customer_id = %(customer_id)s and p.payment_id = %(payment_id)s"
        " and p.state in ('completed', 'refunded') and not p.taken_by @> array[%(cause_id)s]"
        " and old.customer_id = p.customer_id and old.id = p.id"
        " returning p.id, p.item_key, p.quantity, old.state as before",
        {
            "customer_id": payment.customer_id, "payment_id": payment.key[1], "now": now,
            "cause_id": cause_id,
        },
    )  # fmt: skip
    fresh = [row for row in rows if row["before"] == "completed"]
    emit_many(
        tx,
        [
            _event("purchase.refunded", now, payment.customer_id, row["id"], row["item_key"],
                   row["quantity"], payment.key[1], cause=cause)
            for row in fresh
        ],
    )  # fmt: skip
    return [row["id"] for row in fresh]


def restore_for(tx: Tx, now: datetime, customer_id: UUID, cause_id: UUID) -> list[UUID]:
    """Undo what this cause took; what another cause holds stays. The head is locked.

    A purchase of something that was bought anew since stays refunded. Answers what is restored.
    """
    rows = tx.all(
        "update purchases set taken_by = array_remove(taken_by, %(cause_id)s)"
        " where customer_id = %(customer_id)s and taken_by @> array[%(cause_id)s]"
        " returning id, item_key, quantity, repeatable, payment_id, taken_by",
        {"customer_id": customer_id, "cause_id": cause_id},
    )
    done = []
    for row in rows:
        is_owned = not row["repeatable"] and _owned(tx, customer_id, row["item_key"]) is not None
        if row["taken_by"] or is_owned:
            continue
        tx.run(
            "update purchases set state = 'completed', refunded_at = null"
            " where customer_id = %(customer_id)s and id = %(id)s and state = 'refunded'",
            {"customer_id": customer_id, "id": row["id"]},
        )
        emit_many(tx, [_event("purchase.completed", now, customer_id, row["id"], row["item_key"],
                              row["quantity"], row["payment_id"], restored=True)])  # fmt: skip
        done.append(row["id"])
    return done


def _event(
    type: str, now: datetime, customer_id: UUID, purchase_id: UUID, key: str, quantity: int,
    payment_id: UUID, **more: Any,
) -> NewEvent:  # fmt: skip
    data = {"item": key, "quantity": quantity, "payment_id": str(payment_id), **more}
    return NewEvent(customer_id=customer_id, type=type, subject_id=purchase_id, data=data, at=now)


# Looking ---------------------------------------------------------------------------------------


def get(env: Env, customer_id: UUID | None, ref: str | UUID) -> PurchaseView:
    """A purchase by its id, a bare uuid, or its payment's. `customer_id`: whose it must be.

    Raises NotFound, also for another's.
    """
    uuid = ref if isinstance(ref, UUID) else _parsed(ref)
    owner = ids.customer_of(uuid)
    if customer_id is None or customer_id == owner:
        with env.db.read() as tx:
            row = tx.one(
                _VIEW + " and (p.id = %(id)s or p.payment_id = %(id)s) limit 1",
                {"customer_id": owner, "id": uuid},
            )
        if row is not None:
            return _view(row)
    raise NotFound(f"No such purchase: {str(ref)[:64]!r}.")


def _parsed(ref: str) -> UUID:
    return ids.parse("payment" if ref.startswith("pay_") else "purchase", ref)


def list_(
    env: Env,
    customer_id: UUID | None = None,
    *,
    state: str | None = None,
    item: str | None = None,
    limit: int = 20,
    after: UUID | None = None,
) -> list[PurchaseView]:
    """Purchases, newest first: one customer's, or everybody's. `item`: its key."""
    if state is not None and state not in STATES:
        raise InvalidRequest(f"state is one of {', '.join(STATES)}.", param="status")
    mark = get(env, customer_id, after) if after is not None else None
    values = {
        "customer_id": customer_id, "state": state, "item": item, "limit": limit,
        "at": mark and mark.created_at, "id": mark and mark.id,
    }  # fmt: skip
    with env.db.read() as tx:
        rows = tx.all((_EVERYBODYS if customer_id is None else _VIEW) + _PAGE, values)
    return [_view(row) for row in rows]


_STATE = """case when p.state = 'pending' and y.state = 'failed' then 'failed'
    when p.state = 'pending' and y.state in ('expired', 'canceled') then 'canceled'
    else p.state end"""
_COLUMNS = """select p.id, p.customer_id, p.item_id, p.item_key, p.name, p.quantity,
    p.repeatable, p.payment_id, y.state as payment_state, p.price_minor, y.captured_minor,
    y.refunded_minor, p.currency, p.pricing, p.completed_at, p.refunded_at, p.created_at,
    p.updated_at, """
_FROM = """ as state
    from purchases p join payments y on y.customer_id = p.customer_id and y.id = p.payment_id
    where """
_ORDER = """ = %(state)s)
    and (%(item)s::text is null or p.item_key = %(item)s)
    and (%(at)s::timestamptz is null or (p.created_at, p.id) < (%(at)s, %(id)s))
    order by p.created_at desc, p.id desc limit %(limit)s"""
_EVERYBODYS = _COLUMNS + _STATE + _FROM + "true"
_VIEW = _COLUMNS + _STATE + _FROM + "p.customer_id = %(customer_id)s"
_PAGE = " and (%(state)s::text is null or " + _STATE + _ORDER


def _view(row: Mapping[str, Any]) -> PurchaseView:
    def money(minor: int) -> Money:
        return Money(minor, row["currency"], minor=True)

    return PurchaseView(
        id=row["id"], customer_id=row["customer_id"], item_id=row["item_id"],
        item_key=row["item_key"], name=row["name"], quantity=row["quantity"],
        repeatable=row["repeatable"], payment_id=row["payment_id"],
        payment_state=row["payment_state"], state=row["state"], price=money(row["price_minor"]),
        paid=money(row["captured_minor"]), refunded=money(row["refunded_minor"]),
        pricing=tuple(row["pricing"]), completed_at=row["completed_at"],
        refunded_at=row["refunded_at"], created_at=row["created_at"],
        updated_at=row["updated_at"],
    )  # fmt: skip
