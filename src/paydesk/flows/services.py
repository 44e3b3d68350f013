"""Services that run for some months: made inactive, activated by their payment, ended on time.

A pending service is shown as canceled once its payment has ended unpaid, and is activated if the
money comes after all. A customer has at most one active service of a type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import AlreadyPurchased, Conflict, InvalidRequest, NotFound
from paydesk.flows import access, heads
from paydesk.flows.access import NewGrant
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.sweeps import WAIT_S, one_row
from paydesk.rules.calendar import add_months
from paydesk.rules.money import Money

if TYPE_CHECKING:
    from paydesk.flows.items import Item
    from paydesk.tracker.stores.joined import ServicePayment

STATES = ("pending", "active", "ended", "canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A service. `state` is pending, active, ended or canceled. While it is pending, `expires_at`
    is when it would end if it were paid now; the end is counted from the activation."""

    id: UUID
    customer_id: UUID
    service_type: str
    item_id: UUID | None
    state: str
    duration_months: int
    fee: Money
    payment_id: UUID | None
    starts_at: datetime | None
    expires_at: datetime
    activated_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @property
    def active(self) -> bool:
        return self.state == "active"

    def __repr__(self) -> str:
        return f"<Service {ids.show('service', self.id)} {self.service_type!r} {self.state}>"


# Buying ----------------------------------------------------------------------------------------


def check_free(tx: Tx, now: datetime, customer_id: UUID, item: Item) -> bool:
    """Whether the customer had this service before. The head is locked.

    Raises AlreadyPurchased while one runs.
    """
    rows = tx.all(
        "select id, state, expires_at from customer_services"
        " where customer_id = %(customer_id)s and service_type = %(type)s"
        " and state in ('active', 'ended') order by state limit 100",
        {"customer_id": customer_id, "type": item.key},
    )
    for row in rows:
        if row["state"] == "active" and row["expires_at"] > now:
            raise AlreadyPurchased(
                f"{item.name} runs until {row['expires_at']:%Y-%m-%d}.",
                service=ids.show("service", row["id"]), param="service",
            )  # fmt: skip
    return bool(rows)


def write(tx: Tx, now: datetime, payment: ServicePayment, goods: Mapping[str, Any]) -> None:
    """The inactive service, in the transaction that writes its payment; or a new payment of one
    that was left unpaid. Raises Conflict where that can be paid for no more."""
    written = tx.run(
        "insert into customer_services (customer_id, id, service_type, item_id, state,"
        " duration_months, fee_minor, currency, payment_id, clock_id, created_at)"
        " values (%(customer_id)s, %(id)s, %(type)s, %(item_id)s, 'pending', %(months)s, %(fee)s,"
        " %(currency)s, %(payment_id)s, %(clock_id)s, %(now)s) on conflict (customer_id, id)"
        " do update set payment_id = excluded.payment_id, fee_minor = excluded.fee_minor,"
        " currency = excluded.currency, duration_months = excluded.duration_months"
        " where customer_services.state = 'pending'"
        " and customer_services.service_type = excluded.service_type and exists ("
        "  select 1 from payments y where y.customer_id = customer_services.customer_id"
        "  and y.id = customer_services.payment_id"
        "  and y.state in ('failed', 'expired', 'canceled'))",
        {
            "customer_id": payment.customer_id,
            "id": UUID(goods["service"]),
            "type": goods["key"],
            "item_id": UUID(goods["item"]),
            "months": goods["months"],
            "fee": payment.amount_cents,
            "currency": payment.currency,
            "payment_id": payment.key[1],
            "clock_id": payment.clock_id,
            "now": now,
        },
    )
    if not written:
        raise Conflict("This service cannot be paid for any more.", param="service_id")


def activate(tx: Tx, now: datetime, payment: ServicePayment, goods: Mapping[str, Any]) -> None:
    """The money is here: the service runs from now for its months. The head is locked.

    Raises AlreadyPurchased where another payment's service of this type still runs.
    """
    service_id, key = UUID(goods["service"]), goods["key"]
    _end_over(tx, now, payment.customer_id, key)
    running = tx.value(
        "select id from customer_services where customer_id = %(customer_id)s"
        " and service_type = %(type)s and state = 'active' limit 1",
        {"customer_id": payment.customer_id, "type": key},
    )
    if running is not None:
        raise AlreadyPurchased(
            f"{goods['name']} runs already, by another payment.",
            service=ids.show("service", running),
        )
    until = add_months(now, goods["months"])
    changed = tx.run(
        "update customer_services set state = 'active', starts_at = %(now)s,"
        " expires_at = %(until)s, activated_at = %(now)s, payment_id = %(payment_id)s,"
        " fee_minor = %(fee)s"
        " where customer_id = %(customer_id)s and id = %(id)s and state = 'pending'",
        {
            "customer_id": payment.customer_id, "id": service_id, "now": now, "until": until,
            "payment_id": payment.key[1], "fee": payment.amount_cents,
        },
    )  # fmt: skip
    assert changed == 1, "the service was written with its payment"
    emit_many(tx, [_event("service.activated", now, payment.customer_id, service_id, key,
                          payment_id=payment.key[1], expires_at=until)])  # fmt: skip
    access.give(
        tx, now,
        [
            NewGrant(
                customer_id=payment.customer_id, type=one["type"], resource=one["id"],
                source="service", source_id=service_id, payment_id=payment.key[1], starts_at=now,
                expires_at=until if one["days"] is None
                else min(until, now + timedelta(days=one["days"])),
            )
            for one in goods["grants"]
        ],
    )  # fmt: skip


# Ending ----------------------------------------------------------------------------------------


def end_due(env: Env, limit: int = 100) -> int:
    """Sweep: end services whose time is over. Answers how many were ended."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id, service_type from customer_services"
            " where state = 'active' and clock_id is null and expires_at <= %(now)s"
            " order by expires_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    done = 0
    for row in rows:
        with one_row("services", row["id"]):
            done += end_of(env, row["customer_id"], row["service_type"])
    return done


def end_of(env: Env, customer_id: UUID, service_type: str) -> int:
    """End what is over of one customer's services of this type; answers how many."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        return _end_over(tx, heads.decide(tx, env.now(), customer_id), customer_id, service_type)


def _end_over(tx: Tx, now: datetime, customer_id: UUID, service_type: str) -> int:
    """End the customer's services of this type whose time is over."""
    rows = tx.all(
        "update customer_services set state = 'ended', ended_at = expires_at,"
        " end_reason = 'expired' where customer_id = %(customer_id)s"
        " and service_type = %(type)s and state = 'active' and expires_at <= %(now)s"
        " returning id, payment_id, expires_at",
        {"customer_id": customer_id, "type": service_type, "now": now},
    )
    emit_many(
        tx,
        [
            _event("service.ended", now, customer_id, row["id"], service_type,
                   payment_id=row["payment_id"], expires_at=row["expires_at"], reason="expired")
            for row in rows
        ],
    )  # fmt: skip
    return len(rows)


def end_for(
    tx: Tx, now: datetime, payment: ServicePayment, cause: str, cause_id: UUID
) -> list[UUID]:
    """The payment's service ends because of a refund or dispute. The head is locked.

    Several causes may hold it; the same one counts once. Answers what this call ended.
    """
    rows = tx.all(
        "update customer_services s set taken_by = s.taken_by || %(cause_id)s,"
        " state = 'canceled', ended_at = coalesce(s.ended_at, %(now)s), end_reason = %(cause)s"
        " from customer_services old where s.customer_id = %(customer_id)s"
        " and s.payment_id = %(payment_id)s and not s.taken_by @> array[%(cause_id)s]"
        " and (s.state = 'active' or (s.state = 'canceled' and s.taken_by <> '{}'))"
        " and old.customer_id = s.customer_id and old.id = s.id"
        " returning s.id, s.service_type, s.expires_at, old.state as before",
        {
            "customer_id": payment.customer_id, "payment_id": payment.key[1], "now": now,
            "cause": cause, "cause_id": cause_id,
        },
    )  # fmt: skip
    fresh = [row for row in rows if row["before"] == "active"]
    emit_many(
        tx,
        [
            _event("service.ended", now, payment.customer_id, row["id"], row["service_type"],
                   payment_id=payment.key[1], expires_at=row["expires_at"], reason=cause)
            for row in fresh
        ],
    )  # fmt: skip
    return [row["id"] for row in fresh]


def restore_for(tx: Tx, now: datetime, customer_id: UUID, cause_id: UUID) -> list[UUID]:
    """Undo what this cause ended; what another cause holds stays. The head is locked.

    The time that passed is not made up for. A service that another of its type has followed
    stays ended. Answers what runs again.
    """
    rows = tx.all(
        "update customer_services set taken_by = array_remove(taken_by, %(cause_id)s)"
        " where customer_id = %(customer_id)s and taken_by @> array[%(cause_id)s]"
        " returning id, service_type, payment_id, expires_at, taken_by",
        {"customer_id": customer_id, "cause_id": cause_id},
    )
    done = []
    for row in rows:
        if row["taken_by"]:
            continue
        _end_over(tx, now, customer_id, row["service_type"])
        is_over = row["expires_at"] <= now
        changed = tx.run(
            "update customer_services s set state = case when %(over)s then 'ended'"
            " else 'active' end, ended_at = case when %(over)s then s.expires_at end,"
            " end_reason = case when %(over)s then 'expired' end"
            " where s.customer_id = %(customer_id)s and s.id = %(id)s and s.state = 'canceled'"
            " and (%(over)s or not exists (select 1 from customer_services o"
            "  where o.customer_id = s.customer_id and o.service_type = s.service_type"
            "  and o.state = 'active'))",
            {"customer_id": customer_id, "id": row["id"], "over": is_over},
        )
        if changed and not is_over:
            emit_many(tx, [_event("service.activated", now, customer_id, row["id"],
                                  row["service_type"], payment_id=row["payment_id"],
                                  expires_at=row["expires_at"], restored=True)])  # fmt: skip
            done.append(row["id"])
    return done


def _event(
    type: str, now: datetime, customer_id: UUID, service_id: UUID, service_type: str, *,
    payment_id: UUID | None, expires_at: datetime, **more: Any,
) -> NewEvent:  # fmt: skip
    data = {"service_type": service_type, "expires_at": expires_at.isoformat(), **more}
    if payment_id is not None:
        data["payment_id"] = str(payment_id)
    return NewEvent(customer_id=customer_id, type=type, subject_id=service_id, data=data, at=now)


# Looking ---------------------------------------------------------------------------------------


def get(env: Env, customer_id: UUID | None, ref: str | UUID) -> ServiceView:
    """A service by its id or a bare uuid. `customer_id`: whose it must be. Raises NotFound."""
    uuid = ref if isinstance(ref, UUID) else ids.parse("service", ref)
    owner = ids.customer_of(uuid)
    if customer_id is None or customer_id == owner:
        with env.db.read() as tx:
            row = tx.one(_VIEW + " and s.id = %(id)s",
                         {"customer_id": owner, "id": uuid, "now": env.now()})  # fmt: skip
        if row is not None:
            return _view(row)
    raise NotFound(f"No such service: {str(ref)[:64]!r}.")


def of_payment(env: Env, customer_id: UUID, payment_id: UUID) -> ServiceView:
    """The service that a payment is for. Raises NotFound."""
    with env.db.read() as tx:
        row = tx.one(
            _VIEW + " and s.payment_id = %(payment_id)s limit 1",
            {"customer_id": customer_id, "payment_id": payment_id, "now": env.now()},
        )
    if row is None:
        raise NotFound(f"No service of payment {ids.show('payment', payment_id)}.")
    return _view(row)


def list_(
    env: Env,
    customer_id: UUID | None = None,
    *,
    state: str | None = None,
    service_type: str | None = None,
    limit: int = 20,
    after: UUID | None = None,
) -> list[ServiceView]:
    """Services, newest first: one customer's, or everybody's."""
    if state is not None and state not in STATES:
        raise InvalidRequest(f"state is one of {', '.join(STATES)}.", param="status")
    mark = get(env, customer_id, after) if after is not None else None
    values = {
        "customer_id": customer_id, "state": state, "type": service_type, "limit": limit,
        "at": mark and mark.created_at, "id": mark and mark.id, "now": env.now(),
    }  # fmt: skip
    with env.db.read() as tx:
        rows = tx.all((_EVERYBODYS if customer_id is None else _VIEW) + _PAGE, values)
    return [_view(row) for row in rows]


#: A service whose time is over, by its customer's clock, shows as ended, whether or not the sweep
#: has been there.
_STATE = """case when s.state = 'active' and s.expires_at <= coalesce((select c.now_at
        from clocks c where c.id = s.clock_id), %(now)s) then 'ended'
    when s.state = 'pending' and y.state in ('failed', 'expired', 'canceled') then 'canceled'
    else s.state end"""
_COLUMNS = """select s.id, s.customer_id, s.service_type, s.item_id, s.duration_months,
    s.fee_minor, s.currency, s.payment_id, s.starts_at, s.expires_at, s.activated_at,
    s.ended_at, s.end_reason, s.metadata, s.created_at, s.updated_at, """
_FROM = """ as state from customer_services s
    left join payments y on y.customer_id = s.customer_id and y.id = s.payment_id
    where """
_ORDER = """ = %(state)s)
    and (%(type)s::text is null or s.service_type = %(type)s)
    and (%(at)s::timestamptz is null or (s.created_at, s.id) < (%(at)s, %(id)s))
    order by s.created_at desc, s.id desc limit %(limit)s"""
_EVERYBODYS = _COLUMNS + _STATE + _FROM + "true"
_VIEW = _COLUMNS + _STATE + _FROM + "s.customer_id = %(customer_id)s"
_PAGE = " and (%(state)s::text is null or " + _STATE + _ORDER


def _view(row: Mapping[str, Any]) -> ServiceView:
    told = {key: value for key, value in row.items() if key not in ("fee_minor", "currency")}
    if row["state"] == "ended" and row["ended_at"] is None:
        told |= {"ended_at": row["expires_at"], "end_reason": "expired"}
    if row["expires_at"] is None:
        told["expires_at"] = add_months(row["created_at"], row["duration_months"])
    return ServiceView(fee=Money(row["fee_minor"], row["currency"], minor=True), **told)
