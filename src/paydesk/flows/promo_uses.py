"""What becomes of a use of a promo code: it counts once it is paid, or goes back, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.flows import events, heads
from paydesk.flows.promo_codes import promo_in
from paydesk.flows.sweeps import WAIT_S, one_row

#: A use reserved this long ago for a payment that never came to be is given back: no checkout
#: takes that long between the two transactions.
ORPHAN_AGE = timedelta(minutes=15)


def confirm(tx: Tx, payment_ids: Iterable[UUID]) -> dict[UUID, int]:
    """Mark the uses of payments that were paid; answers the bonus credits of each, where any.

    A use that had been given back, because the provider had called the session dead and then
    took money all the same, is counted again, over the limit if it must be: it happened.
    """
    wanted = list(payment_ids)
    if not wanted:
        return {}
    rows = tx.all(
        "select u.promo_id, u.payment_id, u.state, u.bonus_credits from payments p"
        " join promo_uses u on u.promo_id = p.promo_id and u.payment_id = p.id"
        " where p.customer_id = any(%(owners)s) and p.id = any(%(ids)s)"
        " and p.promo_id is not null order by u.promo_id, u.payment_id",
        {"ids": wanted, "owners": list({ids.customer_of(one) for one in wanted})},
    )
    if not rows:
        return {}
    tx.run(
        "update promo_uses set state = 'used', released_at = null"
        " where promo_id = any(%(promos)s) and payment_id = any(%(payments)s) and state <> 'used'",
        {"promos": [r["promo_id"] for r in rows], "payments": [r["payment_id"] for r in rows]},
    )
    for row in rows:
        if row["state"] == "released":
            tx.run("update promo_counts set used = used + 1 where promo_id = %(promo_id)s",
                   {"promo_id": row["promo_id"]})  # fmt: skip
    return {row["payment_id"]: row["bonus_credits"] for row in rows if row["bonus_credits"]}


def lock_released(
    tx: Tx, uses: Sequence[tuple[UUID, UUID]], subscriptions: Sequence[UUID]
) -> None:
    """Lock the counters of codes whose uses were given back and are about to count again, in the
    order that every transaction with several has: uses as (code, payment), and those of
    subscriptions that begin."""
    if not uses and not subscriptions:
        return
    tx.all(
        "select promo_id from promo_counts where promo_id in ("
        " select u.promo_id from unnest(%(codes)s::uuid[], %(payments)s::uuid[]) as k(c, p)"
        " join promo_uses u on u.promo_id = k.c and u.payment_id = k.p and u.state = 'released'"
        " union"
        " select u.promo_id from subscriptions s"
        " join promo_uses u on u.promo_id = (s.discount ->> 'promo_id')::uuid"
        "  and u.payment_id = s.id and u.state = 'released'"
        " where s.customer_id = any(%(owners)s) and s.id = any(%(subscriptions)s)"
        ") order by promo_id for no key update",
        {
            "codes": [code for code, _ in uses], "payments": [payment for _, payment in uses],
            "owners": [ids.customer_of(one) for one in subscriptions],
            "subscriptions": list(subscriptions),
        },
    )  # fmt: skip


def release(env: Env, payment_id: UUID) -> bool:
    """Give a payment's use back, once; whether this call did it.

    For payments that the provider confirmed dead: one that can still be paid, or was, keeps it.
    """
    customer_id = ids.customer_of(payment_id)
    with env.db.transaction(customer_id) as tx:
        row = tx.one(
            "select promo_id, state from payments"
            " where customer_id = %(customer_id)s and id = %(payment_id)s",
            {"customer_id": customer_id, "payment_id": payment_id},
        )
        if row is None or row["promo_id"] is None:
            return False
        if row["state"] not in ("expired", "failed", "canceled"):
            return False
        return give_back(tx, customer_id, row["promo_id"], payment_id,
                          heads.decide(tx, env.now(), customer_id))  # fmt: skip


def release_expired(env: Env, *, limit: int = 100) -> int:
    """Sweep: give back what is reserved for nothing; answers how many uses went back.

    That is: a reservation whose time is over without a checkout; a use whose payment was never
    written; a use whose payment ended and whose every attempt the provider confirmed dead.
    """
    now = env.now()
    with env.db.read() as tx:
        rows = tx.all(
            _CANDIDATES + _NO_CLOCK + " limit %(limit)s",
            {"now": now, "old": now - ORPHAN_AGE, "limit": limit, "payment_id": None},
        )
    done = 0
    for row in rows:
        with one_row("promo_uses", row["payment_id"]):
            done += release_one(env, row["customer_id"], row["payment_id"])
    return done


def release_one(env: Env, customer_id: UUID, payment_id: UUID) -> bool:
    """Give back the use that is reserved for a payment, where it is for nothing any more."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        rows = tx.all(
            _CANDIDATES, {"now": now, "old": now - ORPHAN_AGE, "payment_id": payment_id}
        )
        done = [give_back(tx, customer_id, r["promo_id"], payment_id, now) for r in rows]
        return any(done)


#: Those who have a clock of their own are left to it.
_NO_CLOCK = """ and not exists (select 1 from heads h where h.customer_id = u.customer_id
    and h.clock_id is not null)"""
#: Uses that nobody can pay for any more.
_CANDIDATES = """
    select u.promo_id, u.payment_id, u.customer_id from promo_uses u
    left join payments p on p.customer_id = u.customer_id and p.id = u.payment_id
    where u.state = 'reserved'
    and (%(payment_id)s::uuid is null or u.payment_id = %(payment_id)s)
    and case when p.id is null then
            not exists (select 1 from promo_reservations r where r.customer_id = u.customer_id
                and r.payment_id = u.payment_id and r.expires_at > %(now)s)
            and (u.created_at < %(old)s or exists (select 1 from promo_reservations r
                where r.customer_id = u.customer_id and r.payment_id = u.payment_id))
        else p.state in ('expired', 'failed', 'canceled')
            and not exists (select 1 from attempts a where a.customer_id = u.customer_id
                and a.payment_id = u.payment_id and a.ended_at is null)
        end
"""


def give_back(
    tx: Tx, customer_id: UUID, promo_id: UUID, payment_id: UUID, now: datetime
) -> bool:
    tx.run(
        "delete from promo_reservations"
        " where customer_id = %(customer_id)s and payment_id = %(payment_id)s",
        {"customer_id": customer_id, "payment_id": payment_id},
    )
    if not uncount(tx, promo_id, payment_id, now):
        return False
    events.emit(tx, customer_id, "promo.released", promo_id, {"code": promo_in(tx, promo_id).code})
    return True


def uncount(tx: Tx, promo_id: UUID, payment_id: UUID, now: datetime) -> bool:
    """The counter goes down only if this very statement changed the use."""
    return bool(
        tx.run(
            "with changed as ("
            " update promo_uses set state = 'released', released_at = %(now)s"
            " where promo_id = %(promo_id)s and payment_id = %(payment_id)s"
            " and state = 'reserved' returning promo_id)"
            " update promo_counts c set used = c.used - 1 from changed"
            " where c.promo_id = changed.promo_id",
            {"promo_id": promo_id, "payment_id": payment_id, "now": now},
        )
    )
